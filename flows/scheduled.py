"""Distinguish scheduled flow runs, which a Prefect deployment starts, from flow runs that a command starts."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from prefect import runtime
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

log = logging.getLogger("hubbleclip.flows")

UPDATED, GROWN = "hubbleclip.dataset.updated", "hubbleclip.dataset.grown"
FINISHED, PROMOTED = "hubbleclip.run.finished", "hubbleclip.run.promoted"


def run_name() -> str:
    """Name the current flow run by its flow, its profile and its time."""
    run = runtime.flow_run
    given = run.parameters
    profile = given["settings"].profile if "settings" in given else Path(given.get("profile", "demo")).stem
    return f"{run.flow_name} {profile} {run.scheduled_start_time:%Y-%m-%d %H:%M}"


def is_scheduled() -> bool:
    """Return whether a deployment started the current flow run, or the flow run of which it is a part."""
    return FlowRunContext.get() is not None and bool(runtime.deployment.id)


def is_part() -> bool:
    """Return whether the current flow run is a part of another flow run."""
    return bool(runtime.flow_run.parent_flow_run_id)


def without_heartbeat() -> AbstractContextManager[Any]:
    """Disable the heartbeat of flows that are run inside a `with` block.

    The enclosing flow already sends a heartbeat, and every flow with a heartbeat takes one second longer to end.
    """
    return temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})


def emit(event: str, resource: str, parameters: dict[str, Any], **facts: Any) -> None:
    """Emit an event, upon which a trigger in `prefect.yaml` starts the next flow with the same parameters.

    The event is emitted only if a deployment started this flow directly. If this flow runs inside another flow, no
    event is emitted, because the outer flow starts the next flow itself.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        return
    emit_event(event, {"prefect.resource.id": f"hubbleclip.{resource}"}, payload={**facts, **parameters})
    log.info("emitted %s: %s", event, facts)
