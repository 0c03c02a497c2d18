"""Writing and reading shards: ours against webdataset's writer and other loaders; cost per sample by dataset size.

A whole build makes the JSON, checks every PNG against its hash, spreads the groups, hashes and syncs the shards and
writes the manifest. It is compared with a peer that only writes bytes, and with one that also makes, checks, hashes and
syncs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.dataset_sizes import compare_sizes
from benchmarks.loading import compare_loading
from benchmarks.measure import Contender, Row, each, progress, rate_row, report, sized, time_in_turn
from benchmarks.peers import shards as peer
from benchmarks.synthetic_data import make_pngs, make_samples
from hubbleclip.config.settings import ShardSettings
from hubbleclip.core.records import to_row
from hubbleclip.dataset.build import build_dataset
from hubbleclip.dataset.shard_writer import sidecar

SETTINGS = ShardSettings()
MB = 1_000_000
MAX_BYTES = SETTINGS.max_mb * MB
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
    members = [
        {**row, "json": sidecar(one), "txt": row["txt"].encode()} for row, one in zip(rows, samples, strict=True)
    ]

    def build(folder: Path) -> None:
        build_dataset(
            samples,
            pngs.__getitem__,
            folder,
            SETTINGS,
            contract_version="1.0.0",
            code_version="benchmark",
            read_png_size=lambda tile_id: len(pngs[tile_id]),
        )

    ours, theirs = contender(build), contender(lambda folder: peer.write_shards(members, folder, MAX_BYTES))
    careful = contender(lambda folder: peer.write_shards_carefully(rows, folder, MAX_BYTES))
    size = f"{num:,} tiles of {side_px} px"
    megabytes = sum(len(one["json"]) + len(one["png"]) + len(one["txt"]) for one in members) / MB
    measured = []
    name = f"{size}: made, checked, hashed, synced"
    comparisons = [(theirs, peer.NAME), (careful, peer.CAREFUL_NAME)]
    for other, peer_name in each(comparisons, lambda one: f"{size}, against {one[1]}"):
        seconds = time_in_turn(name, ours, other, runs=RUNS)
        measured.append(rate_row(name, "MB/s", megabytes, seconds, peer_name))
        measured.append(rate_row(name, "samples/s", len(samples), seconds, peer_name))
    return measured


def contender(write: Callable[[Path], None]) -> Contender:
    """Time a function that writes into an empty folder."""

    @contextmanager
    def timed(folder: Path) -> Iterator[Callable[[], object]]:
        yield lambda: write(folder)

    return timed


def main() -> None:
    """Measure writing of large and small tiles, loading, and dataset sizes."""
    written = [*compare(sized(2000, 200), 512), *compare(sized(10_000, 500), 128)]
    report("shards", [*written, *compare_loading(), *compare_sizes()])


if __name__ == "__main__":
    main()
