"""Writing and reading shards: ours against webdataset's writer and other loaders; cost per sample by dataset size.

A whole build makes the JSON, checks every PNG against its hash, spreads the groups, hashes and syncs the shards and
writes the manifest. It is compared with a peer that only writes bytes, and with one that also makes, checks, hashes and
syncs. Last, both write bytes only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.dataset_sizes import compare_sizes
from benchmarks.loading import compare_loading
from benchmarks.measure import Contender, Row, each, progress, rate_row, report, sized, time_in_turn
from benchmarks.peers import shards as peer
from benchmarks.synthetic_data import make_pngs, make_samples
from hubbleclip.config.settings import ShardSettings
from hubbleclip.core.records import to_row
from hubbleclip.dataset import ustar
from hubbleclip.dataset.build import build_dataset
from hubbleclip.dataset.shard_writer import END_BYTES, cut_evenly, sidecars_of

SETTINGS = ShardSettings()
MB = 1_000_000
MAX_BYTES = SETTINGS.max_mb * MB
BUFFER_BYTES = 1 << 20
EXTENSIONS = ("json", "png", "txt")
NUM_PICTURES = 24
GROUP_SIZE = 10
RUNS = sized(5, 1)


def compare(num: int, side_px: int) -> list[Row]:
    """Measure megabytes of members, and samples, per second."""
    progress(f"making {num:,} tiles of {side_px} px")
    samples, pngs = make_samples(make_pngs(NUM_PICTURES, side_px), num, GROUP_SIZE)
    rows: list[peer.Member] = [
        {"__key__": one.tile_id, "json": to_row(one), "png": pngs[one.tile_id], "txt": one.captions[0]}
        for one in samples
    ]
    sidecars = zip(rows, sidecars_of(samples), strict=True)
    members = [{**row, "json": sidecar, "txt": row["txt"].encode()} for row, sidecar in sidecars]

    def build(folder: Path) -> None:
        build_dataset(
            samples, pngs.__getitem__, folder, SETTINGS, contract_version="1.0.0", code_version="benchmark",
            read_png_size=lambda tile_id: len(pngs[tile_id]),
        )  # fmt: skip

    ours, theirs = contender(build), contender(lambda folder: peer.write_shards(members, folder, MAX_BYTES))
    careful = contender(lambda folder: peer.write_shards_carefully(rows, folder, MAX_BYTES))
    alone = contender(lambda folder: write_bytes_alone(members, folder, MAX_BYTES))
    size = f"{num:,} tiles of {side_px} px"
    megabytes = sum(len(one["json"]) + len(one["png"]) + len(one["txt"]) for one in members) / MB
    measured = []
    comparisons = [
        (f"{size}: made, checked, hashed, synced", ours, theirs, peer.NAME),
        (f"{size}: made, checked, hashed, synced", ours, careful, peer.CAREFUL_NAME),
        (f"bytes of {size} alone", alone, theirs, peer.NAME),
    ]
    for name, mine, other, peer_name in each(comparisons, lambda one: f"{one[0]}, against {one[3]}"):
        seconds = time_in_turn(name, mine, other, runs=RUNS)
        measured.append(rate_row(name, "MB/s", megabytes, seconds, peer_name))
        measured.append(rate_row(name, "samples/s", len(samples), seconds, peer_name))
    return measured


def contender(write: Callable[[Path], None]) -> Contender:
    """Time a function that writes into an empty folder."""

    @contextmanager
    def timed(folder: Path) -> Iterator[Callable[[], object]]:
        yield lambda: write(folder)

    return timed


def write_bytes_alone(members: Sequence[peer.Member], folder: Path, max_bytes: int) -> None:
    """Write members that are bytes already with our tar writer, as the peer does: nothing checked, hashed or synced."""
    sizes = [sum(ustar.member_bytes(len(one[extension])) for extension in EXTENSIONS) for one in members]
    start = 0
    for end in cut_evenly(sizes, max_bytes - END_BYTES):
        with (folder / f"train-{start:06d}.tar").open("wb", BUFFER_BYTES) as file:
            for one in members[start:end]:
                for extension in EXTENSIONS:
                    file.writelines(ustar.member(f"{one['__key__']}.{extension}".encode(), one[extension]))
            file.write(ustar.end(sum(sizes[start:end])))
        start = end


def main() -> None:
    """Measure writing of large and small tiles, loading, and dataset sizes."""
    written = [*compare(sized(4000, 200), 512), *compare(sized(20_000, 500), 128)]
    report("shards", [*written, *compare_loading(), *compare_sizes()])


if __name__ == "__main__":
    main()
