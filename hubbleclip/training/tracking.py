"""Write the metrics of a run as JSON lines, and as TensorBoard scalars if TensorBoard is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from hubbleclip.core.io import write_text

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"


class Tracker:
    """Appends metrics to a run.

    A process that was killed may have written rows after its last checkpoint, which is at `step`. A new tracker deletes
    these rows.
    """

    def __init__(self, run_dir: Path, step: int) -> None:
        truncate_metrics(run_dir / METRICS, step)
        self._file = (run_dir / METRICS).open("a", encoding="utf-8")
        self._board = None
        with suppress(ModuleNotFoundError):
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra

            # purge_step makes TensorBoard ignore the scalars that a killed process wrote for later steps
            self._board = SummaryWriter(str(run_dir / TENSORBOARD), purge_step=step + 1 if step else None)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one row and flush it to the operating system."""
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._file.flush()
        if self._board:
            for name, value in metrics.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close both files."""
        self._file.close()
        if self._board:
            self._board.close()


def read_metrics(run_dir: Path) -> list[dict[str, float]]:
    """Read the metrics of a run, a row per step; an incomplete last line of a killed process is ignored."""
    path = run_dir / METRICS
    lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else [""]
    return [json.loads(line) for line in lines[:-1]]  # the text after the last newline is empty or an incomplete row


def truncate_metrics(path: Path, step: int) -> None:
    """Delete the rows after a step, atomically."""
    rows = [row for row in read_metrics(path.parent) if row["step"] <= step]
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
