"""Interface to the executor that runs the work of a stage.

The work runs in this process, or under a scheduler such as Prefect, which also records each run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from hubbleclip.core.errors import SettingsError

if TYPE_CHECKING:
    from hubbleclip.config.settings import FlowSettings, Settings
    from hubbleclip.pipeline.engine.stage import Stage

Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)
ShowProgress = Callable[[float, str], None]
"""Function that shows progress; its arguments are a percentage (0-100) and a line of text."""


class StageFn(Protocol[Result_co]):
    """A function that runs a stage; its arguments are the settings and the execution."""

    def __call__(self, settings: Settings, execution: Execution, /) -> Result_co:
        """See the class."""


class Pending(Protocol):
    """A batch that was submitted to a worker."""

    def result(self) -> Any:
        """Wait until the batch has ended, and return its result.

        Returns
        -------
        Any
            The return value of the work. If the work raised an error, the same error is raised here.

        """


class Workers(Protocol):
    """A pool of threads or processes that accepts batches."""

    def submit(self, name: str, work: Callable[..., Any], *args: Any) -> Pending:
        """Start `work(*args)` on a worker.

        Parameters
        ----------
        name
            Kind of work; a key of `boundaries.EDGES`.
        work
            A module-level function, because it may be pickled and sent to another process.
        *args
            Arguments of `work`; they must be picklable.

        Returns
        -------
        Pending
            The submitted batch.

        """

    def first_done(self, pending: Collection[Any]) -> Pending:
        """Wait until one of several batches has ended.

        Parameters
        ----------
        pending
            Submitted batches; at least one.

        Returns
        -------
        Pending
            One of the batches that have ended.

        """


@runtime_checkable
class Execution(Protocol):
    """Runs the parts of a stage.

    The object `PLAIN` below runs them in this process; the class for Prefect is in `flows/tasks.py`.
    """

    def open_workers(self, stage: Stage, runner: str, num: int) -> AbstractContextManager[Workers]:
        """Open workers for the duration of a `with` block.

        Parameters
        ----------
        stage
            The stage whose batches the workers process.
        runner
            Kind of worker; one of the values of the setting `flows.runner`.
        num
            Number of workers.

        Returns
        -------
        context manager
            A context manager that yields the open workers.

        """

    def call(self, name: str, work: Callable[..., Result], *args: Any, **named: Any) -> Result:
        """Run one step in this process; a scheduler such as Prefect records the step as a run.

        Parameters
        ----------
        name
            Name of the step.
        work
            Function of the step.
        *args
            Positional arguments of `work`.
        **named
            Keyword arguments of `work`.

        Returns
        -------
        Result
            The return value of `work`.

        """

    def run_stage(self, name: str, run: StageFn[Result], settings: Settings, label: str | None = None) -> Result:
        """Run a whole stage as part of a larger run.

        Parameters
        ----------
        name
            Name of the stage.
        run
            Function of the stage; called with `settings` and this execution.
        settings
            Settings of the stage.
        label
            Name of this run, which distinguishes several runs of the same stage.

        Returns
        -------
        Result
            The return value of `run`.

        """

    def show_progress(self, name: str) -> ShowProgress:
        """Create a progress bar, if the execution can show one.

        Parameters
        ----------
        name
            Title of the progress bar.

        Returns
        -------
        callable
            Function that shows progress; its arguments are a percentage (0-100) and a line of text.

        """

    def show_table(self, key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
        """Show a table of results, if the execution can show one.

        Parameters
        ----------
        key
            Name of the table, in lower-case letters and dashes.
        rows
            Rows of the table, all with the same keys.
        description
            Caption of the table.

        """

    def lock_wait_s(self, settings: FlowSettings) -> float:
        """Return the longest time to wait while another process writes the catalog.

        Parameters
        ----------
        settings
            Flow settings (the section `flows`).

        Returns
        -------
        float
            Time in seconds; with 0 the stage fails at once.

        """


@dataclass(frozen=True, slots=True)
class PoolWorkers:
    """Threads or processes of this machine."""

    pool: Executor

    def submit(self, name: str, work: Callable[..., Any], *args: Any) -> Future[Any]:
        """See `Workers`."""
        return self.pool.submit(work, *args)

    def first_done(self, pending: Collection[Future[Any]]) -> Future[Any]:
        """See `Workers`."""
        return next(iter(wait(pending, return_when=FIRST_COMPLETED).done))


POOLS: dict[str, Callable[[int], Executor]] = {
    "threads": ThreadPoolExecutor,
    "processes": lambda num: ProcessPoolExecutor(num, mp_context=get_context("spawn")),
}


class PlainExecution:
    """Runs everything in this process and its worker processes; only the catalog and the log record the runs."""

    @contextmanager
    def open_workers(self, stage: Stage, runner: str, num: int) -> Iterator[PoolWorkers]:
        """See `Execution`. A SettingsError is raised for a runner that needs Prefect."""
        if runner not in POOLS:
            raise SettingsError(f"flows.runner = {runner!r} needs Prefect: run without --no-server")
        with POOLS[runner](num) as pool:
            yield PoolWorkers(pool)

    def call(self, name: str, work: Callable[..., Result], *args: Any, **named: Any) -> Result:
        """See `Execution`."""
        return work(*args, **named)

    def run_stage(self, name: str, run: StageFn[Result], settings: Settings, label: str | None = None) -> Result:
        """See `Execution`."""
        return run(settings, self)

    def show_progress(self, name: str) -> ShowProgress:
        """See `Execution`."""
        return lambda percent, text: None

    def show_table(self, key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
        """See `Execution`."""

    def lock_wait_s(self, settings: FlowSettings) -> float:
        """See `Execution`. A command does not wait; it reports at once which process writes the catalog."""
        return 0.0


PLAIN = PlainExecution()
