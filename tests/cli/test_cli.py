"""Every failure is one line that says what to change, exit code 2, no traceback."""

import json
import shutil
import socket
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import small_dataset
from commands import Outcome, environment, run
from finished_runs import made_run

from hubbleclip.catalog.lock import catalog_lock
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.cli import running
from hubbleclip.cli.options import Options, complete_advice, given_flags
from hubbleclip.cli.serving import mcp
from hubbleclip.config.toml import parse_assignment
from hubbleclip.core.errors import CatalogLockedError, SettingsError
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline import pending_work


def assert_one_line(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 2, outcome.err
    lines = [line for line in outcome.err.splitlines() if line.startswith("hubbleclip: ")]
    assert len(lines) == 1, outcome.err
    assert "Traceback" not in outcome.err + outcome.out
    for word in words:
        assert word in lines[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "settings", "word"),
    [
        (["status"], {"train.stepps": 3}, "train.stepps"),
        (["status"], {"tiles.size_px": 1}, "tiles.size_px"),
        (["status", "--frobnicate"], {}, "--frobnicate"),
        (["frobnicate"], {}, "frobnicate"),
        (["sql", "SELECT 1"], {}, "hubbleclip dataset"),
        (["explain", "abc"], {}, "hubbleclip dataset"),
        (["search", "galaxy"], {}, "hubbleclip pipeline"),
        (["index", "--no-server"], {}, "hubbleclip pipeline"),
        (["tile", "missing.fits", "--out", "x"], {}, "missing.fits"),
    ],
)
def test_mistakes_are_reported_in_one_line(arguments: list[str], settings: dict, word: str, tmp_path: Path) -> None:
    assert_one_line(run(*arguments, data=tmp_path, settings=settings), word)


