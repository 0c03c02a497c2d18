"""Determine whether a command has work to do. Prefect and torch are not imported, because these imports take seconds.

The checks read the published catalog. If this catalog may be out of date, the answer is yes, and the stage determines
later whether it has work. Each check imports what it needs, because a command checks only its own stages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.catalog.migrations import read_sql
from hubbleclip.catalog.pending import count_pending, pending_captions
from hubbleclip.catalog.working_copy import is_unpublished
from hubbleclip.config.settings import Settings, TrainSettings
from hubbleclip.core.errors import DatasetError, SearchError
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.engine.stage import Stage, layout_of
from hubbleclip.pipeline.promotion import find_run as find_run_by_id
from hubbleclip.pipeline.promotion import promoted
from hubbleclip.pipeline.remote_store import pull_datasets
from hubbleclip.pipeline.status import NEWEST_DATASET
from hubbleclip.training.runs import FINISHED, find_run, runs_in, settings_digest


def has_work(command: str, settings: Settings, *, of_snapshot: bool = False) -> bool:
    """Return whether a command has something to do; for the stage `ingest`, the archive is queried.

    With `of_snapshot`, the published catalog is read even if it may be out of date.
    """
    layout = layout_of(settings)
    is_unknown = not layout.catalog.exists() if of_snapshot else settings.store or is_unpublished(layout)
    if is_unknown or command not in PARTS:
        return True
    with read_catalog(layout) as catalog:
        stage = Stage(name=command, settings=settings, layout=layout, catalog=catalog)
        if any(CHECKS[part](stage) for part in PARTS[command] if part != "ingest"):
            return True
    if "ingest" not in PARTS[command]:
        return False
    from hubbleclip.pipeline.ingest.run import poll

    # The archive is queried last, because the query takes seconds and writes the catalog.
    return settings.archive.from_raw or poll(settings)


def has_tiles(stage: Stage) -> bool:
    """Return whether tiles of a product, or colour tiles of a visit, are pending."""
    num = count_pending(stage.catalog, stage.settings)["tiles"]
    if num or not stage.settings.tiles.colour:
        return num > 0
    from hubbleclip.pipeline.tiles.run import pending_visits

    return bool(pending_visits(stage.catalog, stage.settings.tiles))


def has_captions(stage: Stage) -> bool:
    """Return whether an abstract lacks its summary, or whether a file of proposals must be read."""
    from hubbleclip.captions.backends import writer_of

    settings = stage.settings
    if not settings.captions.backend:
        return stage.name == "captions"  # the command runs, and reports that no caption backend is set
    is_read = settings.archive.proposals_file is not None and settings.archive.folder is None
    return is_read or bool(pending_captions(stage.catalog, settings.captions, writer_of(settings.captions)))


def has_samples(stage: Stage) -> bool:
    """Return whether a tile needs a new split, or the samples have changed since the newest dataset was built."""
    from hubbleclip.dataset.build import inputs_digest
    from hubbleclip.dataset.manifest import DESCRIPTION
    from hubbleclip.dataset.samples import make_samples
    from hubbleclip.dataset.splits.schemes import RANDOM
    from hubbleclip.pipeline.shards import plan_splits, read_material

    newest = stage.catalog.rows(NEWEST_DATASET)
    is_here = newest and (stage.layout.absolute(newest[0]["path"]) / DESCRIPTION).is_file()
    if not is_here or stage.settings.splits.scheme != RANDOM:
        return True
    material = read_material(stage)
    existing, changed = plan_splits(stage, material)
    if changed:
        return True
    samples, _ = make_samples(material, existing, stage.settings.shards)
    return bool(newest[0]["inputs_digest"] != inputs_digest(samples, stage.settings.shards))


def has_training(stage: Stage) -> bool:
    """Return whether the newest dataset is missing, or a training on it is not finished."""
    wanted = [settings_digest(stage.settings.model, one) for one in trainings(stage.settings)]
    return any(find_run(stage.layout.runs, newest_digest(stage), digest) is None for digest in wanted)


def newest_dataset(layout: Layout) -> Path:
    """Find the folder of the dataset that was built last."""
    with read_catalog(layout) as catalog:
        rows = catalog.rows(NEWEST_DATASET)
    pull_datasets(layout, layout.absolute(rows[0]["path"]) if rows else None)
    if not rows or not layout.absolute(rows[0]["path"]).is_dir():
        raise DatasetError("there is no dataset yet: run `hubbleclip dataset` first")
    return layout.absolute(rows[0]["path"])


def chosen_run(
    layout: Layout, dataset_digest: str, settings: Settings, run: str = "", *, is_own: bool = False
) -> Path | None:
    """Find the run to evaluate: the run with the id `run`, or, if `run` is empty, the newest run on a dataset.

    If `run` is empty and `is_own` is true, find the run that was trained on the dataset with these settings.
    """
    if run:
        return find_run_by_id(layout, run)
    if is_own:
        return find_run(layout.runs, dataset_digest, settings_digest(settings.model, settings.train))
    return newest_run(layout, dataset_digest)


def newest_digest(stage: Stage) -> str:
    """Return the digest of the newest dataset; empty if there is none."""
    return next((str(row["digest"]) for row in stage.catalog.rows(NEWEST_DATASET)), "")


def newest_run(layout: Layout, dataset_digest: str, *, is_shuffled: bool = False) -> Path | None:
    """Find the newest finished run on a dataset; if `is_shuffled`, find the newest shuffled-pairs baseline instead."""
    found = runs_in(layout.runs, dataset_digest=dataset_digest, status=FINISHED, is_shuffled=is_shuffled)
    return next((folder for folder, _ in found), None)


def control_run(layout: Layout, dataset_digest: str, settings: Settings) -> Path | None:
    """Find the shuffled-pairs baseline with these settings on a dataset, or else the newest baseline on the dataset.

    The result is None if there is no baseline, or if the settings disable the baseline.
    """
    if not settings.evaluation.shuffled_steps:
        return None
    own = find_run(layout.runs, dataset_digest, settings_digest(settings.model, trainings(settings)[1]))
    return own or newest_run(layout, dataset_digest, is_shuffled=True)


def trainings(settings: Settings) -> list[TrainSettings]:
    """Return the settings of each training of a profile: the model, then the shuffled-pairs baseline if enabled."""
    wanted = [settings.train]
    if settings.evaluation.shuffled_steps:
        control = {"shuffled": True, "steps": settings.evaluation.shuffled_steps, "resume": ""}
        wanted.append(settings.train.model_copy(update=control))
    return wanted


def has_evaluation(stage: Stage) -> bool:
    """Return whether the report on the newest run, or the decision on its promotion, is missing."""
    digest = newest_digest(stage)
    run_dir = chosen_run(stage.layout, digest, stage.settings, is_own=stage.name == "pipeline")
    if run_dir is None:
        return True
    name = report_id(run_dir, digest, control_run(stage.layout, digest, stage.settings), stage.settings)
    is_written = (stage.layout.reports / name / "index.html").is_file()
    known = stage.catalog.rows("SELECT report_id FROM report WHERE report_id = ?", [name])
    decided = stage.catalog.rows("SELECT run_id FROM promotion WHERE run_id = ?", [run_dir.name])
    return not (is_written and known and decided and promoted(stage.catalog, stage.layout))


def report_id(run_dir: Path, dataset_digest: str, shuffled_dir: Path | None, settings: Settings) -> str:
    """Return the id of a report: the run's id, and a digest of dataset, baseline and evaluation settings."""
    rest = f"{dataset_digest}:{shuffled_dir.name if shuffled_dir else ''}:{settings.evaluation.digest()}"
    return f"{run_dir.name}-{hashlib.sha256(rest.encode()).hexdigest()[:8]}"


