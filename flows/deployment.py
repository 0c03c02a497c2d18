"""`hubbleclip deploy`: pools, deployments and automations on a Prefect server, as the repository declares them.

Imported once the environment names the server, since Prefect reads it then.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from prefect.automations import AutomationCore, EventTrigger, Posture
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, CancelFlowRun, ChangeFlowRunState
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from flows.prefect_home import POOLS
from hubbleclip.errors import HubbleclipError
from hubbleclip.settings import FlowSettings

DECLARED = Path("prefect.yaml")
WEBHOOK_VARIABLE = "FAILURE_WEBHOOK_URL"
OURS = "hubbleclip: "
START_TIMEOUT_S = 30.0
BEAT = "prefect.flow-run.heartbeat"
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
        for name in names:
            parameters = DeploymentUpdate(parameters={"profile": profile, "overrides": overrides})
            client.update_deployment(client.read_deployment_by_name(name).id, parameters)
        replace_automations(client, automations(settings))
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


def automations(settings: FlowSettings) -> list[AutomationCore]:
    """What the server does by itself, besides the triggers in `prefect.yaml`."""
    overtime = dict.fromkeys(("dataset", "evaluate"), settings.timeout_h)
    overtime |= dict.fromkeys(("train", "pipeline"), 7 * settings.timeout_h)
    return [zombies(settings.zombie_s), *(too_long(name, hours) for name, hours in overtime.items()), *notifications()]


def zombies(silent_s: float) -> AutomationCore:
    """Runs that give no sign of life any more are crashed, so that their slots go to the next ones."""
    return AutomationCore(
        name=f"{OURS}crash runs without a sign of life",
        trigger=EventTrigger(
            after={BEAT}, expect={BEAT, *ENDS}, match={"prefect.resource.id": "prefect.flow-run.*"},
            for_each={"prefect.resource.id"}, posture=Posture.Proactive, within=timedelta(seconds=silent_s),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=f"no sign of life for {silent_s:.0f} s")],
    )  # fmt: skip


def too_long(flow_name: str, hours: float) -> AutomationCore:
    """Runs of a flow that take too long are cancelled; the next one goes on from there."""
    return AutomationCore(
        name=f"{OURS}cancel {flow_name} after {hours:g} h",
        trigger=EventTrigger(
            after={"prefect.flow-run.Running"}, expect=ENDS, match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.role": "flow", "prefect.resource.name": flow_name},
            for_each={"prefect.resource.id"}, posture=Posture.Proactive, within=timedelta(hours=hours),
        ),
        actions=[CancelFlowRun()],
    )  # fmt: skip


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
