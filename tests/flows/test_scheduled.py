"""Scheduled runs on a real server with a real worker: a night, the next one, two at once, a kill, what the pages show."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import ask, until
from commands import run as run_command
from scheduled_site import ROOT, SECRET, Site
from test_pipeline import rows

from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.layout import Layout
from hubbleclip.search.open_index import open_index

pytestmark = pytest.mark.slow

SECTION = (ROOT / "docs/scheduled.md").read_text(encoding="utf-8")
COMMANDS = [line.split("#")[0].strip() for line in re.search(r"```\n(.*?)```", SECTION, re.DOTALL)[1].splitlines()]
SERVER, DEPLOY, WORKER = COMMANDS
FLOW_PROCESSES = r"prefect.*(worker|engine|flow-run|_workspace)|flows\.cli worker|hubbleclip.*worker|simulator"


def tiles_under(data: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in data.glob("tiny/tiles/*/*.png")}


def indexed(data: Path) -> list[str]:
    layout = Layout(data / "tiny")
    return open_index(layout).store.tile_ids.to_pylist()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The three commands of docs/scheduled.md, running."""
    site = Site(tmp_path_factory.mktemp("site"))
    site.start(SERVER)
    until(site.is_up, "the server")
    assert site.start(DEPLOY).wait(400) == 0, (site.folder / "commands.log").read_text()
    site.start(WORKER)
    yield site
    site.kill()


@pytest.fixture(scope="module")
def first_night(site: Site) -> Site:
    run_id = site.run("dataset/dataset-nightly")
    assert site.end(run_id) == "COMPLETED", site.lines(run_id)
    for flow, num in (("train", 1), ("evaluate", 1), ("index", 2)):  # the first of index had no promoted run yet
        run = site.end_of(flow, num)
        assert run["state_type"] == "COMPLETED", site.lines(run["id"])
        assert run["created_by"]["type"] == "AUTOMATION"
    return site


