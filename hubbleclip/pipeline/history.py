"""List the datasets, runs and reports of a profile, newest first, and trace the lineage of a tile."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hubbleclip.catalog.catalog import Catalog, read_catalog
from hubbleclip.config.settings import Settings
from hubbleclip.core.id_prefixes import find_id
from hubbleclip.core.layout import Layout
from hubbleclip.core.reasons import reason_words
from hubbleclip.dataset.manifest import DESCRIPTION, SPLIT_REPORT, read_description
from hubbleclip.evaluation.names import HEADLINE
from hubbleclip.pipeline.engine.stage import layout_of
from hubbleclip.pipeline.pending_work import chosen_run
from hubbleclip.pipeline.promotion import not_promoted, promoted
from hubbleclip.pipeline.status import NEWEST_DATASET
from hubbleclip.training.runs import runs_in, state_of

Row = dict[str, Any]
HEADLINES = """
SELECT run_id, printf('%.1f %%', 100 * value) || coalesce(printf(' (%.1f-%.1f)', 100 * low, 100 * high), '') AS text
FROM metric WHERE protocol = 'fair' AND split = 'test' AND name = ? AND model = ?
"""
DATASETS = """
SELECT digest, strftime(built_at, '%Y-%m-%d %H:%M') AS built_at, num_samples AS samples, num_new_samples AS new,
  num_shards AS shards, path FROM dataset ORDER BY dataset.built_at DESC, digest
"""
REPORTS = "SELECT made_at, run_id, path FROM report"
PAGE = "index.html"
STARTING = "SELECT tile_id FROM tile WHERE starts_with(tile_id, ?) ORDER BY tile_id LIMIT 10"


def list_runs(layout: Layout) -> list[Row]:
    """List all runs, also those that are not finished or not evaluated."""
    headlines, best = {}, None
    if layout.catalog.is_file():
        with read_catalog(layout) as catalog:
            headlines = _headlines(catalog)
            best = promoted(catalog, layout)
    return [
        {
            "run_id": one["run_id"],
            "started_at": _minute(one["started_at"]),
            "state": "promoted" if best and best["run_id"] == one["run_id"] else state_of(folder, one["status"]),
            "training": f"control: {one['model']} on shuffled pairs" if one["is_shuffled"] else one["model"],
            "steps": one["steps"],
            "dataset": one["dataset_digest"],
            "headline": headlines.get(one["run_id"]),
        }
        for folder, one in runs_in(layout.runs)
    ]


def list_datasets(layout: Layout) -> list[Row]:
    """List the datasets that the catalog records."""
    with read_catalog(layout) as catalog:
        return [row | {"path": str(layout.absolute(row["path"]))} for row in catalog.rows(DATASETS)]


def list_reports(layout: Layout) -> list[Row]:
    """List the reports that the catalog records, and the pages that compare two runs."""
    with read_catalog(layout) as catalog:
        headlines = _headlines(catalog)
        recorded = [(layout.absolute(row["path"]), row["made_at"], row["run_id"]) for row in catalog.rows(REPORTS)]
    compared = [
        (folder, datetime.fromtimestamp(folder.stat().st_mtime, UTC), run_id) for run_id, folder in layout.comparisons()
    ]
    return [
        {
            "report_id": folder.name,
            "made_at": _minute(made_at),
            "run_id": run_id,
            "headline": headlines.get(run_id),
            "page": str(folder / PAGE),
        }
        for folder, made_at, run_id in sorted(recorded + compared, key=lambda one: _minute(one[1]), reverse=True)
    ]


def newest_result(settings: Settings, run: str = "", *, is_own: bool = False) -> dict[str, str] | None:
    """Read the headline metric of a run, the chance level of this metric, and the path of the run's newest report.

    The item `problem` of the result says why no run is promoted, and is empty if a run is promoted. The result is None
    if the run has no report.
    """
    layout = layout_of(settings)
    with read_catalog(layout) as catalog:
        dataset = next((row["digest"] for row in catalog.rows(NEWEST_DATASET)), "")
        run_dir = chosen_run(layout, dataset, settings, run, is_own=is_own)
        run_id = run_dir.name if run_dir else ""
        reports = catalog.rows(f"{REPORTS} WHERE run_id = ? ORDER BY made_at DESC LIMIT 1", [run_id])
        headline, chance = _headlines(catalog), _headlines(catalog, "random")
        problem = "" if promoted(catalog, layout) else str(not_promoted(catalog))
    if not reports or run_id not in headline:
        return None
    return {
        "run": run_id,
        "problem": problem,
        "headline": headline[run_id],
        "chance": chance[run_id].partition(" (")[0],
        "page": str((layout.absolute(reports[0]["path"]) / PAGE).absolute()),
    }


def _headlines(catalog: Catalog, model: str = "fine_tuned") -> dict[str, str]:
    """Read each run's headline metric and its 95 % interval, by run id, as a text such as `61.2 % (58.9-63.4)`."""
    return {row["run_id"]: row["text"] for row in catalog.rows(HEADLINES, [HEADLINE, model])}


def _minute(time: datetime | str) -> str:
    """Format a time in UTC to the minute."""
    return f"{datetime.fromisoformat(str(time)):%Y-%m-%d %H:%M}"


def explain(layout: Layout, tile_id: str) -> dict[str, Any]:
    """Read the lineage of one tile from the published catalog, as one flat row."""
    with read_catalog(layout) as catalog:
        return explain_tile(catalog, layout, tile_id)


def explain_tile(catalog: Catalog, layout: Layout, tile_id: str) -> dict[str, Any]:
    """Return the lineage of one tile as one flat row."""
    known = [row["tile_id"] for row in catalog.rows(STARTING, [tile_id])]
    tile_id = find_id(tile_id, known, kind="tile", listed_by='hubbleclip sql "FROM tile"')
    (lineage,) = catalog.named_query("explain", tile_id=tile_id)
    described = _description(layout, lineage["dataset"])
    if lineage["split_reason"]:  # an excluded tile is in no dataset
        newest = [_description(layout, row["path"]) for row in catalog.rows(NEWEST_DATASET)]
        splits = newest[0].get(SPLIT_REPORT, {}).get("settings") if newest else None
        lineage["split_reason"] = reason_words(lineage["split_reason"], splits)
    product = layout.absolute(lineage["product_path"]) if lineage["product_path"] else None
    # the product's file may be smaller than in the archive, because extensions that no stage reads may be skipped
    lineage["product_bytes_on_disk"] = product.stat().st_size if product and product.is_file() else None
    return lineage | {
        f"dataset_{name}": described.get(name) for name in ("code_version", "settings_digests", "settings")
    }


def _description(layout: Layout, path: str | None) -> dict[str, Any]:
    """Read the description of a dataset; empty if there is no dataset, or if its folder no longer exists."""
    folder = layout.absolute(path) if path else None
    return read_description(folder) if folder and (folder / DESCRIPTION).is_file() else {}
