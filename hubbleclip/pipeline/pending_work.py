"""Test whether a command has work to do, without importing Prefect and torch, which takes seconds.

The published catalog is read. If it may be out of date, the answer is yes, and the stage itself finds out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from hubbleclip.captions.registry import writer_of
from hubbleclip.catalog.catalog import Catalog, read_catalog
from hubbleclip.catalog.migrations import read_sql
from hubbleclip.catalog.pending import count_pending, pending_captions
from hubbleclip.catalog.working_copy import is_unpublished
from hubbleclip.config.settings import Settings, TrainSettings
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.engine.stage import Stage, layout_of
from hubbleclip.pipeline.ingest.run import poll
from hubbleclip.pipeline.promotion import promoted
from hubbleclip.pipeline.shards.run import is_up_to_date
from hubbleclip.pipeline.status import NEWEST_DATASET
from hubbleclip.pipeline.tiles.rgb_visits import pending_visits
from hubbleclip.search.open_index import STORE, open_store, read_current
from hubbleclip.training.runs import find_run, settings_digest


def has_work(command: str, settings: Settings) -> bool:
    """Return whether a command has something to do; `ingest` queries the archive for that."""
    layout = layout_of(settings)
    if settings.store or command not in PARTS or is_unpublished(layout):
        return True
    with read_catalog(layout) as catalog:
        stage = Stage(name=command, settings=settings, layout=layout, catalog=catalog)
        if any(CHECKS[part](stage) for part in PARTS[command] if part != "ingest"):
            return True
    # The archive is asked last, because that takes seconds and writes the catalog.
    return "ingest" in PARTS[command] and (settings.archive.from_raw or poll(settings))


def has_tiles(stage: Stage) -> bool:
    """Return whether a product or a visit is to be cut."""
    settings, catalog = stage.settings, stage.catalog
    return bool(
        count_pending(catalog, settings)["tiles"] or (settings.tiles.colour and pending_visits(catalog, settings.tiles))
    )


def has_captions(stage: Stage) -> bool:
    """Return whether an abstract lacks its summary, or a file of proposals is to be read."""
    settings = stage.settings
    writer = writer_of(settings.captions)
    is_read = settings.archive.proposals_file is not None and settings.archive.folder is None
    if not writer:
        return stage.name == "captions"  # the stage reports that no writer is set
    return is_read or bool(pending_captions(stage.catalog, settings.captions, writer))


def has_training(stage: Stage) -> bool:
    """Return whether the newest dataset is missing, or a training on it is not finished."""
    return None in finished_trainings(stage.catalog, stage.layout, stage.settings)


def finished_trainings(catalog: Catalog, layout: Layout, settings: Settings) -> list[Path | None]:
    """Find the finished run of each training on the newest dataset."""
    digests = [row["digest"] for row in catalog.rows(NEWEST_DATASET)]
    return [
        find_run(layout.runs, digests[0], settings_digest(settings.model, one)) if digests else None
        for one in trainings(settings)
    ]


def trainings(settings: Settings) -> list[TrainSettings]:
    """Return the settings of the trainings of a profile: the model, then the shuffled-pairs baseline if
    it is wanted.
    """
    wanted = [settings.train]
    if settings.evaluation.shuffled_steps:
        wanted.append(settings.train.model_copy(update={"shuffled": True, "steps": settings.evaluation.shuffled_steps}))
    return wanted


def has_evaluation(stage: Stage) -> bool:
    """Return whether the report on the newest run, or the decision on its promotion, is missing."""
    run_dir, *baseline = finished_trainings(stage.catalog, stage.layout, stage.settings)
    if run_dir is None or None in baseline:
        return True
    name = report_id(run_dir, baseline[0] if baseline else None, stage.settings)
    is_written = (stage.layout.reports / name / "index.html").is_file()
    known = stage.catalog.rows("SELECT report_id FROM report WHERE report_id = ?", [name])
    decided = stage.catalog.rows("SELECT run_id FROM promotion WHERE run_id = ?", [run_dir.name])
    return not (is_written and known and decided and promoted(stage.catalog, stage.layout))


def report_id(run_dir: Path, shuffled_dir: Path | None, settings: Settings) -> str:
    """Return the id of a report: the run's id, and a digest of the baseline's id and the evaluation settings."""
    rest = f"{shuffled_dir.name if shuffled_dir else ''}:{settings.evaluation.digest()}"
    return f"{run_dir.name}-{hashlib.sha256(rest.encode()).hexdigest()[:8]}"


def has_index(stage: Stage) -> bool:
    """Return whether the index lacks a tile, or belongs to a run other than the promoted one."""
    layout, run = stage.layout, promoted(stage.catalog, stage.layout)
    if run is None or not layout.current_index.is_file():
        return True
    current = read_current(layout)
    made_of = (current.run, current.store, current.tiles)
    if made_of != (layout.relative(Path(run["path"])), STORE, stage.settings.tiles.model_dump(mode="json")):
        return True
    store = open_store(layout, current.model_digest)
    try:
        return len(tiles_to_index(stage, store.tile_ids)) > 0
    finally:
        store.close()


def tiles_to_index(stage: Stage, known: pa.Array) -> pa.Table:
    """List id, path and hash of the current tiles that are not in an index, in order of tile id."""
    sql = f"SELECT tile_id, path, png_sha256 FROM ({read_sql('current_tiles')}) ORDER BY tile_id"  # noqa: S608 - a file of the package
    current = stage.catalog.query(sql, {"settings_digest": stage.settings.tiles.digest()})
    return current.filter(pc.invert(pc.is_in(current["tile_id"].cast(known.type), value_set=known)))


CHECKS: dict[str, Callable[[Stage], bool]] = {
    "tiles": has_tiles,
    "captions": has_captions,
    "shards": lambda stage: not is_up_to_date(stage),
    "train": has_training,
    "evaluate": has_evaluation,
    "index": has_index,
}
DATASET = ("tiles", "captions", "shards", "ingest")
PARTS = {
    **{name: (name,) for name in ("ingest", *CHECKS)},
    "dataset": DATASET,
    "pipeline": (*DATASET, "train", "evaluate", "index"),
}
"""Stages of which a command consists."""
