"""Matching press pictures and captions that were not trained on: canonical correlations against linear heads.

Figures are shares of groups of related pictures with the right match in the top 10 %, over draws of five folds. The
peer is the project's own linear heads on the same inputs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import QUICK, ROOT, Row, progress, report

PICTURES = ROOT.parent / "shared/data/esahubble"
CAPTIONS = "captions.jsonl"
QUICK_PICTURES = 40
NUM_DRAWS = 5
PEER = "linear, all inputs"
METRICS = {"i2t_top_10pct": "caption of a picture", "t2i_top_10pct": "picture of a caption"}


def compare(folder: Path, data: Path) -> list[dict[str, Any]]:
    """Compare all methods on a folder and return its rows."""
    command = [sys.executable, "-m", "experiments.pairs", str(folder), "--data", str(data)]
    command += ["--folds", "2", "--draws", "1"] if QUICK else ["--draws", str(NUM_DRAWS)]
    progress(f"comparing all methods on {len(list(folder.rglob('*.jpg')))} pictures")
    subprocess.run(command, check=True, cwd=ROOT)
    (report_path,) = data.glob("pairs/reports/*/pairs.json")
    rows: list[dict[str, Any]] = json.loads(report_path.read_text(encoding="utf-8"))["rows"]
    return rows


def copy_some(pictures: Path, folder: Path) -> Path:
    """Copy the first pictures and all captions, for a quick run."""
    folder.mkdir()
    for path in [*sorted(pictures.rglob("*.jpg"))[:QUICK_PICTURES], pictures / CAPTIONS]:
        shutil.copy(path, folder)
    return folder


def rows_of(results: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Make a row per method and direction, with the linear heads as the peer; the spread is over draws of the folds."""
    pooled = {row["method"]: row for row in results if row["draw"] == "all"}
    rows = []
    baseline = pooled.pop(PEER)
    for method, row in pooled.items():
        for metric, direction in METRICS.items():
            ours, peer = row[metric][0], baseline[metric][0]
            draws = [one[metric][0] for one in results if one["method"] == method and one["draw"] != "all"]
            least, most = (100 * value for value in row[f"{metric}_minus_{PEER}"][1:])
            rows.append(
                Row(
                    name=f"{direction}, {method}, minus peer in [{least:.1f}, {most:.1f}]",
                    unit="% at top 10 %",
                    ours=round(100 * ours, 1),
                    peer=round(100 * peer, 1),
                    peer_name="linear heads on all inputs",
                    ratio=round(ours / peer, 3),
                    runs=len(draws),
                    spread=round((max(draws) - min(draws)) / ours, 3),
                )
            )
    return rows


def main() -> None:
    """Measure on the press pictures, if this machine has them."""
    if not PICTURES.is_dir():
        sys.exit(f"no pictures at {PICTURES}: put JPEG files and {CAPTIONS} there")
    with tempfile.TemporaryDirectory(prefix="hubbleclip-bench-") as data:
        pictures = copy_some(PICTURES, Path(data) / "pictures") if QUICK else PICTURES
        report("pairs", rows_of(compare(pictures, Path(data))))


if __name__ == "__main__":
    main()
