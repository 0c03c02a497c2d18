"""Fetching files: ours over a pool of 8, checked and named by content, against astroquery's own download in a loop.

Both ask the same server for the same files, rendered before the clock starts. On loopback the server is the bound; at
a distance of 50 ms, as between two towns, the waiting is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.distance import archive_at_distance
from benchmarks.measure import Row, rate_row, report, time_in_turn
from benchmarks.peers import fetch as peer
from hubbleclip.archives import open_archive
from hubbleclip.archives.base import Archive
from hubbleclip.config.settings import ArchiveSettings, FetchSettings, SimulatorSettings
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product
from hubbleclip.simulator.server.launcher import simulated_addresses

SKY = SimulatorSettings(num_proposals=12, frame_px=256)
NUM_FILES = 20  # the simulator keeps 24 rendered
FETCH = FetchSettings(connections=8, requests_per_s=100_000)
DISTANCES = {"loopback": 0.0, "50 ms away": 0.05}


def open_at(url: str, root: Path) -> Archive:
    """The archive at an address."""
    settings = ArchiveSettings.model_validate({"name": "simulated", **simulated_addresses(url)})
    return open_archive(settings, FETCH, Layout(root))


def list_files(url: str, root: Path) -> list[Product]:
    """The first files that the archive lists."""
    archive = open_at(url, root)
    observations = [one for page in archive.query_observations(0) for one in page]
    return archive.list_products(observations)[0][:NUM_FILES]


def compare(name: str, url: str, products: list[Product]) -> list[Row]:
    """Files and megabytes a second."""

    @contextmanager
    def ours(folder: Path) -> Iterator[Callable[[], object]]:
        archive = open_at(url, folder)
        with ThreadPoolExecutor(FETCH.connections) as pool:
            yield lambda: list(pool.map(archive.fetch_product, products))

    @contextmanager
    def theirs(folder: Path) -> Iterator[Callable[[], object]]:
        yield lambda: peer.download_all(url, [product.uri for product in products], folder)

    seconds = time_in_turn(ours, theirs, runs=5)
    megabytes = sum(product.size_bytes or 0 for product in products) / 1e6
    return [
        rate_row(f"fetch, {name}", "files/s", len(products), seconds, peer.NAME),
        rate_row(f"fetch, {name}", "MB/s", megabytes, seconds, peer.NAME),
    ]


def main() -> None:
    """Measure at each distance."""
    rows: list[Row] = []
    for name, delay_s in DISTANCES.items():
        with archive_at_distance(SKY, delay_s) as url, tempfile.TemporaryDirectory() as folder:
            rows += compare(name, url, list_files(url, Path(folder)))
    report("fetch", rows)


if __name__ == "__main__":
    main()
