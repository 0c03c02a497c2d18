"""Run stages under Prefect.

A stage is a flow, a batch is a task, and progress is shown as an artifact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from inspect import getdoc
from typing import TYPE_CHECKING, Any, TypeVar

from prefect import Flow, Task
from prefect.futures import PrefectFuture, as_completed
from prefect.utilities.annotations import quote
from prefect.utilities.callables import get_call_parameters

from flows.artifacts import progress_artifact
from flows.runners import open_runner
from flows.scheduled import is_scheduled, name_of_run
from hubbleclip.config.settings import FlowSettings, Settings
from hubbleclip.pipeline.engine.execution import Execution, Workers
from hubbleclip.pipeline.engine.runners import RUNNERS

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

    from hubbleclip.pipeline.engine.execution import ShowProgress, StageFn
    from hubbleclip.pipeline.engine.stage import Stage

Result = TypeVar("Result")
RETRIED = ("ingest", "captions")
"""Names of the stages that use the network; a scheduled run retries these stages when they fail."""


def submit_task(
    runner: TaskRunner[Any], is_separate: bool, name: str, work: Callable[..., Any], *args: Any
) -> PrefectFuture[Any]:
    """Submit a batch as a task run."""
    task = Task(work, name=name, persist_result=False)
    values = args if is_separate else tuple(map(quote, args))
    future: PrefectFuture[Any] = runner.submit(task, get_call_parameters(work, values, {}))
    return future


class PrefectExecution(Execution):
    """Runs the parts of a stage under Prefect; see `hubbleclip.pipeline.engine.execution.Execution`."""

    @contextmanager
    def open_workers(self, stage: Stage, runner: str, num: int) -> Iterator[Workers]:
        """See `Execution`."""
        with open_runner(runner, stage, num) as opened:
            yield Workers(
                submit=partial(submit_task, opened, RUNNERS[runner].is_separate),
                first_done=lambda pending: next(as_completed(list(pending))),
            )

    def call(self, name: str, work: Callable[..., Result], *args: Any, **named: Any) -> Result:
        """See `Execution`. The step is a task run in this process."""
        task: Task[..., Result] = Task(work, name=name, persist_result=False)
        result: Result = task(*map(quote, args), **named)
        return result

    def run_stage(self, name: str, run: StageFn[Result], settings: Settings, label: str | None = None) -> Result:
        """See `Execution`. The stage is a subflow; in scheduled runs it is retried if it uses the network."""
        retries: dict[str, Any] = {}
        if name in RETRIED and is_scheduled():
            retries = {
                "retries": settings.flows.archive_retries,
                "retry_delay_seconds": settings.flows.archive_retry_s,
            }

        def subflow(settings: Settings) -> Result:  # Prefect warns of a parameter that is no JSON, such as this object
            return run(settings, self)

        flow: Flow[..., Result] = Flow(
            subflow,
            name=name,
            description=getdoc(run),
            validate_parameters=False,
            flow_run_name=label or name_of_run(name, settings.profile, datetime.now(UTC)),
            **retries,
        )
        return flow(settings)

    def show_progress(self, name: str) -> ShowProgress:
        """See `Execution`. The progress bar is a Prefect progress artifact."""
        return progress_artifact(name)

    def lock_wait_s(self, settings: FlowSettings) -> float:
        """See `Execution`. If another process is writing the catalog, scheduled runs wait for it. Commands do not wait:
        they fail with a message that names the other process.
        """
        return settings.lock_wait_s if is_scheduled() else 0.0


PREFECT = PrefectExecution()
