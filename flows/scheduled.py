"""What holds for flow runs that a Prefect deployment started, and for no others: patience, and events to others."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from prefect import Flow, runtime
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from hubbleclip.catalog.catalog import Catalog
from hubbleclip.config.settings import FlowSettings
from hubbleclip.core.errors import CatalogLockedError
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.stage import bounded_catalog

log = logging.getLogger("hubbleclip.flows")

WAIT_S = 10.0
GROWN, FINISHED = "hubbleclip.dataset.grown", "hubbleclip.run.finished"


def is_scheduled() -> bool:
    """Whether this flow, or one around it, was started by a deployment."""
    return FlowRunContext.get() is not None and bool(runtime.deployment.id)


def without_heartbeat() -> AbstractContextManager[Any]:
    """No signs of life from the flows inside: those around them give some, and a flow that gives them ends with a
    wait of a second.
    """
    return temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})


def patient(flow: Flow[..., Any], settings: FlowSettings) -> Flow[..., Any]:
    """A flow that asks the network, tried again where nobody waits for it."""
    if not is_scheduled():
        return flow
    return flow.with_options(retries=settings.archive_retries, retry_delay_seconds=settings.archive_retry_s)


@contextmanager
def next_writer(layout: Layout, settings: FlowSettings) -> Iterator[Catalog]:
    """The catalog for writing; scheduled runs wait for another writer. Raises CatalogLockedError that names it."""
    deadline = time.monotonic() + (settings.lock_wait_s if is_scheduled() else 0)
    with ExitStack() as opened:
        while True:
            try:
                catalog = opened.enter_context(bounded_catalog(layout, settings))
                break
            except CatalogLockedError as error:
                if time.monotonic() >= deadline:
                    raise
                log.info("waiting: %s", error)
                time.sleep(min(WAIT_S, max(deadline - time.monotonic(), 0)))
        yield catalog


def tell(event: str, resource: str, parameters: dict[str, Any], **facts: Any) -> None:
    """Send an event with which `prefect.yaml` starts the next flow with the same parameters. Only the flow that a
    deployment started itself does: inside another one, that one goes on by itself.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        return
    emit_event(event, {"prefect.resource.id": f"hubbleclip.{resource}"}, payload={**facts, **parameters})
    log.info("told %s: %s", event, facts)
