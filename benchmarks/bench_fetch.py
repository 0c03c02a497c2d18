"""Fetching files: ours with 8 connections, checked and named by content, against astroquery's download in a loop.

Both fetch the same files, rendered in the warm-up, from the same server. On loopback the server limits the rate; with a
latency of 50 ms, as between two cities, the waiting does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.latency import archive_with_latency
from benchmarks.measure import Row, each, rate_row, report, sized, time_in_turn
from benchmarks.peers import fetch as peer
from hubbleclip.archives import open_archive
from hubbleclip.archives.base import Archive
from hubbleclip.config.settings import ArchiveSettings, FetchSettings, SimulatorSettings
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product

SKY = SimulatorSettings(num_proposals=12, frame_px=256)
NUM_FILES = sized(20, 6)  # the simulator caches 24 rendered files
RUNS = sized(5, 1)
FETCH = FetchSettings(connections=8, requests_per_s=100_000)  # no rate limit
LATENCIES_S = {"loopback": 0.0, "50 ms away": 0.05}


def open_at(url: str, root: Path) -> Archive:
    """Open the simulated archive at a URL."""
    settings = ArchiveSettings.model_validate({"name": "simulated", "mast_url": url})
    return open_archive(settings, FETCH, Layout(root))


def list_files(url: str, root: Path) -> list[Product]:
    """List the first files of the archive."""
    archive = open_at(url, root)
    observations = [one for page in archive.query_observations(0) for one in page]
    return archive.list_products(observations)[0][:NUM_FILES]


def compare(name: str, url: str, products: list[Product]) -> list[Row]:
    """Measure files and megabytes per second."""

    @contextmanager
    def ours(folder: Path) -> Iterator[Callable[[], object]]:
        archive = open_at(url, folder)
        with ThreadPoolExecutor(FETCH.connections) as pool:
            yield lambda: list(pool.map(archive.fetch_product, products))

    @contextmanager
    def theirs(folder: Path) -> Iterator[Callable[[], object]]:
        yield lambda: peer.download_all(url, [product.uri for product in products], folder)

    seconds = time_in_turn(f"fetch {len(products)} files, {name}", ours, theirs, runs=RUNS)
    megabytes = sum(product.size_bytes or 0 for product in products) / 1e6
    return [
        rate_row(f"fetch, {name}", "files/s", len(products), seconds, peer.NAME),
        rate_row(f"fetch, {name}", "MB/s", megabytes, seconds, peer.NAME),
    ]


def main() -> None:
    """Measure at each latency."""
    rows: list[Row] = []
    for name, delay_s in each(list(LATENCIES_S.items()), lambda item: item[0]):
        with archive_with_latency(SKY, delay_s) as url, tempfile.TemporaryDirectory() as folder:
            rows += compare(name, url, list_files(url, Path(folder)))
    report("fetch", rows)


if __name__ == "__main__":
    main()
