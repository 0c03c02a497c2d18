"""Find a run by its id, or find the promoted run.

The promoted run is the best run so far. Another run replaces it only if that run is significantly better on val.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hubbleclip.catalog.catalog import Catalog, read_catalog
from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.id_prefixes import find_id
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.remote_store import pull_folder
from hubbleclip.training.runs import FINISHED, RUN, runs_in

PROMOTED = """
SELECT promotion.*, run.path FROM promotion JOIN run USING (run_id) WHERE is_promoted
ORDER BY decided_at DESC, run_id DESC LIMIT 1
"""

NO_RUN = "no run is promoted yet: run `hubbleclip pipeline` first"


def read_promoted(layout: Layout) -> dict[str, Any]:
    """Read the promoted run from the published catalog. Raises EvaluationError if there is none."""
    if not layout.catalog.is_file():
        raise EvaluationError(NO_RUN)
    with read_catalog(layout) as catalog:
        if found := promoted(catalog, layout):
            return found
        raise not_promoted(catalog)


def promoted(catalog: Catalog, layout: Layout) -> dict[str, Any] | None:
    """Read the promoted run from an open catalog, and fetch its folder from the remote store if one is set."""
    found = [row | {"path": str(layout.absolute(row["path"]))} for row in catalog.rows(PROMOTED)]
    if found:
        pull_folder(layout, Path(found[0]["path"]))
    return found[0] if found and Path(found[0]["path"]).is_dir() else None


def not_promoted(catalog: Catalog) -> EvaluationError:
    """Make the error that says why no run is promoted, and what to change."""
    if catalog.rows("SELECT run_id FROM promotion LIMIT 1"):
        return EvaluationError(NO_RUN)
    for row in catalog.rows("FROM rejection WHERE entity = 'promotion' ORDER BY rejected_at DESC LIMIT 1"):
        return EvaluationError(f"no run is promoted: {row['detail']}, then run `hubbleclip pipeline`")
    if catalog.rows("SELECT run_id FROM report LIMIT 1"):
        return EvaluationError("no run is promoted, because an evaluation was stopped: run `hubbleclip evaluate`")
    return EvaluationError(NO_RUN)


def find_run(layout: Layout, name: str) -> Path:
    """Find the folder of a run by its path or id. Raises HubbleclipError for the id of an unknown or unfinished run."""
    if (Path(name) / RUN).is_file():
        return Path(name).absolute()
    states = {folder.name: facts["status"] for folder, facts in runs_in(layout.runs)}
    if FINISHED not in states.values():
        raise EvaluationError(f"{layout.root} has no finished run: run `hubbleclip train` first")
    run_id = find_id(name, states, kind="run", listed_by="hubbleclip runs")
    if states[run_id] != FINISHED:
        raise EvaluationError(f"the run {run_id} is not finished: run `hubbleclip train` again to resume it")
    return layout.runs / run_id
