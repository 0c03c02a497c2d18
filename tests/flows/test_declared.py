"""What the repository declares for Prefect and Docker is what they read.

Tests import Prefect where they need it, because each process of pytest reads every file and that import takes seconds.
"""

import fcntl
import os
import signal
import socket
import stat
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import psutil
import pytest
import yaml
from commands import until
from pydantic import TypeAdapter

from flows.server import (
    KEY,
    KEY_FILE,
    PORT_FILE,
    SETTINGS,
    USERS_LOCK,
    client_key,
    joined_server,
    lock_server,
    prefect_environment,
    protection,
    running_port,
    serve,
)
from flows.workers import POOLS, work
from hubbleclip.core.errors import HubbleclipError

ROOT = Path(__file__).parents[2]
DEPLOYED = yaml.safe_load((ROOT / "flows/prefect.yaml").read_text(encoding="utf-8"))


def test_deployments_and_triggers_are_valid_and_use_the_pools_that_are_made() -> None:
    from prefect.events import DeploymentTriggerTypes

    deployments = DEPLOYED["deployments"]
    assert len({one["name"] for one in deployments}) == len(deployments) == 5
    assert {one["work_pool"]["name"] for one in deployments} == set(POOLS)
    trigger = TypeAdapter(DeploymentTriggerTypes)
    triggers = [trigger.validate_python(one) for deployment in deployments for one in deployment.get("triggers", ())]
    assert len({trigger.name for trigger in triggers}) == len(triggers) == 3


def test_what_is_deployed_is_in_the_package_and_imported_by_name() -> None:
    """A wheel has no repository: neither a file at its root nor a path of a source file may be needed."""
    declared = import_module("flows.deployment").DECLARED
    assert declared == Path(import_module("flows").__file__).with_name("prefect.yaml")
    assert 'flows = ["*.yaml"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for one in DEPLOYED["deployments"]:
        module, _, function = one["entrypoint"].rpartition(".")
        assert getattr(import_module(module), function).name == function


def without_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*SETTINGS, *protection("", 0), "PREFECT_HOME", "PREFECT_API_URL"]:
        monkeypatch.delenv(name, raising=False)


def test_the_server_and_its_clients_have_a_key_that_only_the_owner_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_prefect(monkeypatch)
    home = tmp_path / ".prefect"
    home.mkdir(mode=0o755)
    made = prefect_environment(tmp_path, 4200)
    assert (made["PREFECT_HOME"], made["PREFECT_API_URL"]) == (str(home), "http://127.0.0.1:4200/api")
    assert made["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / KEY_FILE).stat().st_mode) == 0o600
    assert made[KEY] == made["PREFECT_SERVER_API_AUTH_STRING"] == (home / KEY_FILE).read_text().strip()
    assert len(made[KEY].partition(":")[2]) >= 40
    assert made["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] == "true"
    assert made["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4200,http://localhost:4200"
    assert prefect_environment(tmp_path, 4200) == made
    assert client_key(home, {"PREFECT_API_URL": made["PREFECT_API_URL"]}) == {KEY: made[KEY]}


def test_the_key_of_this_machine_is_not_sent_to_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_prefect(monkeypatch)
    prefect_environment(tmp_path, 4200)
    there = {"PREFECT_API_URL": "https://prefect.example/api"}
    assert client_key(tmp_path / ".prefect", there) == {}
    monkeypatch.setenv("PREFECT_API_URL", there["PREFECT_API_URL"])
    assert KEY not in prefect_environment(tmp_path, 4200)
    monkeypatch.setenv(KEY, "me:mine")
    assert prefect_environment(tmp_path, 4200)[KEY] == "me:mine"


@pytest.mark.slow
def test_commands_on_a_data_root_share_one_server_with_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_prefect(monkeypatch)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    home = tmp_path / ".prefect"
    with pytest.raises(KeyError), joined_server(tmp_path) as wait_until_up:
        url, key = os.environ["PREFECT_API_URL"], os.environ[KEY]
        assert key == (home / KEY_FILE).read_text().strip()
        assert url == f"http://127.0.0.1:{running_port(home)}/api"
        with joined_server(tmp_path):
            assert (os.environ["PREFECT_API_URL"], os.environ[KEY]) == (url, key)
        wait_until_up()
        raise KeyError
    assert "PREFECT_API_URL" not in os.environ
    lock = until(lambda: lock_server(home), "the end of the server after its last command", 60, wait_s=0.02)
    # A command that waits for the lock of the users must not find that of a server that ends.
    with (home / USERS_LOCK).open() as users, pytest.raises(BlockingIOError):
        fcntl.flock(users, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(lock)
    assert running_port(home) is None
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@pytest.mark.parametrize(("name", "code"), [("TERM", 0), ("INT", 130)])
def test_a_signal_ends_the_workers_of_all_pools(name: str, code: int, tmp_path: Path, monkeypatch) -> None:
    program, before = tmp_path / "python", {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    program.write_text(f'#!/bin/sh\necho "$@" $A $$ > {tmp_path}/$8; [ $8 = gpu ] && kill -{name} $PPID; exec sleep 60')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(SystemExit) as ended:
        work({"A": "b"}, POOLS)
    for number, handler in before.items():
        signal.signal(number, handler)
    assert ended.value.code == code
    for pool in POOLS:
        *words, process = (tmp_path / pool).read_text().split()
        assert words == ["-m", "prefect", "worker", "start", "--type", "process", "--pool", pool, "b"]
        assert not psutil.pid_exists(int(process))


def test_compose_file_names_images_loopback_ports_and_services_that_exist() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    services = compose["services"]
    assert all(service.get("image") or service["build"] == "." for service in services.values())
    assert {name for service in services.values() for name in service.get("depends_on", {})} <= set(services)
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", ()))
    volumes = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", ())}
    assert volumes == set(compose["volumes"])


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".prefect").mkdir()
    refusal = pytest.raises(HubbleclipError, match=r"cannot listen on port \d+ .*: choose another --port")
    with socket.create_server(("127.0.0.1", 0)) as other, refusal:
        serve(tmp_path, other.getsockname()[1], {})


def test_a_second_server_of_a_data_root_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.server.LINGER_S", 0.1)
    home = tmp_path / ".prefect"
    home.mkdir()
    (home / PORT_FILE).write_text("4321\n")
    lock = lock_server(home)
    with pytest.raises(HubbleclipError, match=r"runs at http://127\.0\.0\.1:4321"):
        serve(tmp_path, 0, {})
    os.close(lock)


def test_a_server_has_its_variables_before_prefect_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Prefect(ModuleType):
        def __getattr__(self, name: str) -> None:
            raise InterruptedError(os.environ.get(KEY))

    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setitem(sys.modules, "prefect.server.api.server", Prefect("server"))
    (tmp_path / ".prefect").mkdir()
    with pytest.raises(InterruptedError, match="me:mine"):
        serve(tmp_path, 0, {KEY: "me:mine"})
    assert (tmp_path / ".prefect" / PORT_FILE).read_text() == "0\n"
