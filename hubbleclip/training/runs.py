"""Create, find, lock, read and finish run directories. `run.json` records a run's settings, dataset and status."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from hubbleclip.config.base import Section
from hubbleclip.config.model import LOCAL_DIR, ModelSettings, TrainSettings
from hubbleclip.core.errors import HubbleclipError, TrainingError, detail_of, explained
from hubbleclip.core.io import lock_file, locked, read_json, sha256_file, write_text, writing
from hubbleclip.core.records import Checkpoint, Run, to_row
from hubbleclip.core.timestamps import next_time

S = TypeVar("S", bound=Section)
RUN, CHECKPOINTS = "run.json", "checkpoints"
BASE = "base"
"""Folder of the initial model, in the layout of open_clip, so that a run is opened without network access."""
RUNNING, STOPPED, FINISHED = "running", "stopped", "finished"
KILLED = "killed"
"""State of a run whose process has ended without recording its end."""
READ_FILES = ("*.safetensors", "*.bin", "*.pth", "*.json", "*.model", "vocab.txt", "merges.txt")
"""Files that are read from the folder of a model; a change of other files, such as notes, requires no new run."""
REQUIRED_FACTS = {
    *("run_id", "dataset_digest", "settings_digest", "is_shuffled", "settings", "started_at", "status", "checkpoints"),
}
"""Fields that the `run.json` of a run directory must have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A finished run and its checkpoints, as rows of the catalog."""

    run: Run
    checkpoints: list[Checkpoint]


def damaged(run_dir: Path, problem: object) -> TrainingError:
    """Make the error for a run directory that cannot be used."""
    return TrainingError(
        f"the run {run_dir} is damaged ({problem}): delete the folder {run_dir} and run `hubbleclip pipeline` again"
    )


@contextmanager
def reading(run_dir: Path, problem: str) -> Iterator[None]:
    """Raise TrainingError if a file that a `with` block reads is damaged, and MachineError if the disk fails."""
    with explained(lambda error: damaged(run_dir, f"{problem}: {detail_of(error)}")):
        yield


def settings_digest(model: ModelSettings, settings: TrainSettings) -> str:
    """Compute a digest of a run's settings and of the files of the initial model, if there are any."""
    weights = Path(model.weights.removeprefix(LOCAL_DIR))
    is_folder = model.name.startswith(LOCAL_DIR) and weights.is_dir()
    files = sorted(path for kind in READ_FILES for path in weights.glob(kind)) if is_folder else [weights]
    digests = [model.digest(), settings.digest(), *(sha256_file(path) for path in files if path.is_file())]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:16]


