"""The stage `tiles` of 10,000 products as a Prefect flow, and the same library calls in a thread pool: seconds.

The server runs already; what starting it costs does not grow with the work. Every product is the same small file, of
one tile, under a content hash of its own: the less there is to do, the more a task's own cost would show.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.made import write_drz
from benchmarks.measure import Row, Seconds, report, seconds_row, time_in_turn
from flows.private_server import prefect_server
from hubbleclip.catalog.catalog import writing_catalog
from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product

NUM_PRODUCTS = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
SIDE_PX = 120
RUNS = 2
PROFILE = "demo"


def overrides(folder: Path) -> dict[str, Any]:
    return {"data": str(folder), "tiles": {"size_px": SIDE_PX, "views": ["native"]}}


def fill(settings: Settings) -> None:
    """A catalog of products that are fetched and not yet cut."""
    layout = Layout(settings.root)
    layout.products.mkdir(parents=True)
    path = write_drz(layout.products / "made.fits", SIDE_PX)
    products = [
        Product(
            uri=f"mast:HST/product/{n:06}_drz.fits", obs_id=f"o{n:06}", proposal_id=f"hst:{n // 10}",
            file_name=f"{n:06}_drz.fits", kind="DRZ", size_bytes=path.stat().st_size, choice="best",
            path=layout.relative(path), sha256=f"{n:064x}", version=1,
        )
        for n in range(NUM_PRODUCTS)
    ]  # fmt: skip
    with writing_catalog(layout) as catalog:
        catalog.upsert({"product": products})


@contextmanager
def as_flow(folder: Path) -> Iterator[Callable[[], object]]:
    from flows.scheduled import without_heartbeat
    from flows.tiles import tiles

    fill(read_settings(PROFILE, overrides(folder)))
    with without_heartbeat():
        yield partial(tiles, PROFILE, overrides(folder))


@contextmanager
def as_calls(folder: Path) -> Iterator[Callable[[], object]]:
    settings = read_settings(PROFILE, overrides(folder))
    fill(settings)
    yield partial(cut_all, settings)


def cut_all(settings: Settings) -> None:
    """What the flow does, in as many threads, with the same checks and writes."""
    from hubbleclip.catalog.pending import pending_tiles, product_batches
    from hubbleclip.pipeline.engine.boundaries import checked
    from hubbleclip.pipeline.engine.stage import Stage
    from hubbleclip.pipeline.tiles.cutting import write_cut
    from hubbleclip.pipeline.tiles.run import cut_products

    layout = Layout(settings.root)
    with writing_catalog(layout) as catalog, ThreadPoolExecutor(settings.flows.workers) as pool:
        stage = Stage(name="tiles", settings=settings, layout=layout, catalog=catalog)
        work = product_batches(catalog, pending_tiles(catalog, settings), settings.flows.batch_size)
        for batch in pool.map(partial(cut_products, layout=layout, settings=settings.tiles), work):
            write_cut(stage, checked(stage, batch, "cut-products"))


def task_runs(num_flows: int) -> Row:
    """Task runs a flow, as the server counts them."""
    asked = urllib.request.Request(
        f"{os.environ['PREFECT_API_URL']}/task_runs/count", b"{}", {"Content-Type": "application/json"}
    )
    num = json.load(urllib.request.urlopen(asked, timeout=60)) / num_flows
    return Row(name=f"task runs, {NUM_PRODUCTS} products", unit="", ours=num, peer=None, peer_name=None, ratio=None,
               runs=1, spread=0.0)  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory() as home, prefect_server(Path(home)) as wait_until_up:
        wait_until_up()
        seconds: Seconds = time_in_turn(as_flow, as_calls, runs=RUNS)
        rows = [seconds_row(f"cut {NUM_PRODUCTS} products", seconds, "the same calls without Prefect"),
                task_runs(RUNS + 1)]  # fmt: skip
    report("flows", rows)


if __name__ == "__main__":
    main()
