"""Five hosts on one Linux machine: network namespaces on a bridge, each with an address, a name and a disk of its own.

All hosts see their own disk under one path, as machines with local disks do. A host has no route out of the bridge.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from commands import Outcome

NAMES = ("head", "worker1", "worker2", "storage", "prefect")
PREFIX = "hubbleclip"
NETNS = Path("/etc/netns")
"""`ip netns exec NAME` shows a process the files of `/etc/netns/NAME` in place of those in `/etc`."""
ON_HOST = 'mount --bind "$1" "$2" && hostname "$3" && cd "$2" && shift 3 && exec "$@"'
CONNECT = "for _ in $(seq 600); do (: < /dev/tcp/$0/$1) && exit; sleep 0.1; done; exit 1"


def ip(*words: str) -> str:
    """What the command `ip` prints; CalledProcessError with its message if it fails."""
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


class Host:
    """A namespace with one interface. `disk` is the path of its disk on the host, `own` that of the same folder here."""

    def __init__(self, name: str, address: str, folder: Path, environment: dict[str, str]) -> None:
        self.name, self.address, self.environment = name, address, environment
        self.namespace, self.switch = f"{PREFIX}-{os.getpid()}-{name}", f"{PREFIX}-{os.getpid()}-switch"
        self.own, self.disk = folder / name, folder / "disk"
        self.started: list[subprocess.Popen] = []

    def plug(self, addresses: dict[str, str]) -> None:
        """Make the host, and connect it to the bridge."""
        self.own.mkdir()
        ip("netns", "add", self.namespace)
        (NETNS / self.namespace).mkdir(parents=True)
        hosts = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in addresses.items())]
        (NETNS / self.namespace / "hosts").write_text("\n".join(hosts) + "\n")
        peer = ("peer", "name", self.name, "netns", self.switch)
        ip("link", "add", "eth0", "netns", self.namespace, "type", "veth", *peer)
        ip("-n", self.switch, "link", "set", self.name, "master", "bridge", "up")
        ip("-n", self.namespace, "address", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", self.namespace, "link", "set", device, "up")

    def start(self, *words: str, log: str, **variables: str) -> subprocess.Popen:
        """Start a command, whose standard output and error go to files of the host."""
        on_host = ["unshare", "--uts", "sh", "-c", ON_HOST, "sh", str(self.own), str(self.disk), self.name]
        with (self.own / f"{log}.out").open("wb") as out, (self.own / f"{log}.err").open("wb") as err:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, *on_host, *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=self.environment | variables,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def outcome(self, process: subprocess.Popen, log: str, timeout_s: float = 1200) -> Outcome:
        """Wait for the end of a command, and read what it wrote."""
        code = process.wait(timeout_s)
        out, err = ((self.own / f"{log}.{suffix}").read_text(errors="replace") for suffix in ("out", "err"))
        return Outcome(code, out, err)

    def run(self, *words: str, log: str = "command", **variables: str) -> Outcome:
        return self.outcome(self.start(*words, log=log, **variables), log)

    def wait_for(self, other: Host, port: int) -> None:
        """Wait until another host accepts connections."""
        assert self.run("bash", "-c", CONNECT, other.address, str(port), log="connect").code == 0, (other.name, port)

    def pids(self) -> list[int]:
        return [int(pid) for pid in ip("netns", "pids", self.namespace).split()]

    def kill(self) -> None:
        """SIGKILL for every process, as when the machine loses its power."""
        while pids := self.pids():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        for process in self.started:
            process.wait()
        self.started.clear()

    @contextmanager
    def link_down(self) -> Iterator[None]:
        """Pull the cable for the time of the block."""
        ip("-n", self.switch, "link", "set", self.name, "down")
        try:
            yield
        finally:
            ip("-n", self.switch, "link", "set", self.name, "up")

    def clear(self, *folders: str) -> None:
        """Empty the disk of some folders."""
        for folder in folders:
            shutil.rmtree(self.own / folder, ignore_errors=True)


def reason_without_hosts() -> str:
    """Why this machine has no such hosts; empty if it has."""
    if not (shutil.which("ip") and shutil.which("unshare")):
        return "the commands ip and unshare are missing"
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    trial = f"{PREFIX}-{os.getpid()}-trial"
    try:
        ip("netns", "add", trial)
        ip("-n", trial, "link", "add", "bridge", "type", "bridge")
        ip("netns", "exec", trial, "unshare", "--uts", "true")
    except subprocess.CalledProcessError as error:
        return f"network namespaces are not permitted: {error.stderr.strip()}"
    finally:
        remove_hosts(os.getpid())
    return ""


def remove_hosts(pid: int) -> None:
    """Remove all namespaces of one test process, with their interfaces and what runs there."""
    for namespace in (line.split()[0] for line in ip("netns", "list").splitlines() if line):
        if namespace.startswith(f"{PREFIX}-{pid}-"):
            for process in ip("netns", "pids", namespace).split():
                with suppress(ProcessLookupError):
                    os.kill(int(process), signal.SIGKILL)
            ip("netns", "delete", namespace)
            shutil.rmtree(NETNS / namespace, ignore_errors=True)


@contextmanager
def running_hosts(environment: dict[str, str]) -> Iterator[dict[str, Host]]:
    """The hosts by name; afterwards no process, namespace or file remains."""
    # Ray makes Unix sockets on the disk, whose paths have at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="hosts-", dir="/tmp"))
    (folder / "disk").mkdir()
    addresses = {name: f"10.77.0.{number}" for number, name in enumerate(NAMES, start=1)}
    # HOME on the disk, so that hosts share no cache; proxies of the machine cannot be reached from a namespace.
    own = {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}
    own["HOME"] = str(folder / "disk")
    hosts = {name: Host(name, address, folder, own) for name, address in addresses.items()}
    switch = f"{PREFIX}-{os.getpid()}-switch"
    try:
        ip("netns", "add", switch)
        ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        for host in hosts.values():
            host.plug(addresses)
        yield hosts
    finally:
        for host in hosts.values():
            with suppress(subprocess.CalledProcessError):  # a host that was not made
                host.kill()
        remove_hosts(os.getpid())
        shutil.rmtree(folder)
