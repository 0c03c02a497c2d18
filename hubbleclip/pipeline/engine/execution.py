"""Who runs the work of a stage: this process alone, or a scheduler such as Prefect that also records each run."""

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
"""Takes a percentage (0-100) and a line of text."""


class StageFn(Protocol[Result_co]):
    """A stage: takes its settings and how it is executed."""

    def __call__(self, settings: Settings, execution: Execution, /) -> Result_co:
        """See the class."""


class Pending(Protocol):
    """A batch under way."""

    def result(self) -> Any:
        """Wait for the rows of the batch.

        Returns
        -------
        Any
            What the work returned; an error of the work is raised here.

        """


class Workers(Protocol):
    """Open workers, threads or processes, that take batches."""

    def submit(self, name: str, work: Callable[..., Any], *args: Any) -> Pending:
        """Start `work(*args)` on a worker.

        Parameters
        ----------
        name
            Kind of work, a key of `boundaries.EDGES`.
        work
            A function of a module, since it may be sent to another process.
        *args
            Its arguments, which can be pickled.

        Returns
        -------
        Pending
            The batch under way.

        """

    def first_done(self, pending: Collection[Any]) -> Pending:
        """Wait until one of several batches has ended.

        Parameters
        ----------
        pending
            Batches under way, at least one.

        Returns
        -------
        Pending
            One that has ended.

        """


@runtime_checkable
class Execution(Protocol):
    """How a stage is run. `PLAIN` below is this process; Prefect's is in `flows/tasks.py`."""

    def open_workers(self, stage: Stage, runner: str, num: int) -> AbstractContextManager[Workers]:
        """Open workers for the duration of a `with` block.

        Parameters
        ----------
        stage
            The stage that they work for.
        runner
            Kind of worker, as `flows.runner` names it.
        num
            Number of workers.

        Returns
        -------
        context manager
            Yields the Workers.

        """

    def call(self, name: str, work: Callable[..., Result], *args: Any, **named: Any) -> Result:
        """Run one step in this process, as a run of its own where runs are recorded.

        Parameters
        ----------
        name
            Name of the step.
        work
            The step.
        *args
            Its positional arguments.
        **named
            Its keyword arguments.

        Returns
        -------
        Result
            What the step returned.

        """

    def run_stage(self, name: str, run: StageFn[Result], settings: Settings, label: str | None = None) -> Result:
        """Run a whole stage as part of a larger run.

        Parameters
        ----------
        name
            Name of the stage.
        run
            The stage, called with settings and this execution.
        settings
            Its settings, read once by the caller.
        label
            Distinguishes several runs of one stage.

        Returns
        -------
        Result
            What the stage returned.

        """

    def show_progress(self, name: str) -> ShowProgress:
        """A progress bar, where there is a place for one.

        Parameters
        ----------
        name
            Its title.

        Returns
        -------
        callable
            Takes a percentage (0-100) and a line of text.

        """

    def show_table(self, key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
        """Show a table of results, where there is a place for one.

        Parameters
        ----------
        key
            Name of the table, lower case and dashes.
        rows
            Rows with the same keys.
        description
            Its caption.

        """

    def lock_wait_s(self, settings: FlowSettings) -> float:
        """Longest wait for another writer of the catalog.

        Parameters
        ----------
        settings
            The section `flows`.

        Returns
        -------
        float
            Seconds; 0 fails at once.

        """


@dataclass(frozen=True, slots=True)
class PoolWorkers:
    """Workers of this machine."""

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
    """Everything in this process and its worker processes; nothing is recorded outside the catalog and the log."""

    @contextmanager
    def open_workers(self, stage: Stage, runner: str, num: int) -> Iterator[PoolWorkers]:
        """See `Execution`. Raises SettingsError for a runner that needs Prefect."""
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
        """See `Execution`: a command reports at once who writes."""
        return 0.0


PLAIN = PlainExecution()
