"""Records and stages for tests of the flows' parts, without Prefect and without an archive."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from valid_catalog import NOW, make

from hubbleclip.catalog.pending import pending_tiles
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Listing, Observation, Product, Rejection
from hubbleclip.pipeline.engine.batches import run_batches
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.pipeline.ingest.fetch import products_of

DAY = timedelta(days=1)


@cache
def empty_catalog() -> bytes:
    """Make the file of a new catalog, which takes longer than to copy it."""
    with TemporaryDirectory() as folder:
        with writing_catalog(Layout(Path(folder))) as catalog:
            pass
        return catalog.path.read_bytes()


def with_catalog(layout: Layout) -> Layout:
    """Give a folder without a catalog an empty one."""
    if not layout.catalog.exists():
        layout.root.mkdir(parents=True, exist_ok=True)
        layout.working_catalog.write_bytes(empty_catalog())
    return layout


@contextmanager
def stage_at(folder: Path, overrides: dict[str, Any] | None = None) -> Iterator[Stage]:
    settings = read_settings("demo", {"data": str(folder), "fetch": {"requests_per_s": 1000}}, overrides or {})
    layout = with_catalog(Layout(settings.root))
    with writing_catalog(layout) as catalog:
        yield Stage(name="ingest", settings=settings, layout=layout, catalog=catalog)


def cut_pending(stage: Stage) -> None:
    from hubbleclip.pipeline.tiles import run

    pending, settings = pending_tiles(stage.catalog, stage.settings), stage.settings.tiles
    work, files = partial(run.cut_product, layout=stage.layout, settings=settings), products_of(stage, pending)
    run_batches(stage, run.cutting(settings), work, files, total=len(pending), write=run.write_cut)


def observation(obs_id: str, proposal: str = "hst:1", fingerprint: str | None = "1" * 32) -> Observation:
    facts = dict.fromkeys(("target_name", "target_class", "dec_deg", "footprint", "title", "visit", "query_digest"))
    facts |= {"released_mjd": 60000.0, "exposure_s": 1.0}
    return make(Observation, obs_id=obs_id, proposal_id=proposal, fingerprint=fingerprint, **facts)


def product(obs_id: str, archive_version: str | None = "v1", **more: Any) -> Product:
    return Product(
        uri=more.pop("uri", f"mast:{obs_id}"),
        obs_id=obs_id,
        proposal_id=more.pop("proposal", "hst:1"),
        file_name=more.pop("file_name", f"{obs_id}_drz.fits"),
        kind="DRZ",
        size_bytes=more.pop("size_bytes", 10),
        choice="best",
        archive_version=archive_version,
        **more,
    )


def fetched(obs_id: str, sha256: str = "a" * 64, version: str | None = "v1", **more: Any) -> Product:
    return product(
        obs_id,
        version,
        sha256=sha256,
        path=f"products/{sha256[:2]}/{sha256}.fits",
        fetched_at=NOW,
        fetched_version=version,
        version=1,
        source="mast",
        etag=more.pop("etag", "e1"),
        **more,
    )


def listing(settings: Settings, item: Observation, listed_at: datetime = NOW) -> Listing:
    digest = settings.archive.digest()
    return Listing(obs_id=item.obs_id, settings_digest=digest, fingerprint=item.fingerprint, listed_at=listed_at)


def rejection(entity: str, entity_id: str, stage: str, reason: str = "failed", digest: str = "d") -> Rejection:
    of = {"entity": entity, "entity_id": entity_id, "stage": stage, "reason": reason, "settings_digest": digest}
    return make(Rejection, **of, detail="why")
