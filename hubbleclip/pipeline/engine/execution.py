"""Run the work of stages in this process, or under a scheduler such as Prefect, which also records each run."""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from hubbleclip.core.errors import SettingsError

if TYPE_CHECKING:
    from hubbleclip.config.settings import FlowSettings, Settings
    from hubbleclip.pipeline.engine.stage import Stage

Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)
ShowProgress = Callable[[float, str], None]
"""Function that shows progress; its arguments are a percentage (0-100) and a line of text."""
POOLS: dict[str, Callable[[int], Executor]] = {
    "threads": ThreadPoolExecutor,
    "processes": lambda num: ProcessPoolExecutor(
        num, get_context("spawn"), initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)
    ),  # Ctrl-C reaches the workers too, but the parent ends them
}


class StageFn(Protocol[Result_co]):
    """Type of a function that runs a stage; its arguments are the settings and the execution."""

    def __call__(self, settings: Settings, execution: Execution, /) -> Result_co:
        """Run the stage."""


class Workers(NamedTuple):
    """A pool of threads or processes that accepts batches.

    `submit(name, work, *args)` starts `work(*args)` on a worker and returns a future. `name` is the kind of work, a key
    of `boundaries.EDGES`; `work` is a module-level function, because it and `args` may be pickled. `first_done` waits
    until one of several futures has ended, and returns it; its method `result` returns the batch or raises its error.
    """

    submit: Callable[..., Any]
    first_done: Callable[[Collection[Any]], Any]


class Execution:
    """Runs everything in this process and its worker processes; only the catalog and the log record the runs.

    The subclass for Prefect is in `flows/tasks.py`.
    """

    @contextmanager
    def open_workers(self, stage: Stage, runner: str, num: int) -> Iterator[Workers]:
        """Open workers for the duration of a `with` block."""
        if runner not in POOLS:
            raise SettingsError(f"flows.runner = {runner!r} needs Prefect: run without --no-server")
        with POOLS[runner](num) as pool:
            yield Workers(
                submit=lambda name, work, *args: pool.submit(work, *args),
                first_done=lambda pending: next(iter(wait(pending, return_when=FIRST_COMPLETED).done)),
            )

    def call(self, name: str, work: Callable[..., Result], *args: Any, **named: Any) -> Result:
        """Run one step in this process; a scheduler such as Prefect records the step as a run."""
        return work(*args, **named)

    def run_stage(self, name: str, run: StageFn[Result], settings: Settings, label: str | None = None) -> Result:
        """Run a whole stage as part of a larger run."""
        return run(settings, self)

    def show_progress(self, name: str) -> ShowProgress:
        """Create a progress bar if the execution can show one; here it shows none."""
        return lambda percent, text: None

    def lock_wait_s(self, settings: FlowSettings) -> float:
        """Return the longest time to wait while another process writes the catalog."""
        return 0.0


PLAIN = Execution()
