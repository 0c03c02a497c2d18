"""Attacks by another user of the machine, or a web page, on Prefect's server; and on its worker by signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests
from commands import until
from scheduled_site import Site

from tests.attack.table import ROOT, Attacks

pytestmark = [pytest.mark.nightly, pytest.mark.attack, pytest.mark.timeout(600)]
DEPLOYMENT = {"name": "evil", "flow_id": "00000000-0000-0000-0000-000000000000", "pull_steps": []}
PRIVATE = """
import os, pathlib, sys
from flows.server import joined_server
with joined_server(pathlib.Path(sys.argv[1])) as wait:
    wait()
    print(os.environ["PREFECT_API_URL"], flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    site.start("hubbleclip server")
    until(site.is_up, "the server")
    yield site
    site.kill()


def refusals(url: str) -> str:
    """What a stranger gets who posts a deployment, reads secrets, and does so from a web page."""
    posted = requests.post(f"{url}/deployments/", json=DEPLOYMENT, timeout=60)
    secrets = {"block_documents": {}, "include_secrets": True}
    read = requests.post(f"{url}/block_documents/filter", json=secrets, timeout=60)
    page = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    asked = requests.options(f"{url}/deployments/", headers=page, timeout=60)
    allowed = asked.headers.get("Access-Control-Allow-Origin", "no origin")
    return f"{posted.status_code} {read.status_code} {allowed}"


def memory_mb(processes: list[psutil.Process]) -> float:
    return max(process.memory_info().rss for process in processes) / 2**20


def test_a_stranger_cannot_use_the_server(site: Site, attacks: Attacks) -> None:
    started = time.monotonic()
    outcome = refusals(f"{site.url}/api")
    attacks.report(
        "a stranger posts a deployment and reads secrets",
        outcome,
        time.monotonic() - started,
        memory_mb(site.processes("hubbleclip server")),
    )
    # CSRF protection refuses a change without its token (403), the key refuses everything else (401)
    assert outcome in {"403 403 no origin", "401 401 no origin"}
    with_token = requests.Session()
    with_token.headers.update({name: value for name, value in site.http.headers.items() if "Csrf" in name})
    assert with_token.post(f"{site.url}/api/deployments/", json=DEPLOYMENT, timeout=60).status_code == 401
    assert requests.get(f"{site.url}/api/csrf-token?client=x", timeout=60).status_code == 401
    assert site.ask("deployments/filter") == []


def test_a_stranger_cannot_use_the_server_of_a_command(tmp_path: Path, attacks: Attacks) -> None:
    started = time.monotonic()
    process = psutil.Popen(
        [sys.executable, "-c", PRIVATE, str(tmp_path / "home")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with process:
        outcome = refusals(process.stdout.readline().strip())
        peak = memory_mb([process, *process.children()])
        process.stdin.close()
    attacks.report("the same at the server of a command", outcome, time.monotonic() - started, peak)
    assert outcome in {"403 403 no origin", "401 401 no origin"}


@pytest.mark.parametrize(("num_signals", "deployment"), [(1, "dataset/dataset-nightly"), (2, "pipeline/pipeline-cpu")])
def test_a_worker_of_a_script_ends_by_sigterm_and_leaves_no_run(
    num_signals: int, deployment: str, site: Site, attacks: Attacks
) -> None:
    assert site.start("hubbleclip deploy").wait(120) == 0, (site.folder / "commands.log").read_text()
    # a shell starts a background command of a script with SIGINT ignored
    worker = site.start("hubbleclip worker", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    run_id = site.run(deployment, overrides={"data": str(site.data), "simulator": {"num_proposals": 2000}})
    until(lambda: site.state(run_id) == "RUNNING" and site.processes("simulator"), "the run")
    waiting = site.run(deployment, overrides={"data": str(site.data / "second")})
    started = time.monotonic()
    peak = memory_mb(site.processes("prefect|hubbleclip"))
    for _ in range(num_signals):
        worker.send_signal(signal.SIGTERM)
        time.sleep(1)
    until(lambda: not site.processes(r"worker|engine|flow-run|simulator"), "the end of the worker and its runs", 90)
    seconds = time.monotonic() - started
    attacks.report(f"{num_signals} SIGTERM to a worker of a script", f"the run is {site.state(run_id)}", seconds, peak)
    assert site.state(waiting) in {"SCHEDULED", "PENDING"}
    site.ask(f"flow_runs/{waiting}/set_state", state={"type": "CANCELLED"}, force=True)