def runs_in(runs_dir: Path, **wanted: object) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield (folder, content of `run.json`) of each run whose `run.json` has the values `wanted`, newest run first."""
    # names begin with the start time, so the last name is the newest run; hidden folders are not runs
    for path in sorted(runs_dir.glob(f"[!.]*/{RUN}"), reverse=True):
        facts = read_facts(path.parent)
        if wanted.items() <= facts.items():
            yield path.parent, facts


def find_run(runs_dir: Path, dataset_digest: str, settings_digest: str, *, is_finished: bool = True) -> Path | None:
    """Find the newest finished (or unfinished) run with the given dataset and settings; None if there is none."""
    found = runs_in(runs_dir, dataset_digest=dataset_digest, settings_digest=settings_digest)
    return next((folder for folder, facts in found if (facts["status"] == FINISHED) == is_finished), None)


@contextmanager
def open_run(
    runs_dir: Path, dataset_digest: str, model: ModelSettings, settings: TrainSettings, **origin: str
) -> Iterator[Path]:
    """Open the unfinished run with this dataset and these settings, or create one; lock it while the context lasts.

    `origin` has the values `code_version` and `device`, which a new run records in its `run.json`.
    """
    digests = {"dataset_digest": dataset_digest, "settings_digest": settings_digest(model, settings)}
    with ExitStack() as stack:
        with locked(runs_dir):  # only one process at a time may choose or create a run
            run_dir = find_run(runs_dir, *digests.values(), is_finished=False)
            run_dir = run_dir or _create_run(runs_dir, model, settings, **digests, **origin)
            try:
                stack.enter_context(locked(run_dir / CHECKPOINTS, wait=False))
            except BlockingIOError as error:
                raise TrainingError(
                    f"another process trains the run {run_dir.name}: wait, stop it, or change a setting for another run"
                ) from error
        # temporary files of a process that was killed
        for leftover in [*run_dir.glob(".*.tmp"), *run_dir.glob("*/.*.tmp")]:
            leftover.unlink()
        _set_status(run_dir, RUNNING)
        try:
            with writing(run_dir / RUN):  # metrics are written in this block; a full disk raises MachineError
                yield run_dir
        finally:  # `_set_status` does not change the status of a finished run
            with suppress(OSError, HubbleclipError):  # if the disk fails, the status is not recorded
                _set_status(run_dir, STOPPED)


def _set_status(run_dir: Path, status: str) -> None:
    """Record whether a process trains an unfinished run."""
    facts = read_facts(run_dir)
    if facts["status"] not in {FINISHED, status}:
        write_facts(run_dir, facts | {"status": status})


def state_of(run_dir: Path, status: str) -> str:
    """Return the state of a run: its status, or "killed" if it should be running but no process has its lock."""
    if status != RUNNING:
        return status
    try:
        with lock_file(run_dir / CHECKPOINTS).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # only a test: released at once
    except OSError as error:
        return KILLED if isinstance(error, FileNotFoundError) else RUNNING
    return KILLED


def _create_run(runs_dir: Path, model: ModelSettings, settings: TrainSettings, **names: str) -> Path:
    """Create a run directory with its `run.json`."""
    before = max((facts["started_at"] for _, facts in runs_in(runs_dir)), default=None)
    started = next_time(before and datetime.fromisoformat(before), "run", timedelta(seconds=1))
    suffix = hashlib.sha256(f"{names['dataset_digest']} {names['settings_digest']}".encode()).hexdigest()[:8]
    run_dir = runs_dir / f"{started:%Y%m%dT%H%M%S}-{suffix}"
    sections = {"model": model.recorded(), "train": settings.recorded()}
    facts: dict[str, Any] = {
        "run_id": run_dir.name,
        **names,
        "path": f"{runs_dir.name}/{run_dir.name}",
        "model": model.name,
        "pretrained": model.weights,
        "loss": settings.loss,
        "is_shuffled": settings.shuffled,
        "steps": settings.steps,
        "samples_seen": 0,
        "seed": settings.seed,
        "best_step": 0,
        "settings": json.dumps(sections, sort_keys=True),
        "started_at": started.isoformat(),
        "ended_at": None,
        "status": RUNNING,
        "checkpoints": [],
    }
    write_facts(run_dir, facts)
    return run_dir


def finish_run(run_dir: Path, samples_seen: int, best_step: int, checkpoints: list[Checkpoint]) -> None:
    """Mark a run as finished; it never changes afterwards."""
    facts = read_facts(run_dir)
    facts |= {"samples_seen": samples_seen, "best_step": best_step, "ended_at": datetime.now(UTC).isoformat()}
    facts |= {"status": FINISHED, "checkpoints": [to_row(checkpoint) for checkpoint in checkpoints]}
    write_facts(run_dir, facts)


def read_facts(run_dir: Path) -> dict[str, Any]:
    """Read `run.json`."""
    with reading(run_dir, f"{RUN} cannot be read"):
        facts = read_json(run_dir / RUN)
    if not facts.keys() >= REQUIRED_FACTS:
        raise damaged(run_dir, f"{RUN} does not describe a run")
    return facts


def write_facts(run_dir: Path, facts: dict[str, Any]) -> None:
    """Write `run.json` atomically."""
    write_text(run_dir / RUN, json.dumps(facts, indent=1) + "\n")


def read_run(run_dir: Path) -> FinishedRun:
    """Read a finished run as catalog records."""
    facts = read_facts(run_dir)
    if facts.pop("status") != FINISHED:
        raise TrainingError(f"the run {run_dir.name} is not finished: run `hubbleclip train` again, which resumes it")
    with reading(run_dir, f"{RUN} does not describe a finished run"):
        checkpoints = [Checkpoint(**row) for row in facts.pop("checkpoints")]
        times = {name: datetime.fromisoformat(facts[name]) for name in ("started_at", "ended_at")}
        return FinishedRun(run=Run(**{**facts, **times}), checkpoints=checkpoints)


def read_model_settings(run_dir: Path) -> ModelSettings:
    """Read the model settings of a run."""
    return _read_settings(run_dir, "model", ModelSettings)


def read_train_settings(run_dir: Path) -> TrainSettings:
    """Read the training settings of a run."""
    return _read_settings(run_dir, "train", TrainSettings)


def _read_settings(run_dir: Path, section: str, kind: type[S]) -> S:
    """Read a section of a run's settings; ignore unknown entries. Raises TrainingError if `run.json` is damaged."""
    with reading(run_dir, f"{RUN} has no settings of {section}"):
        values = json.loads(read_facts(run_dir)["settings"])[section]
        return kind(**{name: values[name] for name in kind.model_fields if name in values})
