"""Make colour tiles of visits that were observed through at least three filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from hubbleclip.catalog.catalog import Catalog
from hubbleclip.config.settings import TileSettings
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product
from hubbleclip.fits.instruments import wavelength_nm
from hubbleclip.images.rgb import cut_colour, pick_parts
from hubbleclip.images.tiling import read_images
from hubbleclip.pipeline.engine.attempts import Batch, Step
from hubbleclip.pipeline.engine.batches import run_batches
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.pipeline.ingest.fetch import forgotten, is_intact
from hubbleclip.pipeline.remote_store import local_files
from hubbleclip.pipeline.tiles.stored_tiles import store_tiles, write_cut

PRODUCT = tuple(Product.__slots__)


class Visit(NamedTuple):
    """A visit, and its products for the three colour channels, red first."""

    name: str
    parts: tuple[Product, ...]


def pending_visits(catalog: Catalog, settings: TileSettings) -> list[Visit]:
    """List the visits whose colour tiles are pending.

    A visit is pending when it has products in at least three filters and was never cut or rejected, or when one of the
    three chosen products was fetched after the visit was last cut or rejected.
    """
    rows = catalog.named_query("colour_parts", settings_digest=settings.digest(), now=datetime.now(UTC))
    visits = []
    for name, group in groupby(rows, itemgetter("visit")):
        chosen = _pick(list(group))
        if chosen and any(row["coloured_at"] is None or row["coloured_at"] < row["fetched_at"] for row in chosen):
            visits.append(Visit(name, tuple(Product(**{key: row[key] for key in PRODUCT}) for row in chosen)))
    return visits


def _pick(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Select one row for each of three filters of a visit, red first; [] if there are fewer filters."""
    found = {row["uri"]: wavelength_nm(row["filter"], row["instrument"]) for row in rows}
    uris = pick_parts({uri: wavelength for uri, wavelength in found.items() if wavelength})
    by_uri = {row["uri"]: row for row in rows}
    return [by_uri[uri] for uri in uris]


def colour_visit(visit: Visit, layout: Layout, settings: TileSettings) -> Batch:
    """Write the colour tiles of a visit; a file that the disk has lost is fetched again by the next ingest."""
    now = datetime.now(UTC)
    with local_files(layout, (part.path for part in visit.parts if part.path)):
        if lost := [forgotten(part, layout) for part in visit.parts if not is_intact(part, layout)]:
            return {"product": lost}
        images = [read_images(layout.absolute(part.path or ""), settings, part.file_name) for part in visit.parts]
    cut = cut_colour(images, [part.sha256 or "" for part in visit.parts], settings)
    uris = [part.uri for part in visit.parts]
    return store_tiles(
        cut, visit.parts[1], layout, stage="colour", digest=settings.digest(), cut_at=now, part_uris=uris
    )


def colour_pending(stage: Stage) -> None:
    """Cut the colour tiles of all pending visits."""
    settings = stage.settings
    pending = pending_visits(stage.catalog, settings.tiles)
    step = Step(name="colour-visits", stage="colour", entity="visit", digest=settings.tiles.digest(), key="name")
    work = partial(colour_visit, layout=stage.layout, settings=settings.tiles)
    run_batches(stage, step, work, pending, total=len(pending), write=write_cut)
