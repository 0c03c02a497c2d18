"""Metrics of a run as JSON lines, which a resume cuts back, and as TensorBoard scalars."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from hubbleclip.core.io import write_text

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"


class Tracker:
    """Writes the rows of a run that goes on after `step`; what was written of later steps is dropped."""

    def __init__(self, run_dir: Path, step: int) -> None:
        cut_metrics(run_dir / METRICS, step)
        self._file = (run_dir / METRICS).open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run_dir / TENSORBOARD), purge_step=step + 1 if step else None)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """One row; it is on its way to the disk when this returns."""
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._file.flush()
        for name, value in metrics.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close both files."""
        self._file.close()
        self._board.close()


def read_metrics(run_dir: Path) -> list[dict[str, float]]:
    """Rows of a run, in order of step. A last line that was cut off by a kill is left out."""
    path = run_dir / METRICS
    lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else [""]
    return [json.loads(line) for line in lines[:-1]]


def cut_metrics(path: Path, step: int) -> None:
    """Drop the rows after `step`, atomically."""
    kept = [row for row in read_metrics(path.parent) if row["step"] <= step]
    write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
