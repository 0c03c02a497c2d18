"""A Prefect server and a worker of our own, started as the README says, and asked over HTTP."""

import json
import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import requests
from commands import environment, processes, until
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from flows.server import KEY_FILE
from tests.bad_server import BadServer, give

ROOT = Path(__file__).parents[2]
SECRET = "ads-token-that-nobody-may-see"
PROFILE = """
flows = { batch_size = 4, train_min_new_samples = 5 }
archive = { name = "simulated", max_products_per_proposal = 6 }
fetch = { requests_per_s = 1000, connections = 4 }
simulator = { num_proposals = 12, frame_px = 200 }
tiles = { views = ["native"], size_px = 160, min_side_px = 32 }
splits = { val_share = 0.3, test_share = 0.3 }
model = { name = "hubbleclip-tiny", pretrained = "" }
train = { steps = 6, batch_size = 8, warmup_steps = 2, workers = 0, validate_every = 3, checkpoint_every = 3 }
evaluation = { bootstrap = 200 }
"""
QUICK = {
    "ADS_API_TOKEN": SECRET,
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "2",
}
DONE = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


class Site:
    cwd = ROOT

    def __init__(self, folder: Path) -> None:
        self.port = random.SystemRandom().randrange(20_000, 30_000)  # below those that the system gives to others
        self.folder, self.data, self.profile = folder, folder / "data", folder / "tiny.toml"
        self.profile.write_text(PROFILE)
        self.url = f"http://127.0.0.1:{self.port}"
        self.running: dict[str, subprocess.Popen] = {}
        self.http = requests.Session()
        busy = Retry(total=8, status_forcelist=[503], allowed_methods=None, backoff_factor=0.5)
        self.http.mount("http://", HTTPAdapter(max_retries=busy))
        self.listener = BadServer(give(b"")).__enter__()  # until the process of the tests ends
        self.webhook = f"{self.listener.url}/{SECRET}"

    @property
    def told(self) -> list[dict]:
        """Calls of the webhook."""
        return [json.loads(call["body"]) for call in self.listener.seen]

    def words(self, command: str) -> list[str]:
        """A command of the docs on this site's profile, folder and port."""
        program, *rest = command.split()
        made_for = ["--profile", str(self.profile), "--data", str(self.data), "--port", str(self.port)]
        return [str(Path(sys.prefix, "bin", program)), *rest, *made_for]

    def start(self, command: str, **options: Any) -> subprocess.Popen:
        """Start a command in a process group of its own."""
        variables = environment() | QUICK | {"SITE": str(self.port), "FAILURE_WEBHOOK_URL": self.webhook}
        with (self.folder / "commands.log").open("a") as log:
            started = subprocess.Popen(
                self.words(command),
                cwd=self.cwd,
                env=variables,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **options,
            )
        self.running[command] = started
        return started

    def is_up(self) -> bool:
        try:
            if not requests.get(f"{self.url}/api/health", timeout=5).ok:
                return False
        except requests.RequestException:
            return False
        self.log_in()
        return True

    @property
    def key(self) -> str:
        return (self.data / ".prefect" / KEY_FILE).read_text().strip()

    def log_in(self) -> None:
        """Give the key, and the token of the protection against other sites, with every request."""
        self.http.auth = tuple(self.key.split(":"))
        token = self.get("csrf-token", client="site")["token"]
        self.http.headers.update({"Prefect-Csrf-Client": "site", "Prefect-Csrf-Token": token})

    def stop(self, command: str) -> int:
        """Press Ctrl-C, and return the exit status."""
        stopped = self.running.pop(command)
        os.killpg(stopped.pid, signal.SIGINT)
        return stopped.wait(240)

    def processes(self, pattern: str = ".") -> list[psutil.Process]:
        """Those that this site has started, by what their command line matches."""
        return processes(f"SITE={self.port}", pattern)

    def kill(self, pattern: str = ".") -> None:
        """SIGKILL, as when the machine goes down."""
        for process in self.processes(pattern):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def get(self, path: str, **parameters: str) -> Any:
        return self.http.get(f"{self.url}/api/{path}", params=parameters, timeout=60).json()

    def ask(self, path: str, **body: Any) -> Any:
        answer = self.http.post(f"{self.url}/api/{path}", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def run(self, deployment: str, **parameters: Any) -> str:
        """Start a deployment, as the page's button does; the run's id."""
        found = self.get(f"deployments/name/{deployment}")
        state = {"type": "SCHEDULED"}
        created = self.ask(f"deployments/{found['id']}/create_flow_run", parameters=parameters, state=state)
        return created["id"]

    def send_late_heartbeat(self, run_id: str) -> None:
        """A heartbeat that arrives after the run's end, as one that was under way may."""
        run = self.get(f"flow_runs/{run_id}")
        related = {
            "prefect.resource.id": f"prefect.deployment.{run['deployment_id']}",
            "prefect.resource.role": "deployment",
        }
        event = {
            "event": "prefect.flow-run.heartbeat",
            "id": str(uuid4()),
            "occurred": datetime.now(UTC).isoformat(),
            "resource": {"prefect.resource.id": f"prefect.flow-run.{run_id}"},
            "related": [related],
        }
        self.http.post(f"{self.url}/api/events", json=[event], timeout=60).raise_for_status()

    def runs(self, flow: str, **where: Any) -> list[dict]:
        """Runs of a flow that deployments started, the first first."""
        found = self.ask(
            "flow_runs/filter",
            flows={"name": {"any_": [flow]}},
            sort="EXPECTED_START_TIME_ASC",
            flow_runs={"deployment_id": {"is_null_": False}, **where},
        )
        return [run for run in found if not run["auto_scheduled"]]

    def state(self, run_id: str) -> str:
        return self.get(f"flow_runs/{run_id}")["state_type"]

    def end(self, run_id: str) -> str:
        """The state in which a run ends."""
        until(lambda: self.state(run_id) in DONE, f"the end of run {run_id}")
        return self.state(run_id)

    def end_of(self, flow: str, num: int) -> dict:
        """The `num`-th run of a flow, once it has ended."""
        run = until(lambda: self.runs(flow)[num - 1 :], f"run {num} of {flow}")[0]
        return run | {"state_type": self.end(run["id"])}

    def states(self, run_id: str) -> list[str]:
        """Names of the states that a run went through."""
        return [state["name"] for state in self.get("flow_run_states/", flow_run_id=run_id)]

    def lines(self, run_id: str) -> list[str]:
        """What a run logged on the server."""
        found = self.ask("logs/filter", logs={"flow_run_id": {"any_": [run_id]}}, sort="TIMESTAMP_ASC")
        return [line["message"] for line in found]

    def slots(self) -> list[int]:
        """Slots taken, by limit."""
        return [limit["active_slots"] for limit in self.ask("v2/concurrency_limits/filter")]
