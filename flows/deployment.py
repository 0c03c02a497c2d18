"""`hubbleclip deploy`: create work pools, deployments and automations on a Prefect server.

This module must be imported after `PREFECT_API_URL` is set, because Prefect reads the variable when it is imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Set
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
from prefect.workers.process import ProcessWorker

from flows.workers import POOLS, ZOMBIE_S
from hubbleclip.config.settings import FlowSettings
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.version import code_version

DECLARED = Path(__file__).with_name("prefect.yaml")
WEBHOOK_VARIABLE = "FAILURE_WEBHOOK_URL"
OURS = "hubbleclip: "
LONG = ("train", "pipeline")
START_TIMEOUT_S = 30.0
BEGIN, BEAT = "prefect.flow-run.Running", "prefect.flow-run.heartbeat"
LOST = "Lost"
FAILURES = {f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut", LOST)}
ENDS = FAILURES | {"prefect.flow-run.Completed", "prefect.flow-run.Cancelled"}
TELL = '{"flow_run": "{{ flow_run.name }}", "flow": "{{ flow.name }}", "state": "{{ flow_run.state.name }}"}'


def deploy(profile: str, overrides: dict[str, Any], settings: FlowSettings) -> list[str]:
    """Register the deployments of `prefect.yaml`, and the automations of this module, on a Prefect server.

    Every deployment gets the profile and the user's changed settings (`overrides`) as its parameters. A repeated
    call with the same arguments changes nothing.
    """
    with get_client(sync_client=True) as client:
        wait_for_server(client)
        create_pools(client)
        command = [sys.executable, "-m", "prefect", "deploy", "--all", "--prefect-file", str(DECLARED)]
        variables = os.environ | {"CODE_VERSION": code_version()}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
        if done.returncode:
            raise HubbleclipError(f"Prefect could not deploy {DECLARED}: {done.stderr.strip() or done.stdout.strip()}")
        declared = yaml.safe_load(DECLARED.read_text(encoding="utf-8"))["deployments"]
        names = [f"{one['entrypoint'].rpartition('.')[2]}/{one['name']}" for one in declared]
        ids = {name: client.read_deployment_by_name(name).id for name in names}
        parameters = DeploymentUpdate(parameters={"profile": profile, "overrides": overrides})
        for deployment_id in ids.values():
            client.update_deployment(deployment_id, parameters)
        replace_automations(client, automations(ids, settings))
    return names


def wait_for_server(client: SyncPrefectClient) -> None:
    """Wait until the Prefect server answers, because it may still be starting."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while client.api_healthcheck() is not None:
        if time.monotonic() > deadline:
            raise HubbleclipError(f"no Prefect server answers at {client.api_url}: start one with `hubbleclip server`")
        time.sleep(1)


def create_pools(client: SyncPrefectClient) -> None:
    """Create the missing work pools, whose workers run each flow as a process. Existing pools are not changed."""
    template = ProcessWorker.get_default_base_job_template()
    for name in {*POOLS} - {pool.name for pool in client.read_work_pools()}:
        client.create_work_pool(WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template))


def replace_automations(client: SyncPrefectClient, wanted: list[AutomationCore]) -> None:
    """Replace the automations of hubbleclip on the server; other automations are not changed."""
    for standing in client.read_automations():
        if standing.name.startswith(OURS):
            client.delete_automation(standing.id)
    for automation in wanted:
        client.create_automation(automation)


def automations(deployment_ids: Mapping[str, UUID], settings: FlowSettings) -> list[AutomationCore]:
    """Make the automations of all deployments. If a webhook is set, add the automation that reports failed runs."""
    ours = [one for item in deployment_ids.items() for one in deployment_automations(*item, settings)]
    return [*ours, *notifications()]


def deployment_automations(name: str, deployment_id: UUID, settings: FlowSettings) -> list[AutomationCore]:
    """Make the automations of one deployment."""
    hours = settings.timeout_h * (7 if name.startswith(LONG) else 1)
    lost = ChangeFlowRunState(state=StateType.CRASHED, name=LOST, message=f"no heartbeat for {ZOMBIE_S:.0f} s")
    same = {"profile": "{{ flow_run.parameters.profile }}", "overrides": "{{ flow_run.parameters.overrides }}"}
    again = RunDeployment(source="selected", deployment_id=deployment_id, parameters=same)
    related = {"prefect.resource.id": f"prefect.deployment.{deployment_id}"}
    # The start of a run counts as its first heartbeat, because a run may be lost before it sends a heartbeat.
    silence = run_trigger(ENDS | {BEAT}, related, after={BEGIN, BEAT}, within_s=ZOMBIE_S)
    # A run is restarted when its state becomes `Lost`. A missing heartbeat is not enough: if the last heartbeat arrives
    # after the end of the run, the server waits for another heartbeat. The server never sets a finished run to `Lost`.
    # A run whose worker reports a crash is not restarted, because the run would probably crash again.
    loss = run_trigger({f"prefect.flow-run.{LOST}"}, related)
    overtime = run_trigger(ENDS, related, after={BEGIN}, within_s=3600 * hours)
    return [
        AutomationCore(name=f"{OURS}mark {name} as lost", trigger=silence, actions=[lost]),
        AutomationCore(name=f"{OURS}start {name} again when it is lost", trigger=loss, actions=[again]),
        AutomationCore(name=f"{OURS}cancel {name} after {hours:g} h", trigger=overtime, actions=[CancelFlowRun()]),
    ]


def run_trigger(
    events: set[str], related: dict[str, str], *, after: Set[str] = frozenset(), within_s: float = 0.0
) -> EventTrigger:
    """Make a trigger that fires when a flow run emits one of `events`.

    If `after` is given, the trigger fires when a flow run emits an event of `after`, and then none of `events` within
    `within_s` seconds.
    """
    return EventTrigger(
        after=set(after),
        expect=events,
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related=related,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive if after else Posture.Reactive,
        threshold=1,
        within=timedelta(seconds=within_s),
    )


def notifications() -> list[AutomationCore]:
    """Make an automation that calls a webhook for each failed run.

    The URL is read from the environment variable `FAILURE_WEBHOOK_URL`. Without this variable, the list is empty.
    """
    url = os.environ.get(WEBHOOK_VARIABLE)
    if not url:
        return []
    block_id = Webhook(method="POST", url=url).save("hubbleclip-failures", overwrite=True)
    trigger = run_trigger(FAILURES, {"prefect.resource.role": "deployment"})
    action = CallWebhook(block_document_id=block_id, payload=TELL)
    return [AutomationCore(name=f"{OURS}call the webhook on failure", trigger=trigger, actions=[action])]
