"""Distinguish scheduled flow runs, which a Prefect deployment starts, from flow runs that a command starts."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import runtime
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

log = logging.getLogger("hubbleclip.flows")

UPDATED, GROWN = "hubbleclip.dataset.updated", "hubbleclip.dataset.grown"
FINISHED, PROMOTED = "hubbleclip.run.finished", "hubbleclip.run.promoted"


FORMER_NAMES = {
    f"{flow}/{name}": f"{flow}/{flow}-{name}"
    for flow, name in (
        ("dataset", "nightly"),
        ("train", "gpu"),
        ("evaluate", "cpu"),
        ("index", "cpu"),
        ("pipeline", "cpu"),
    )
}
"""Names of deployments in earlier versions, which settings may still have, and their present names."""


def run_name() -> str:
    """Name the current flow run by its flow, its profile and its time."""
    run = runtime.flow_run
    return name_of_run(str(run.flow_name), str(run.parameters.get("profile", "demo")), run.scheduled_start_time)


def name_of_run(flow: str, profile: str, started_at: datetime) -> str:
    """Name a flow run."""
    return f"{flow} {Path(profile).stem} {started_at:%Y-%m-%d %H:%M}"


def is_scheduled() -> bool:
    """Return whether a deployment started the current flow run, or the flow run of which it is a part."""
    return FlowRunContext.get() is not None and bool(runtime.deployment.id)


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
