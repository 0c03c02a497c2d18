"""Stages on several machines: the same bytes, rows and digests as on one, also when hosts and their links fail."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster_hosts import Host, reason_without_hosts, running_hosts
from commands import SMALL, Outcome, command, environment, files_below, go, until
from test_runners import Night, report_in, rows_and_files

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1500)]
PYTHON, TOOLS = sys.executable, Path(sys.executable).parent
KEY = "hubbleclip:a-key-of-the-tests"
BUCKET = "cluster"
NIGHT = SMALL | {
    "simulator.num_proposals": 10,
    "flows.batch_size": 6,
    "fetch.connections": 4,
    "evaluation.batch_size": 4,
}
SLOWLY = {"fetch.requests_per_s": 3, "fetch.connections": 2}
"""So that a host or a link fails while files are fetched."""
MAKE_BUCKET = f"import boto3; boto3.client('s3').create_bucket(Bucket='{BUCKET}')"
COPY = "import fsspec, sys; fsspec.filesystem('s3').get(sys.argv[1], sys.argv[2], recursive=True)"
SERVE = """
import sys
from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.simulator.server.app import serve
serve(SimulatorSettings.model_validate_json(sys.argv[1]), host=sys.argv[2])
"""
OUTAGE_S = 60
SAME = {"OMP_NUM_THREADS": "1", "GIT_DIR": "/nonexistent"}
"""The number of torch threads changes the last bit of an embedding, and a commit the version in a report."""


class Cluster:
    """An S3 server, a Prefect server, the simulated archive and two workers, each reachable at its host alone."""

    def __init__(self, hosts: dict[str, Host]) -> None:
        self.hosts = hosts
        self.head, self.storage, self.prefect = (hosts[name] for name in ("head", "storage", "prefect"))
        self.workers = [hosts["worker1"], hosts["worker2"]]
        self.data = self.head.disk / "data"
        self.flow: subprocess.Popen | None = None
        self.night = {
            **NIGHT,
            "flows.workers": 2,
            "keep_local": False,
            "archive.mast_url": f"http://{self.head.address}:8000",
        }

    def start_servers(self) -> None:
        """Start what a person has before the first run."""
        self.storage.start(PYTHON, "-m", "moto.server", "-H", self.storage.address, "-p", "9000", log="s3")
        words = f"{PYTHON} -m prefect server start --host {self.prefect.address}".split()
        self.prefect.start(*words, log="prefect", PREFECT_SERVER_API_AUTH_STRING=KEY)
        self.start_archive()
        self.head.wait_for(self.storage, 9000)
        assert self.head.run(PYTHON, "-c", MAKE_BUCKET).code == 0
        self.head.wait_for(self.prefect, 4200)

    def start_archive(self) -> None:
        sky = {name.partition(".")[2]: value for name, value in NIGHT.items() if name.startswith("simulator.")}
        self.head.start(PYTHON, "-c", SERVE, json.dumps(sky | {"port": 8000}), self.head.address, log="archive")
        self.head.wait_for(self.head, 8000)

    def fresh(self, name: str) -> dict[str, object]:
        """Empty the disks; settings with an empty folder of the store."""
        if self.flow:
            self.flow.kill()  # a test that failed may have left it
            self.flow.wait()
        for host in (self.head, *self.workers):
            host.clear("data", "kept")
        return self.night | {"store": f"s3://{BUCKET}/{name}"}

    def start(self, *words: str, settings: dict) -> Callable[[], Outcome]:
        """Start a command on the head; a function that waits for its end."""
        process = self.flow = self.head.start(*command(*words, data=self.data, settings=settings), log="flow")
        return lambda: self.head.outcome(process, "flow")

    def go(self, *words: str, settings: dict) -> None:
        outcome = self.start(*words, settings=settings)()
        assert outcome.code == 0, outcome.err

    def night_of(self, settings: dict) -> Night:
        """Rows on the head, and files from the store."""
        self.head.clear("kept")
        kept = f"{self.head.disk}/kept/demo/"
        copied = self.head.run(PYTHON, "-c", COPY, f"{settings['store']}/demo/", kept)
        assert copied.code == 0, copied.err
        assert [path for path in files_below(self.head.own / "kept") if ".building" in str(path)] == []
        return rows_and_files(self.head.own / "data", self.head.own / "kept")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if reason := reason_without_hosts():
        pytest.skip(reason)
    with running_hosts(environment()) as hosts:
        every = {
            **SAME,
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_HOME": str(hosts["head"].disk / "prefect"),
            "PREFECT_API_AUTH_STRING": KEY,
            "PREFECT_API_URL": f"http://{hosts['prefect'].address}:4200/api",
            "AWS_ENDPOINT_URL": f"http://{hosts['storage'].address}:9000",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "owner",
            "AWS_SECRET_ACCESS_KEY": "owner",
        }
        for host in hosts.values():
            host.environment |= every
        made = Cluster(hosts)
        made.start_servers()
        yield made


@pytest.fixture(scope="module")
def as_on_hosts() -> Iterator[None]:
    """What the bytes of a report depend on is the same here as on the hosts."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SAME.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def alone(as_on_hosts, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Night]:
    """What one machine builds by threads, and a run that is not evaluated."""
    data = tmp_path_factory.mktemp("alone") / "data"
    go("dataset", data=data, settings=NIGHT)
    go("train", data=data, settings=NIGHT)
    return data, rows_and_files(data, data)


