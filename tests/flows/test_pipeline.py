"""The whole road on a small simulated archive: done once, done again, killed, repeated elsewhere."""

import hashlib
import json
import signal
import subprocess
import time
from pathlib import Path

import duckdb
import pytest
from commands import SMALL, Outcome, command, environment, kill_when, run, servers

pytestmark = pytest.mark.slow

CHAIN = (
    "tile_settings",
    "archive_settings",
    "dataset_inputs",
    "dataset_code_version",
    "dataset_settings_digests",
    "shard_sha256",
    "product_uri",
    "product_version",
    "product_source",
    "obs_id",
    "proposal_id",
    "abstract_source",
    "abstract_provenance",
)
"""What `explain` tells of every sample."""
RUN_TABLES = {"run", "checkpoint", "metric", "report", "promotion"}


def shard_hashes(data: Path) -> list[tuple]:
    with duckdb.connect(str(data / "demo/catalog.duckdb"), read_only=True) as catalog:
        return catalog.execute("SELECT shard, sha256 FROM shard ORDER BY ALL").fetchall()


def rows(data: Path, profile: str = "demo") -> dict[str, list[tuple]]:
    """All rows of the tables that a dataset is made of, but for times of running and the addresses of the servers."""
    found = {}
    with duckdb.connect(str(data / profile / "catalog.duckdb"), read_only=True) as catalog:
        names = [name for (name,) in catalog.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()]
        for name in sorted(set(names) - RUN_TABLES - {"migration"}):
            columns = [row[0] for row in catalog.execute(f'DESCRIBE "{name}"').fetchall()]
            kept = ", ".join(f'"{column}"' for column in columns if not column.endswith("_at"))
            found[name] = catalog.execute(f'SELECT {kept} FROM "{name}" ORDER BY ALL').fetchall()
    return found


def pipeline(data: Path) -> Outcome:
    return run("pipeline", data=data, settings=SMALL)


def until_ended(before: set[int]) -> None:
    """Wait until the servers of a command have ended, which they do some seconds after it."""
    deadline = time.monotonic() + 60
    while not servers() <= before:
        assert time.monotonic() < deadline, "a server outlived its command"
        time.sleep(0.2)


def status(data: Path) -> dict:
    return json.loads(run("status", "--json", data=data, settings=SMALL).out)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    data = tmp_path_factory.mktemp("undisturbed")
    return data, pipeline(data)


def test_pipeline_ends_cleanly_with_a_report(undisturbed: tuple[Path, Outcome]) -> None:
    data, outcome = undisturbed
    assert outcome.code == 0, outcome.err
    assert "Traceback" not in outcome.err + outcome.out
    told = status(data)
    assert not any(told["pending"].values()), told["pending"]
    assert Path(told["report"]).is_file()
    assert Path(told["report"]).with_name("metrics.json").is_file()
    assert told["counts"]["tile"] > 30
    assert told["counts"]["sample"] == told["counts"]["placement"] > 30


def test_no_process_outlives_the_command(undisturbed: tuple[Path, Outcome]) -> None:
    before = servers()
    run("ingest", "--retry", data=undisturbed[0], settings=SMALL)
    until_ended(before)


def test_second_run_does_nothing(undisturbed: tuple[Path, Outcome]) -> None:
    data, _ = undisturbed
    files = {path: path.stat().st_mtime_ns for path in (data / "demo").rglob("*.[ptf]*") if ".home" not in path.parts}
    before = rows(data)
    recorded = (data / ".prefect/prefect.db").stat().st_mtime_ns
    outcome = pipeline(data)
    assert outcome.code == 0, outcome.err
    assert "pipeline: nothing to do" in outcome.err
    assert (data / ".prefect/prefect.db").stat().st_mtime_ns == recorded  # no server was started
    assert rows(data) == before
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_every_sample_is_explained_from_its_bytes_to_its_abstract(undisturbed: tuple[Path, Outcome]) -> None:
    from hubbleclip.catalog.catalog import read_catalog
    from hubbleclip.core.layout import Layout
    from hubbleclip.pipeline.lineage import explain_tile

    layout = Layout(undisturbed[0] / "demo")
    with read_catalog(layout) as catalog:
        captions = {row["tile_id"]: row["captions"] for row in catalog.rows("SELECT tile_id, captions FROM sample")}
        chains = [explain_tile(catalog, layout, tile_id) for tile_id in captions]
    for chain in chains:
        with layout.absolute(chain["shard_path"]).open("rb") as shard:
            shard.seek(chain["offset"])
            assert hashlib.sha256(shard.read(chain["length"])).hexdigest() == chain["png_sha256"]
        product = layout.absolute(chain["product_path"]).read_bytes()
        assert hashlib.sha256(product).hexdigest() == chain["product_sha256"]
        assert chain["abstract"] == captions[chain["tile_id"]][0]
        missing = [name for name in CHAIN if not chain[name]]
        assert missing == [], chain["tile_id"]
        assert bool(chain["trained_runs"]) == (chain["split"] == "train")
    told = run("explain", chains[0]["tile_id"], "--json", data=undisturbed[0])
    assert json.loads(told.out)["png_sha256"] == chains[0]["png_sha256"]


