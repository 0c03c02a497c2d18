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
    """Whether this flow, or one around it, was started by a deployment.

    Returns
    -------
    bool
        False for commands.

    """
    return FlowRunContext.get() is not None and bool(runtime.deployment.id)


def without_heartbeat() -> AbstractContextManager[Any]:
    """Disable the heartbeat of the flows inside a `with` block.

    The flow around them sends one, and a flow with a heartbeat ends with a wait of one second.

    Returns
    -------
    context manager
        The settings apply inside it.

    """
    return temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})


def emit(event: str, resource: str, parameters: dict[str, Any], **facts: Any) -> None:
    """Emit an event by which `prefect.yaml` starts the next flow with the same parameters.

    Only a flow that a deployment started itself does so: inside another flow, that one runs the next step.

    Parameters
    ----------
    event
        Name of the event.
    resource
        What it is about, such as `dataset.<digest>`.
    parameters
        Profile and overrides of this flow.
    **facts
        Further payload.

    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        return
    emit_event(event, {"prefect.resource.id": f"hubbleclip.{resource}"}, payload={**facts, **parameters})
    log.info("emitted %s: %s", event, facts)
