"""`make pictures`: write the pictures and numbers of the README from the newest report of a profile."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

from cyclopts import App
from PIL import Image

from experiments.running import ROOT, run, update_page
from hubbleclip.catalog.catalog import Catalog, read_catalog
from hubbleclip.cli.options import Options
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.io import write_bytes, write_text
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Metric
from hubbleclip.evaluation.report.figures import retrieval_figure, svg_bytes
from hubbleclip.evaluation.report.model_card import score_table
from hubbleclip.pipeline.status import read_status
from hubbleclip.pipeline.tiles.contact_sheet import render_sheet

app = App()
NUMBERS = "demo numbers"
SHORT = ("fine_tuned", "bm25", "random")
"""Scorers in the table of the README; that of docs/quickstart.md has all."""
TILE_PER_CLASS = """
SELECT target_class, min_by(tile.path, tile_id) AS path FROM sample JOIN tile USING (tile_id)
WHERE split = 'test' AND sample.instrument NOT LIKE 'WFPC2%' GROUP BY target_class ORDER BY target_class
"""


@app.default
def pictures(out_dir: Path, options: Options = Options()) -> None:
    """Write tile sheet, retrieval curve and metrics to `out_dir`, and the tables of README and quickstart."""
    settings = options.settings()
    status = read_status(settings)
    if not status.report:
        raise HubbleclipError("there is no report: run `make demo` first")
    report = json.loads(Path(status.report).with_name("metrics.json").read_text(encoding="utf-8"))
    # only the protocol `fair` gives headline numbers; the other protocols reproduce earlier papers
    report["metrics"] = [m for m in report["metrics"] if m["protocol"] == "fair"]
    layout = Layout(settings.root)
    with read_catalog(layout) as catalog:
        write_bytes(out_dir / "tiles.jpg", tile_sheet(catalog, layout))
    figure = retrieval_figure([Metric(run_id="", **m) for m in report["metrics"]])
    write_bytes(out_dir / "retrieval.svg", svg_bytes(figure))
    write_text(out_dir / "metrics.json", json.dumps(report, indent=0, sort_keys=True) + "\n")
    update_page(ROOT / "docs/quickstart.md", {NUMBERS: score_table(report["metrics"])})
    update_page(ROOT / "README.md", {NUMBERS: score_table(m for m in report["metrics"] if m["model"] in SHORT)})
    sys.stdout.write(f"wrote {out_dir}, README.md and docs/quickstart.md from {status.report}\n")


def tile_sheet(catalog: Catalog, layout: Layout) -> bytes:
    """Draw a contact sheet with one test tile for every target class."""
    rows = catalog.rows(TILE_PER_CLASS)
    tiles = [Image.open(layout.absolute(row["path"])).convert("L") for row in rows]
    labels = [row["target_class"].removeprefix("SIMULATED;").lower() for row in rows]
    buffer = io.BytesIO()
    render_sheet(tiles, labels, columns=6, cell_px=150).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


if __name__ == "__main__":
    run(app)