def test_every_view_answers(undisturbed: tuple[Path, Outcome]) -> None:
    from hubbleclip.catalog.catalog import read_catalog
    from hubbleclip.core.layout import Layout

    quiet = {"waiting_item", "proposal_without_tile", "rejection_count"}
    searches = {
        "cone": "FROM cone(0, 0, 180)",
        "box": "FROM box(0, 360, -90, 90)",
        "search_abstracts": "FROM search_abstracts('the of a')",
    }
    with read_catalog(Layout(undisturbed[0] / "demo")) as catalog:
        names = [view["name"] for view in catalog.views()]
        silent = {name for name in names if not catalog.rows(searches.get(name, f"FROM {name}"))}
    assert silent <= quiet


def test_rules_of_the_contracts_hold(undisturbed: tuple[Path, Outcome]) -> None:
    from hubbleclip.catalog.catalog import read_catalog
    from hubbleclip.contracts.audit import broken_rules
    from hubbleclip.core.layout import Layout

    with read_catalog(Layout(undisturbed[0] / "demo")) as catalog:
        assert broken_rules(catalog.query) == []


def test_search_finds_tiles(undisturbed: tuple[Path, Outcome]) -> None:
    outcome = run("search", "a planet with rings", "-k", "3", "--json", data=undisturbed[0], settings=SMALL)
    hits = json.loads(outcome.out)
    assert len(hits) == 3
    assert hits[0]["score"] >= hits[1]["score"] >= hits[2]["score"]
    assert {"tile_id", "model_rank", "words_rank", "title", "instrument"} <= set(hits[0])


@pytest.mark.nightly
def test_same_seed_elsewhere_gives_the_same_shards(undisturbed: tuple[Path, Outcome], tmp_path: Path) -> None:
    outcome = run("dataset", data=tmp_path / "else where", settings=SMALL)
    assert outcome.code == 0, outcome.err
    assert shard_hashes(tmp_path / "else where") == shard_hashes(undisturbed[0])


MOMENTS = {
    "fetching": ("products/*/*.fits*", 12),
    "cutting": ("tiles/*/*.png", 12),
    "training": ("runs/*/checkpoints/*.pt", 1),
}


@pytest.mark.parametrize(
    "moment", ["cutting", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("fetching", "training"))]
)
def test_killed_pipeline_ends_as_the_undisturbed_one(
    moment: str, undisturbed: tuple[Path, Outcome], tmp_path: Path
) -> None:
    pattern, num = MOMENTS[moment]
    before = servers()
    kill_when(lambda: len(list((tmp_path / "demo").glob(pattern))) >= num, "pipeline", data=tmp_path, settings=SMALL)
    until_ended(before)
    outcome = pipeline(tmp_path)
    assert outcome.code == 0, outcome.err
    assert shard_hashes(tmp_path) == shard_hashes(undisturbed[0])
    assert rows(tmp_path) == rows(undisturbed[0])
    assert len(list((tmp_path / "demo/runs").glob("[!.]*"))) == len(list((undisturbed[0] / "demo/runs").glob("[!.]*")))


def test_a_new_night_adds_and_moves_nothing(undisturbed: tuple[Path, Outcome], tmp_path: Path) -> None:
    first = run("dataset", data=tmp_path, settings=SMALL)
    assert first.code == 0, first.err
    before = rows(tmp_path)
    second = run("dataset", data=tmp_path, settings=SMALL | {"simulator.nights": 2})
    assert second.code == 0, second.err
    after = rows(tmp_path)
    for table in ("split", "tile", "proposal", "observation"):
        assert len(after[table]) > len(before[table])
        assert set(map(str, before[table])) <= set(map(str, after[table]))


def test_interrupted_pipeline_says_that_it_goes_on(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("pipeline", data=tmp_path, settings=SMALL), stderr=subprocess.PIPE, text=True, env=environment()
    )
    while not list((tmp_path / "demo").glob("products/*/*.fits")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert "hubbleclip: stopped; run the same command again to resume" in told