def has_index(stage: Stage) -> bool:
    """Return whether the index is incomplete, damaged, or made by another run or with other tile settings."""
    from hubbleclip.search.open_index import STORE, open_store, read_current

    layout, run = stage.layout, promoted(stage.catalog, stage.layout)
    if run is None:
        return True
    try:
        current = read_current(layout)
        store = open_store(layout, current.model_digest)
    except SearchError:
        return True
    with closing(store):
        made_of = (current.run, current.store, current.tiles)
        wanted = (layout.relative(Path(run["path"])), STORE, stage.settings.tiles.model_dump(mode="json"))
        return made_of != wanted or len(tiles_to_index(stage, store.tile_ids)) > 0


def tiles_to_index(stage: Stage, known: pa.Array) -> pa.Table:
    """List id, path and hash of the current tiles that are not in an index, in order of tile id."""
    sql = f"SELECT tile_id, path, png_sha256 FROM ({read_sql('current_tiles')}) ORDER BY tile_id"  # noqa: S608 - a file of the package
    current = stage.catalog.query(sql, {"settings_digest": stage.settings.tiles.digest()})
    return current.filter(pc.invert(pc.is_in(current["tile_id"].cast(known.type), value_set=known)))


CHECKS: dict[str, Callable[[Stage], bool]] = {
    "tiles": has_tiles,
    "captions": has_captions,
    "shards": has_samples,
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
"""Stages that each command runs, by the name of the command."""
