"""Write the metrics of a run as JSON lines, and to the experiment trackers that the settings name.

To add an experiment tracker, write a class and add it to `TRACKERS`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from hubbleclip.core.errors import TrainingError
from hubbleclip.core.io import write_text
from hubbleclip.training.runs import read_facts

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"


class TensorBoard:
    """Writes event files into the run's folder."""

    def __init__(self, run_dir: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra

        # purge_step makes TensorBoard ignore the scalars that a killed process wrote for later steps
        self._writer = SummaryWriter(str(run_dir / TENSORBOARD), purge_step=step + 1 if step else None)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of a step."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write the remaining events."""
        self._writer.close()


class WandB:
    """Sends metrics to Weights & Biases, or keeps them in the run's folder if WANDB_MODE is offline."""

    def __init__(self, run_dir: Path, step: int) -> None:
        import wandb  # noqa: PLC0415 - an extra

        settings = json.loads(read_facts(run_dir)["settings"])
        name = run_dir.name
        self._run = wandb.init(project="hubbleclip", id=name, name=name, dir=run_dir, config=settings, resume="allow")

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of a step."""
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """Send the remaining metrics."""
        self._run.finish()


TRACKERS: dict[str, type[TensorBoard | WandB]] = {"tensorboard": TensorBoard, "wandb": WandB}
"""Trackers by name. A constructor takes the run's folder and the step of the checkpoint from which the run resumes."""


class Tracker:
    """Appends metrics to a run.

    `step` is the step of the last checkpoint. A new tracker deletes later rows, which a killed process may have left.
    """

    def __init__(self, run_dir: Path, step: int, names: Sequence[str]) -> None:
        rows = [row for row in read_metrics(run_dir) if row["step"] <= step]
        write_text(run_dir / METRICS, "".join(json.dumps(row) + "\n" for row in rows))
        self._boards = []
        for name in names:
            try:
                self._boards.append(TRACKERS[name](run_dir, step))
            except ModuleNotFoundError as error:
                if name != TENSORBOARD:  # TensorBoard is set by default, so a missing package is no error
                    raise TrainingError(f"train.report_to: run pip install 'hubbleclip[{name}]'") from error
        self._file = (run_dir / METRICS).open("a", encoding="utf-8")

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one row and flush it to the operating system."""
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._file.flush()
        for board in self._boards:
            board.write(step, metrics)

    def close(self) -> None:
        """Flush and close all files."""
        self._file.close()
        for board in self._boards:
            board.close()


def read_metrics(run_dir: Path) -> list[dict[str, float]]:
    """Read the metrics of a run, a row per step; an incomplete last line of a killed process is ignored."""
    path = run_dir / METRICS
    lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else [""]
    return [json.loads(line) for line in lines[:-1]]  # the text after the last newline is empty or an incomplete row
