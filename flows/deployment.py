"""`hubbleclip deploy`: pools, deployments and automations on a Prefect server, as the repository declares them.

Imported once the environment names the server, since Prefect reads it then.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.automations import AutomationCore, EventTrigger, Posture
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, CancelFlowRun, ChangeFlowRunState, RunDeployment
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from flows.scheduled_server import POOLS
from hubbleclip.config.settings import FlowSettings
from hubbleclip.core.errors import HubbleclipError

DECLARED = Path("prefect.yaml")
WEBHOOK_VARIABLE = "FAILURE_WEBHOOK_URL"
OURS = "hubbleclip: "
LONG = ("train", "pipeline")
START_TIMEOUT_S = 30.0
BEGIN, BEAT = "prefect.flow-run.Running", "prefect.flow-run.heartbeat"
ENDS = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Crashed", "Cancelled", "TimedOut")}
FAILURES = {f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut")}
TELL = '{"flow_run": "{{ flow_run.name }}", "flow": "{{ flow.name }}", "state": "{{ flow_run.state.name }}"}'


def deploy(profile: str, overrides: dict[str, Any], settings: FlowSettings) -> list[str]:
    """Bring a server up to `prefect.yaml` and the automations below, and return the names of the deployments. Done
    again, it changes nothing.

    Every deployment gets the profile and the changed settings as its parameters. Raises HubbleclipError when the
    repository's `prefect.yaml` is not there or Prefect refuses it.
    """
    if not DECLARED.is_file():
        raise HubbleclipError(f"there is no {DECLARED} here: deploy from a clone of the repository")
    with get_client(sync_client=True) as client:
        wait_for_server(client)
        for pool in POOLS:
            create_pool(client, pool)
        command = [sys.executable, "-m", "prefect", "deploy", "--all"]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        if told.returncode:
            raise HubbleclipError(f"Prefect could not deploy {DECLARED}: {told.stderr.strip() or told.stdout.strip()}")
        declared = yaml.safe_load(DECLARED.read_text(encoding="utf-8"))["deployments"]
        names = [f"{one['entrypoint'].rpartition(':')[2]}/{one['name']}" for one in declared]
        ids = {name: client.read_deployment_by_name(name).id for name in names}
        for deployment_id in ids.values():
            parameters = DeploymentUpdate(parameters={"profile": profile, "overrides": overrides})
            client.update_deployment(deployment_id, parameters)
        replace_automations(client, automations(ids, settings))
    return names


def wait_for_server(client: SyncPrefectClient) -> None:
    """Wait for a server that is just starting. Raises HubbleclipError when none answers."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while client.api_healthcheck() is not None:
        if time.monotonic() > deadline:
            raise HubbleclipError(f"no Prefect server answers at {client.api_url}: start one with `make server`")
        time.sleep(1)


def create_pool(client: SyncPrefectClient, name: str) -> None:
    """A pool whose runs are processes, unless one of that name stands already, of whichever kind."""
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template))


def replace_automations(client: SyncPrefectClient, wanted: list[AutomationCore]) -> None:
    """Make ours those that are wanted; others are left alone."""
    for standing in client.read_automations():
        if standing.name.startswith(OURS):
            client.delete_automation(standing.id)
    for automation in wanted:
        client.create_automation(automation)


def automations(deployment_ids: Mapping[str, UUID], settings: FlowSettings) -> list[AutomationCore]:
    """What the server does by itself, besides the triggers in `prefect.yaml`."""
    lost = [start_again(name, found, settings.zombie_s) for name, found in deployment_ids.items()]
    hours = {name: settings.timeout_h * (7 if name.startswith(LONG) else 1) for name in deployment_ids}
    overtime = [too_long(name, found, hours[name]) for name, found in deployment_ids.items()]
    return [*lost, *overtime, *notifications()]


def start_again(name: str, deployment_id: UUID, silent_s: float) -> AutomationCore:
    """A run that gives no sign of life any more, since its machine is gone, is crashed, so that its slot is free, and
    started again. The start counts as the first sign, for a run may be lost before it gives another. A run whose worker
    still stands to tell of its crash is not started again, since it would crash again.
    """
    same = {"profile": "{{ flow_run.parameters.profile }}", "overrides": "{{ flow_run.parameters.overrides }}"}
    return AutomationCore(
        name=f"{OURS}start {name} again when it is lost",
        trigger=missing(ENDS | {BEAT}, after={BEGIN, BEAT}, deployment_id=deployment_id, within_s=silent_s),
        actions=[
            ChangeFlowRunState(state=StateType.CRASHED, message=f"no sign of life for {silent_s:.0f} s"),
            RunDeployment(source="selected", deployment_id=deployment_id, parameters=same),
        ],
    )


def too_long(name: str, deployment_id: UUID, hours: float) -> AutomationCore:
    """A run that takes too long is cancelled; the next one goes on from there."""
    return AutomationCore(
        name=f"{OURS}cancel {name} after {hours:g} h",
        trigger=missing(ENDS, after={BEGIN}, deployment_id=deployment_id, within_s=3600 * hours),
        actions=[CancelFlowRun()],
    )


def missing(events: set[str], *, after: set[str], deployment_id: UUID, within_s: float) -> EventTrigger:
    """Fires when none of `events` comes from a run of the deployment within so long after one of `after`."""
    return EventTrigger(
        after=after,
        expect=events,
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related={"prefect.resource.id": f"prefect.deployment.{deployment_id}"},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        within=timedelta(seconds=within_s),
    )


def notifications() -> list[AutomationCore]:
    """A call of the webhook that the environment names, for each run that fails; none where it names none."""
    url = os.environ.get(WEBHOOK_VARIABLE)
    if not url:
        return []
    block_id = Webhook(method="POST", url=url).save("hubbleclip-failures", overwrite=True)
    return [
        AutomationCore(
            name=f"{OURS}call the webhook on failure",
            trigger=EventTrigger(
                expect=FAILURES, match={"prefect.resource.id": "prefect.flow-run.*"},
                match_related={"prefect.resource.role": "deployment"}, for_each={"prefect.resource.id"},
                posture=Posture.Reactive, threshold=1, within=timedelta(0),
            ),
            actions=[CallWebhook(block_document_id=block_id, payload=TELL)],
        )
    ]  # fmt: skip