@pytest.mark.parametrize("has_work", [False, True])
def test_only_a_command_with_work_needs_the_lock(
    has_work: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(running, "redirect_caches", lambda _: None)
    monkeypatch.setattr(pending_work, "has_work", lambda *_: has_work)
    with (
        catalog_lock(Layout(tmp_path / "demo")),
        pytest.raises(CatalogLockedError) if has_work else nullcontext(),
    ):
        running.run_flow("tiles", Options(data=tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("search", "galaxy"), ("compare", "a", "b"), ("status",), ("runs",)], ids=lambda w: w[0]
)
def test_a_command_that_only_reads_creates_nothing(words: tuple[str, ...], tmp_path: Path) -> None:
    run(*words, data=tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_a_message_advises_commands_for_the_same_profile(tmp_path: Path) -> None:
    outcome = run("shards", "--no-server", data=tmp_path, profile="jwst")
    flags = f"--profile jwst --data {tmp_path}"
    assert_one_line(outcome, f"`hubbleclip ingest {flags}`, then `hubbleclip tiles {flags}`")
    assert (
        run("runs", data=tmp_path, profile="jwst").out.strip() == f"there is no run yet: run `hubbleclip train {flags}`"
    )


def test_advice_is_completed_only_where_it_has_to_be() -> None:
    message = "use `x`, run `hubbleclip train`, or `hubbleclip check-archive --profile NAME`"
    assert complete_advice(message, "") == message
    assert complete_advice(message, "--data d") == message.replace("train`", "train --data d`")
    given = ["ingest", "--profile=local", "--set", "a=b", "--data", "there", "--profile"]
    assert given_flags(given) == ["--profile", "local", "--data", "there"]


@pytest.mark.parametrize("words", [("dataset",), ("ingest",), ("compare", "a", "b")])
def test_a_data_folder_that_cannot_be_written_is_named(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    assert_one_line(run(*words, data=tmp_path / "taken"), "taken", "--data")


@pytest.mark.slow
def test_a_local_profile_without_a_folder_is_refused_before_a_server_starts(tmp_path: Path) -> None:
    assert_one_line(run("dataset", data=tmp_path, profile="local"), "archive.folder")
    assert not list(tmp_path.rglob("prefect*"))


@pytest.mark.slow
@pytest.mark.parametrize("url", ["s3://bucket/prefix", "hf://datasets/someone/something"])
def test_a_place_that_cannot_be_published_to_is_named(url: str, tmp_path: Path) -> None:
    pytest.importorskip({"s3": "s3fs", "hf": "huggingface_hub"}[url.partition(":")[0]])  # without it, another message
    dataset = small_dataset.build(tmp_path, num_groups=8, tiles_per_group=1, num_test_groups=3)
    offline = {
        "AWS_EC2_METADATA_DISABLED": "true",
        "HF_ENDPOINT": "http://127.0.0.1:1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_TOKEN": "hf_none",
    }
    variables = {name: value for name, value in environment().items() if not name.startswith("AWS_")} | offline
    command = [sys.executable, "-m", "hubbleclip.cli", "publish", str(dataset), url]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=120)
    assert_one_line(Outcome(done.returncode, done.stdout, done.stderr), url, "check the URL and the credentials")


@pytest.mark.slow
def test_status_before_the_first_run_is_empty(tmp_path: Path) -> None:
    status = json.loads(run("status", "--json", data=tmp_path).out)
    assert status["profile"] == "demo"
    assert status["catalog"] is status["report"] is None
    assert not (tmp_path / "demo").exists()
    assert f"run `hubbleclip pipeline --data {tmp_path}`" in run("status", data=tmp_path).out


@pytest.mark.slow
def test_the_checkpoints_that_are_deleted_are_neither_the_best_nor_the_last(tmp_path: Path) -> None:
    run_dir = made_run(tmp_path / "demo")  # the best checkpoint is that of step 4
    for step in (2, 6, 8):
        shutil.copy(run_dir / "checkpoints/step-00000004.pt", run_dir / f"checkpoints/step-{step:08d}.pt")
    assert_one_line(run("clean", data=tmp_path), "clean --runs")
    assert "deleted 2 checkpoints of 1 finished runs" in run("clean", "--runs", data=tmp_path).out
    assert {path.name for path in run_dir.glob("checkpoints/*")} == {"step-00000004.pt", "step-00000008.pt"}


@pytest.mark.slow
def test_sql_writes_a_format_says_where_it_cuts_lists_its_views_and_requires_a_query(tmp_path: Path) -> None:
    with writing_catalog(Layout(tmp_path / "demo")):
        pass
    query = "SELECT range AS n FROM range(3)"
    assert json.loads(run("sql", query, "--format", "json", data=tmp_path).out) == [{"n": 0}, {"n": 1}, {"n": 2}]
    cut = run("sql", query, "--format", "csv", "--max-rows", "2", data=tmp_path)
    assert cut.out.splitlines() == ['"n"', "0", "1"]
    assert "--max-rows" in cut.err
    assert "search_abstracts" in run("sql", "--views", data=tmp_path).out
    assert_one_line(run("sql", data=tmp_path), "--views")


def test_assignments_are_toml_values() -> None:
    assert parse_assignment("train.steps=3") == ("train.steps", 3)
    assert parse_assignment("archive.instruments=['ACS*']") == ("archive.instruments", ["ACS*"])
    assert parse_assignment("model.name=ViT-B-16") == ("model.name", "ViT-B-16")
    with pytest.raises(SettingsError, match="section.name=value"):
        parse_assignment("train.steps")


def test_locked_catalog_names_its_holder_before_a_server_starts(tmp_path: Path) -> None:
    with writing_catalog(Layout(tmp_path / "demo")):
        assert_one_line(run("tiles", data=tmp_path), "is being written by process")
    assert not (tmp_path / ".prefect").exists()


@pytest.mark.slow
def test_missing_folder_is_named(tmp_path: Path) -> None:
    outcome = run("dataset", "--no-server", "--local", str(tmp_path / "nowhere"), data=tmp_path, profile="local")
    assert_one_line(outcome, "nowhere")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_archive_that_cannot_be_reached_is_named_within_seconds(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    settings = {"archive.mast_url": url}
    assert_one_line(run("dataset", data=tmp_path, profile="hubble", settings=settings), "127.0.0.1")


def test_agents_without_their_extra_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hubbleclip.search.agents", None)
    with pytest.raises(SettingsError, match=r"pip install 'hubbleclip\[agents\]'"):
        mcp()