def test_deployed_runs_are_typed_described_versioned_and_one_at_a_time(site: Site) -> None:
    deployed = {f"{one['entrypoint'].split('.')[2]}/{one['name']}": one for one in site.ask("deployments/filter")}
    assert {name.partition("/")[0] for name in deployed} == {"dataset", "train", "evaluate", "index", "pipeline"}
    for one in deployed.values():
        properties = one["parameter_openapi_schema"]["properties"]
        assert all(properties[name]["description"] for name in ("profile", "overrides"))
        assert one["version"]
        assert "hubbleclip" in one["tags"]
        assert one["global_concurrency_limit"]["limit"] == 1
        assert one["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    assert deployed["dataset/dataset-nightly"]["schedules"][0]["schedule"]["cron"]
    assert deployed["train/train-gpu"]["work_pool_name"] == "gpu"


def test_a_night_trains_evaluates_promotes_and_indexes_by_itself(first_night: Site) -> None:
    ((run_id, is_promoted, metric),) = ask(
        first_night.data, "SELECT run_id, is_promoted, metric FROM promotion", "tiny"
    )
    assert is_promoted
    told = run_command("promoted", "--json", data=first_night.data, profile=str(first_night.profile))
    assert json.loads(told.out)["run_id"] == run_id
    assert json.loads(told.out)["metric"] == metric
    assert first_night.slots() == [0, 0, 0, 0, 0]
    ids = indexed(first_night.data)
    assert sorted(ids) == sorted(path.removesuffix(".png") for path in tiles_under(first_night.data))


def test_progress_is_logged_and_shown_with_rate_and_rest(first_night: Site) -> None:
    artifacts = {one["key"]: one for one in first_night.ask("artifacts/filter")}
    assert {"tiles", "counts", "retrieval", "report", "promotion", "train", "tiles-cut-products"} <= set(artifacts)
    assert artifacts["tiles-cut-products"]["data"] == artifacts["train"]["data"] == 100
    assert "data:image/jpeg;base64," in artifacts["tiles"]["data"]
    assert re.search(r"\]\(file://\S+/index.html\)|\(file://\S+/index.html\)", artifacts["report"]["data"])
    assert re.search(
        r"\d+ of \d+ done, \d+ rejected, [\d.]+ per second, \d+ s left", artifacts["tiles-cut-products"]["description"]
    )
    assert any(row["new"] for row in json.loads(artifacts["counts"]["data"]) if row["table"] == "tile")
    logged = [line["message"] for line in first_night.ask("logs/filter", limit=200)]
    assert any(line.startswith("tiles: cut-products: ") for line in logged)


def test_a_failure_is_told_to_the_address_that_the_environment_named(site: Site) -> None:
    run_id = site.run("evaluate/evaluate-cpu", overrides={"fetch": {"nonsense": 1}})
    assert site.end(run_id) == "FAILED"
    until(lambda: any("there is no setting fetch.nonsense" in line for line in site.lines(run_id)), "its line")
    told = until(lambda: site.told, "a call of the webhook")
    assert (told[0]["flow"], told[0]["state"]) == ("evaluate", "Failed")


@pytest.mark.nightly
def test_a_second_run_waits_for_the_first_and_for_whoever_writes(first_night: Site) -> None:
    with writing_catalog(Layout(first_night.data / "tiny")):
        first, second = (first_night.run("dataset/dataset-nightly") for _ in range(2))
        until(
            lambda: any("waiting: the catalog is being written by process" in line for line in lines_of(first_night)),
            "the line that names the holder",
        )
        until(lambda: any("AwaitingConcurrencySlot" in first_night.states(one) for one in (first, second)), "the queue")
    assert [first_night.end(one) for one in (first, second)] == ["COMPLETED", "COMPLETED"]
    assert len(first_night.runs("train")) <= 2


def lines_of(site: Site) -> list[str]:
    return [line["message"] for line in site.ask("logs/filter", sort="TIMESTAMP_DESC", limit=100)]


@pytest.mark.nightly
def test_cancelled_and_killed_runs_leave_a_good_catalog_and_no_slot(site: Site, tmp_path: Path) -> None:
    stopped, lost, whole = (tmp_path / name for name in ("cancelled", "killed", "undisturbed"))
    cancelled = site.run("dataset/dataset-nightly", overrides={"data": str(stopped)})
    until(lambda: list(stopped.glob("tiny/products/*/*.fits")), "the first file")
    site.ask(f"flow_runs/{cancelled}/set_state", state={"type": "CANCELLING"})
    assert site.end(cancelled) == "CANCELLED"
    site.send_late_heartbeat(cancelled)
    seen = len(site.runs("dataset"))

    killed = site.run("dataset/dataset-nightly", overrides={"data": str(lost)})
    until(lambda: tiles_under(lost), "the first tile")
    site.kill(FLOW_PROCESSES)
    site.start(WORKER)
    again = site.end_of("dataset", seen + 2)
    assert site.end(killed) == "CRASHED"
    assert again["state_type"] == "COMPLETED", site.lines(again["id"])
    assert len(site.runs("dataset")) == seen + 2

    for data in (stopped, whole):
        assert run_command("dataset", data=data, profile=str(site.profile)).code == 0
    assert rows(stopped, "tiny") == rows(lost, "tiny") == rows(whole, "tiny")
    until(lambda: not any(site.slots()), "the last slot given back")


@pytest.mark.nightly
def test_a_run_that_is_killed_with_the_server_gives_its_slot_back(site: Site, tmp_path: Path) -> None:
    killed = site.run("dataset/dataset-nightly", overrides={"data": str(tmp_path)})
    until(lambda: tiles_under(tmp_path), "the first tile")
    site.kill()
    site.start(SERVER)
    until(site.is_up, "the server")
    site.start(WORKER)
    assert site.end(killed) == "CRASHED"
    until(lambda: not any(site.slots()), "the last slot given back")


@pytest.mark.nightly
def test_a_run_whose_worker_is_stopped_is_lost_and_done_by_the_next_worker(site: Site, tmp_path: Path) -> None:
    seen = len(site.runs("dataset"))
    stopped = site.run("dataset/dataset-nightly", overrides={"data": str(tmp_path)})
    until(lambda: tiles_under(tmp_path), "the first tile")
    site.stop(WORKER)
    assert "the next worker resumes them" in (site.folder / "commands.log").read_text()
    site.start(WORKER)
    again = site.end_of("dataset", seen + 2)
    assert (site.end(stopped), site.states(stopped)[-1]) == ("CRASHED", "Lost")
    assert again["state_type"] == "COMPLETED", site.lines(again["id"])
    names = [run["name"] for run in site.runs("dataset")[seen:]]
    assert all(re.fullmatch(r"dataset tiny \d{4}-\d\d-\d\d \d\d:\d\d", name) for name in names)


def test_ctrl_c_ends_worker_and_server_and_leaves_no_process(site: Site) -> None:
    site.stop(WORKER)
    assert site.stop(SERVER) == 130
    until(lambda: not site.processes(), "the end of the last process")
    assert not site.is_up()


def test_no_secret_reaches_server_logs_or_data(site: Site) -> None:
    files = [path for path in site.folder.rglob("*") if path.is_file()]
    assert any(path.name == "prefect.db" for path in files)
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
