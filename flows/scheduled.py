"""What holds for flow runs that a Prefect deployment started, and for no others."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from typing import Any

from prefect import runtime
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

log = logging.getLogger("hubbleclip.flows")

GROWN, FINISHED = "hubbleclip.dataset.grown", "hubbleclip.run.finished"


def is_scheduled() -> bool:
    """Whether this flow, or one around it, was started by a deployment."""
    return FlowRunContext.get() is not None and bool(runtime.deployment.id)


def without_heartbeat() -> AbstractContextManager[Any]:
    """No heartbeat from the flows inside: the flow around them sends one, and a flow with a heartbeat ends with a wait
    of one second.
    """
    return temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})


def emit(event: str, resource: str, parameters: dict[str, Any], **facts: Any) -> None:
    """Emit an event by which `prefect.yaml` starts the next flow with the same parameters.

    Only a flow that a deployment started itself does so: inside another flow, that one runs the next step.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        return
    emit_event(event, {"prefect.resource.id": f"hubbleclip.{resource}"}, payload={**facts, **parameters})
    log.info("emitted %s: %s", event, facts)
