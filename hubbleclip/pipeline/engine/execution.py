"""Who runs the work of a stage: this process alone, or a scheduler such as Prefect that also records each run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

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
        """Wait for its rows; raises what the work raised."""


class Workers(Protocol):
    """Open workers, threads or processes, that take batches."""

    def submit(self, name: str, work: Callable[..., Any], *args: Any) -> Pending:
        """Start `work(*args)`; `name` names the kind of work, as in `boundaries.EDGES`."""

    def first_done(self, pending: Collection[Any]) -> Pending:
        """Wait until one of `pending` has ended, and return it."""


class Execution(Protocol):
    """How a stage is run. `PLAIN` below is this process; Prefect's is in `flows/tasks.py`."""

    def open_workers(self, stage: Stage, runner: str, num: int) -> AbstractContextManager[Workers]:
        """`num` workers of the kind that `flows.runner` names."""

    def call(self, name: str, work: Callable[..., Result], *args: Any, **named: Any) -> Result:
        """Run one step in this process, as a run of its own where runs are recorded."""

    def run_stage(self, name: str, run: StageFn[Result], settings: Settings, label: str | None = None) -> Result:
        """Run a whole stage as part of a larger run; `label` tells several runs of one stage apart."""

    def show_progress(self, name: str) -> ShowProgress:
        """A progress bar where there is a place for one."""

    def show_table(self, key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
        """A table of results where there is a place for one."""

    def lock_wait_s(self, settings: FlowSettings) -> float:
        """Longest wait in seconds for another writer of the catalog."""


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
