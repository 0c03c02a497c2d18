"""Captions found for press pictures that were not learnt from, and pictures for captions, beside linear heads.

Figures are shares at the top 10 %, over five folds and three seeds; no peer beside the project's own linear heads.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, Row, report

PICTURES = ROOT.parent / "shared/data/esahubble"
METRICS = {"i2t_accuracy_at_10pct": "caption of a picture", "t2i_accuracy_at_10pct": "picture of a caption"}


def compare(folder: Path, data: Path) -> list[dict[str, Any]]:
    """Rows of `hubbleclip pairs` on a folder."""
    command = [sys.executable, "-m", "hubbleclip.cli.app", "pairs", str(folder), "--data", str(data)]
    subprocess.run(command, check=True, cwd=ROOT)
    (found,) = data.glob("pairs/reports/*/pairs.json")
    rows: list[dict[str, Any]] = json.loads(found.read_text(encoding="utf-8"))["rows"]
    return rows


def rows_of(found: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A line for each way to learn and direction, beside the rival; the spread is over seeds."""
    pooled = {row["way"]: row for row in found if row["seed"] == "all"}
    rows = []
    rivals = pooled.pop("linear")
    for way, row in pooled.items():
        for metric, told in METRICS.items():
            ours, rival = row[metric][0], rivals[metric][0]
            seeds = [one[metric][0] for one in found if one["way"] == way and one["seed"] != "all"]
            least, most = (100 * value for value in row[f"{metric}_minus_linear"][1:])
            rows.append(Row(
                name=f"{told}, {way}, minus linear in [{least:.1f}, {most:.1f}]", unit="% at top 10 %",
                ours=round(100 * ours, 1), peer=round(100 * rival, 1), peer_name="linear heads",
                ratio=round(ours / rival, 3), runs=len(seeds), spread=round((max(seeds) - min(seeds)) / ours, 3),
            ))  # fmt: skip
    return rows


def main() -> None:
    """Measure on the press pictures, where they are."""
    if not PICTURES.is_dir():
        sys.exit(f"there are no pictures at {PICTURES}")
    with tempfile.TemporaryDirectory(prefix="hubbleclip-bench-") as data:
        report("pairs", rows_of(compare(PICTURES, Path(data))))


if __name__ == "__main__":
    main()
