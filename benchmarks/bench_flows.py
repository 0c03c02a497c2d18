"""Overhead of Prefect: the stage `tiles` of 2,500 products as a flow, against the same library calls in a thread pool.

The server is started before the clock, because its start does not grow with the work. Every product is a small
file of one tile.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import Seconds, report, seconds_row, sized, time_in_turn
from benchmarks.synthetic_data import write_drz
from flows.server import joined_server
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.core.io import sha256_file
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product

NUM_PRODUCTS = sized(2_500, 200)
SIDE_PX = 120
RUNS = sized(2, 1)
PROFILE = "demo"


def overrides(folder: Path) -> dict[str, Any]:
    """Return the settings to change: folder and tiles of one per product."""
    return {"data": str(folder), "tiles": {"size_px": SIDE_PX, "views": ["native"]}}


def write_catalog(settings: Settings) -> None:
    """Write a catalog of products that are fetched and not yet cut."""
    layout = Layout(settings.root)
    layout.products.mkdir(parents=True)
    image = write_drz(layout.products / "made.fits", SIDE_PX).read_bytes()
    products = []
    for n in range(NUM_PRODUCTS):
        path = layout.products / f"{n:06}_drz.fits"
        path.write_bytes(image.replace(b"NDRIZIM =                    4", b"NDRIZIM = %20d" % (n + 4), 1))
        products.append(
            Product(
                uri=f"mast:HST/product/{path.name}",
                obs_id=f"o{n:06}",
                proposal_id=f"hst:{n // 10}",
                file_name=path.name,
                kind="DRZ",
                size_bytes=len(image),
                choice="best",
                path=layout.relative(path),
                sha256=sha256_file(path),
                version=1,
            )
        )
    with writing_catalog(layout) as catalog:
        catalog.upsert({"product": products})


@contextmanager
def as_flow(folder: Path) -> Iterator[Callable[[], object]]:
    """Run the flow."""
    from flows.pipeline import tiles, without_heartbeat

    settings = read_settings(PROFILE, overrides(folder))
    write_catalog(settings)
    with without_heartbeat():
        yield partial(tiles, settings)


@contextmanager
def as_calls(folder: Path) -> Iterator[Callable[[], object]]:
    """Run the library calls."""
    settings = read_settings(PROFILE, overrides(folder))
    write_catalog(settings)
    yield partial(cut_all, settings)


def cut_all(settings: Settings) -> None:
    """Do the work of the flow in the same number of threads, with the same checks and writes."""
    from hubbleclip.catalog.pending import pending_tiles, product_batches
    from hubbleclip.contracts.validation import reject_broken_rows
    from hubbleclip.pipeline.engine.stage import Stage
    from hubbleclip.pipeline.tiles.run import cut_product, write_cut

    layout = Layout(settings.root)
    with writing_catalog(layout) as catalog, ThreadPoolExecutor(settings.flows.workers) as pool:
        stage = Stage(name="tiles", settings=settings, layout=layout, catalog=catalog)
        cut = partial(cut_product, layout=layout, settings=settings.tiles)
        for batch in product_batches(catalog, pending_tiles(catalog, settings), settings.flows.batch_size):
            tiles = [tile for made in pool.map(cut, batch) for tile in made["tile"]]
            write_cut(stage, reject_broken_rows({"tile": tiles}, "tiles", "product", settings.tiles.digest()))


def main() -> None:
    """Measure both, in turn."""
    with tempfile.TemporaryDirectory() as home, joined_server(Path(home)) as wait_until_up:
        wait_until_up()
        seconds: Seconds = time_in_turn(f"cut {NUM_PRODUCTS} products", as_flow, as_calls, runs=RUNS)
        rows = [
            seconds_row(f"cut {NUM_PRODUCTS} products", seconds, "the same calls without Prefect"),
        ]
    report("flows", rows)


if __name__ == "__main__":
    main()
