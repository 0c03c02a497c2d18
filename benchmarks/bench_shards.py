"""Samples to shards and back: ours against webdataset's writer on the same members, and against other loaders; the
cost of a sample against the size of the dataset.

Ours also makes the JSON, checks every PNG against its hash, spreads the groups, hashes and syncs the shards and writes
the manifest; the peer writes bytes. A second time the peer too makes, checks, hashes and syncs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.loading import compare_loading
from benchmarks.made import make_pngs, make_samples
from benchmarks.measure import Row, rate_row, report, time_in_turn
from benchmarks.peers import shards as peer
from benchmarks.scale import compare_sizes
from hubbleclip.dataset.packing import sidecar
from hubbleclip.dataset.shards import build_dataset
from hubbleclip.records import to_row
from hubbleclip.settings import ShardSettings

SETTINGS = ShardSettings()
MB = 1_000_000
NUM_PICTURES = 24
GROUP_SIZE = 10


def compare(name: str, num: int, side_px: int) -> list[Row]:
    """Megabytes of members and samples a second."""
    samples, pngs = make_samples(make_pngs(NUM_PICTURES, side_px), num, GROUP_SIZE)
    rows: list[peer.Member] = [
        {"__key__": one.tile_id, "json": to_row(one), "png": pngs[one.tile_id], "txt": one.captions[0]}
        for one in samples
    ]
    members = [
        {**row, "json": sidecar(one), "txt": row["txt"].encode()} for row, one in zip(rows, samples, strict=True)
    ]

    @contextmanager
    def ours(folder: Path) -> Iterator[Callable[[], object]]:
        yield lambda: build_dataset(
            samples,
            pngs.__getitem__,
            folder,
            SETTINGS,
            contract_version="1.0.0",
            code_version="benchmark",
            read_png_size=lambda tile_id: len(pngs[tile_id]),
        )

    @contextmanager
    def theirs(folder: Path) -> Iterator[Callable[[], object]]:
        yield lambda: peer.write_shards(members, folder, SETTINGS.max_mb * MB)

    @contextmanager
    def careful(folder: Path) -> Iterator[Callable[[], object]]:
        yield lambda: peer.write_shards_carefully(rows, folder, SETTINGS.max_mb * MB)

    megabytes = sum(len(one["json"]) + len(one["png"]) + len(one["txt"]) for one in members) / MB
    measured = []
    for contender, peer_name in ((theirs, peer.NAME), (careful, peer.CAREFUL_NAME)):
        seconds = time_in_turn(ours, contender, runs=5)
        measured.append(rate_row(name, "MB/s", megabytes, seconds, peer_name))
        measured.append(rate_row(name, "samples/s", len(samples), seconds, peer_name))
    return measured


def main() -> None:
    """Measure writing of large and small tiles, loading, and sizes."""
    writing = compare("2,000 tiles of 512 px", 2000, 512) + compare("5,000 tiles of 128 px", 5000, 128)
    report("shards", [*writing, *compare_loading(), *compare_sizes()])


if __name__ == "__main__":
    main()