@pytest.fixture(scope="module")
def report_alone(alone) -> dict[str, bytes]:
    data = shutil.copytree(alone[0], alone[0].with_name("evaluated"))
    go("evaluate", data=data, settings=NIGHT)
    return report_in(data)


class Dask:
    """A scheduler on the head and a worker per host. A worker ends when it loses the scheduler; it is started again."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.address = cluster, f"tcp://{cluster.head.address}:8786"
        self.settings = {"flows.runner": "dask", "flows.dask_address": self.address}

    def start_scheduler(self) -> None:
        head = self.cluster.head
        head.start(str(TOOLS / "dask"), "scheduler", "--host", head.address, "--no-dashboard", log="scheduler")
        head.wait_for(head, 8786)

    def start_worker(self, host: Host) -> None:
        options = f"--host {host.address} --nthreads 1 --no-dashboard --local-directory {host.disk}/dask"
        worker = f"{TOOLS}/dask worker {self.address} {options}"
        host.start("sh", "-c", f"while true; do {worker}; sleep 1; done", log="worker")


@pytest.fixture(scope="module")
def dask(cluster: Cluster) -> Iterator[Dask]:
    started = Dask(cluster)
    started.start_scheduler()
    for host in cluster.workers:
        started.start_worker(host)
    yield started
    for host in cluster.workers:
        host.kill()


@pytest.fixture(scope="module")
def ray(cluster: Cluster) -> Iterator[dict[str, object]]:
    """Settings for a Ray cluster whose head does no work."""
    head = cluster.head
    # Ray waits 30 s for its server of a client, too short for two busy cores.
    started = f"env RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S=200 {TOOLS}/ray start"
    quiet = "--block --disable-usage-stats --object-store-memory 100000000"
    place = f"--node-ip-address {head.address} --temp-dir {head.disk}/ray"
    head.start(*f"{started} --head {place} --num-cpus 0 --include-dashboard false {quiet}".split(), log="ray")
    head.wait_for(head, 10001)
    for host in cluster.workers:
        place = f"--address {head.address}:6379 --node-ip-address {host.address}"
        host.start(*f"{started} {place} --num-cpus 1 {quiet}".split(), log="ray")
    yield {"flows.runner": "ray", "flows.ray_address": f"ray://{head.address}:10001"}
    for host in cluster.workers:
        host.kill()


@pytest.mark.parametrize("lost", ["worker", "link of a worker", "link of the store", "head"])
def test_a_loss_ends_in_one_line_at_most_and_the_next_run_completes(lost: str, cluster, dask, alone) -> None:
    settings, worker = cluster.fresh(lost.replace(" ", "-")) | dask.settings, cluster.workers[0]
    end = cluster.start("dataset", settings=settings | SLOWLY)
    until(lambda: files_below(worker.own / "data/demo/products"), f"files of {worker.name}")
    if lost == "head":
        cluster.head.kill()
        cluster.start_archive()
        dask.start_scheduler()
    else:
        if lost == "worker":
            worker.kill()
        else:
            with (cluster.storage if "store" in lost else worker).link_down():
                time.sleep(OUTAGE_S)
        outcome = end()
        assert "Traceback" not in outcome.err, outcome.err
        errors = [line for line in outcome.err.splitlines() if line.startswith("hubbleclip: ")]
        assert (outcome.code, len(errors)) in {(0, 0), (2, 1)}, outcome.err
        assert outcome.code == 0 or "store" in lost, outcome.err
    if lost == "worker":
        dask.start_worker(worker)
    cluster.go("dataset", settings=settings)
    found, expected = cluster.night_of(settings), alone[1]
    if "store" in lost:  # the first run has made a dataset without the files that could not be sent
        found, expected = ([night[0][name] for name in ("product", "tile")] for night in (found, expected))
    assert found == expected


@pytest.mark.parametrize("runner", ["dask", "ray"])
def test_a_cluster_of_several_hosts_builds_and_embeds_what_one_machine_does(
    runner: str, cluster, alone, report_alone, request: pytest.FixtureRequest
) -> None:
    on_hosts = request.getfixturevalue(runner)
    on_hosts = on_hosts.settings if isinstance(on_hosts, Dask) else on_hosts
    settings = cluster.fresh(runner) | on_hosts
    cluster.go("dataset", settings=settings)
    assert cluster.night_of(settings) == alone[1]
    settings = cluster.fresh(f"{runner}-report") | on_hosts
    shutil.copytree(alone[0], cluster.head.own / "data")
    for stage in ("shards", "evaluate"):  # the files of a run that is not evaluated come from the store
        cluster.go(stage, settings=settings)
    assert report_in(cluster.head.own / "data") == report_alone
