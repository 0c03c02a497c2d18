"""The run directory: what a training was made from, how far it is, and how to find it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hubbleclip.config.settings import ModelSettings, TrainSettings
from hubbleclip.core.errors import TrainingError
from hubbleclip.core.io import locked, write_text
from hubbleclip.core.records import Checkpoint, Run, to_row

RUN = "run.json"
RUNNING, FINISHED = "running", "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A finished run and its checkpoints, as the catalog takes them."""

    run: Run
    checkpoints: list[Checkpoint]


def settings_digest(model: ModelSettings, settings: TrainSettings) -> str:
    """16 hex digits over the settings that make a run what it is."""
    return hashlib.sha256(f"{model.digest()} {settings.digest()}".encode()).hexdigest()[:16]


def find_run(runs_dir: Path, dataset_digest: str, settings_digest: str, status: str = FINISHED) -> Path | None:
    """The newest run of this dataset and these settings that has the status, if any."""
    wanted = (dataset_digest, settings_digest, status)
    for path in sorted(runs_dir.glob(f"[!.]*/{RUN}"), reverse=True):
        facts = read_facts(path.parent)
        if (facts["dataset_digest"], facts["settings_digest"], facts["status"]) == wanted:
            return path.parent
    return None


@contextmanager
def open_run(
    runs_dir: Path,
    dataset_digest: str,
    model: ModelSettings,
    settings: TrainSettings,
    *,
    code_version: str,
    device: str,
) -> Iterator[Path]:
    """The unfinished run of this dataset and these settings, or a new one, which nobody else can open meanwhile.

    Raises TrainingError while another process has it open.
    """
    digest = settings_digest(model, settings)
    with ExitStack() as held:
        with locked(runs_dir):
            run_dir = find_run(runs_dir, dataset_digest, digest, RUNNING) or _make_run(
                runs_dir, dataset_digest, digest, model, settings, code_version=code_version, device=device
            )
            try:
                held.enter_context(locked(run_dir, wait=False))
            except BlockingIOError as error:
                raise TrainingError(
                    f"another process trains the run {run_dir.name}: wait for it or stop it, or change a setting"
                ) from error
        yield run_dir


def _make_run(
    runs_dir: Path,
    dataset_digest: str,
    digest: str,
    model: ModelSettings,
    settings: TrainSettings,
    *,
    code_version: str,
    device: str,
) -> Path:
    started = datetime.now(UTC)
    short = hashlib.sha256(f"{dataset_digest} {digest}".encode()).hexdigest()[:8]
    run_dir = runs_dir / f"{started:%Y%m%dT%H%M%S}-{short}"
    sections = {"model": model.model_dump(mode="json"), "train": settings.model_dump(mode="json")}
    facts = {
        "run_id": run_dir.name, "dataset_digest": dataset_digest, "settings_digest": digest,
        "path": f"{runs_dir.name}/{run_dir.name}", "model": model.name, "pretrained": model.pretrained,
        "loss": settings.loss, "is_shuffled": settings.shuffled, "steps": settings.steps, "samples_seen": 0,
        "seed": settings.seed, "device": device, "best_step": 0, "settings": json.dumps(sections, sort_keys=True),
        "code_version": code_version, "started_at": started.isoformat(), "ended_at": None, "status": RUNNING,
        "checkpoints": [],
    }  # fmt: skip
    write_facts(run_dir, facts)
    return run_dir


def finish_run(run_dir: Path, samples_seen: int, best_step: int, checkpoints: list[Checkpoint]) -> None:
    """Mark the run as finished: from now on it never changes."""
    facts = read_facts(run_dir)
    facts |= {"samples_seen": samples_seen, "best_step": best_step, "ended_at": datetime.now(UTC).isoformat()}
    facts |= {"status": FINISHED, "checkpoints": [to_row(checkpoint) for checkpoint in checkpoints]}
    write_facts(run_dir, facts)


def read_facts(run_dir: Path) -> dict[str, Any]:
    """What `run.json` says. Raises TrainingError when the directory is no run."""
    try:
        facts: dict[str, Any] = json.loads((run_dir / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{run_dir} is no run ({error}): delete it and train again") from error
    return facts


def write_facts(run_dir: Path, facts: dict[str, Any]) -> None:
    """Write `run.json`, atomically."""
    write_text(run_dir / RUN, json.dumps(facts, indent=1) + "\n")


def read_run(run_dir: Path) -> FinishedRun:
    """A finished run as records. Raises TrainingError when it is not finished."""
    facts = read_facts(run_dir)
    if facts.pop("status") != FINISHED:
        raise TrainingError(
            f"the run {run_dir.name} is not finished: run `hubbleclip train` again, it goes on where it stopped"
        )
    checkpoints = [Checkpoint(**row) for row in facts.pop("checkpoints")]
    times = {name: datetime.fromisoformat(facts[name]) for name in ("started_at", "ended_at")}
    return FinishedRun(run=Run(**{**facts, **times}), checkpoints=checkpoints)


def read_model_settings(run_dir: Path) -> ModelSettings:
    """Which model the run trained."""
    return ModelSettings(**json.loads(read_facts(run_dir)["settings"])["model"])


def read_train_settings(run_dir: Path) -> TrainSettings:
    """How the run trained it."""
    return TrainSettings(**json.loads(read_facts(run_dir)["settings"])["train"])
