"""Every failure is one line that says what to change, exit code 2, no traceback."""

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest
from finished_runs import run_command

from hubbleclip.catalog.lock import catalog_lock
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.cli import running
from hubbleclip.cli.app import SMALL_DEMO, main
from hubbleclip.cli.options import Options
from hubbleclip.cli.serving import mcp
from hubbleclip.core.errors import CatalogLockedError, SettingsError
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline import pending_work


def assert_one_line(words: Sequence[str], capsys: pytest.CaptureFixture[str], *said: str) -> None:
    """Run a command in this process, where one that does not exit raises its error."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hubbleclip: ")]
    assert (ended.value.code, len(lines), [word for word in said if word not in str(lines)]) == (2, 1, [])


@pytest.mark.parametrize(
    ("has_work", "given", "is_run"),
    [
        (False, {}, False),
        (False, {"retry": False, "run": ""}, False),
        (False, {"retry": True}, True),
        (False, {"run": "2026"}, True),
        (True, {}, True),
    ],
)
def test_only_a_command_with_work_or_an_order_needs_the_lock(
    has_work: bool, given: dict, is_run: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(running, "redirect_caches", lambda _: None)
    monkeypatch.setattr(pending_work, "has_work", lambda *_: has_work)
    with (
        catalog_lock(Layout(tmp_path / "demo")),
        pytest.raises(CatalogLockedError) if is_run else nullcontext(),
    ):
        running.run_stage("tiles", Options(data=tmp_path), server=True, **given)


def test_caches_are_below_the_data_root_unless_a_variable_names_another_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "environ", {"HF_HOME": "shared"})
    running.redirect_caches(Layout(tmp_path))
    own = {name: str(tmp_path / ".home" / folder) for name, folder in running.CACHE_FOLDERS.items()}
    assert os.environ == own | {"HF_HOME": "shared"}
    assert (tmp_path / ".home/cache/astropy").is_dir() and (tmp_path / ".home/config/astropy").is_dir()


def in_words(one: object) -> str:
    return " ".join([str(one.data or "data"), *one.set]) if isinstance(one, Options) else str(one)


STAGES = ("tiles", "captions", "shards", "train", "index")
SMALL = in_words(Options(data=Path("d/small"), set=SMALL_DEMO))


@pytest.mark.parametrize(
    ("words", "calls"),
    [
        *((f"{name}{more}", [f"run_stage {name} data {not more}"]) for name in STAGES for more in ("", " --no-server")),
        ("ingest --retry --no-server", ["run_stage ingest data False retry=True"]),
        (
            "ingest --no-files --from-raw --set=a=1",
            ["run_stage ingest data a=1 fetch.files=false archive.from_raw=true True retry=False"],
        ),
        ("dataset --no-server", ["run_stage dataset data False", "status data"]),
        ("evaluate --no-server", ["run_stage evaluate data False run=", "print_summary data "]),
        ("evaluate 2026 --data d", ["run_stage evaluate d True run=2026", "print_summary d 2026"]),
        (
            "demo --data d --small",
            [f"run_stage pipeline {SMALL} True", f"status {SMALL}", f"print_summary {SMALL} is_own=True"],
        ),
        (
            "demo --no-server",
            [f"{name} hubbleclip-demo{more}" for name, more in (("run_stage pipeline", " False"), ("status", ""))]
            + ["print_summary hubbleclip-demo is_own=True"],
        ),
        (
            "train --sweep grid.toml --no-server",
            ["run_stage sweep data False grid={'train.seed': [1, 2]}", "print_rows None"],
        ),
    ],
)
def test_a_command_passes_its_options_on(
    words: str, calls: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def record(name: str, *given: object, **named: object) -> None:
        made.append(" ".join([name, *map(in_words, given), *(f"{key}={value}" for key, value in named.items())]))

    made: list[str] = []
    for name in ("run_stage", "status", "print_summary", "print_rows"):
        monkeypatch.setattr(f"hubbleclip.cli.app.{name}", partial(record, name))
    monkeypatch.chdir(tmp_path)
    Path("grid.toml").write_text("[train]\nseed = [1, 2]\n")
    run_command(*words.split())
    assert made == calls


@pytest.mark.parametrize("words", [("dataset",), ("ingest",), ("compare", "a", "b")])
def test_a_data_folder_that_cannot_be_written_is_named(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").touch()
    assert_one_line([*words, f"--data={tmp_path}/taken"], capsys, "taken", "--data")


@pytest.mark.slow
@pytest.mark.parametrize(("words", "said"), [((), "archive.folder"), (("--local", "nowhere"), "nowhere")])
def test_a_local_profile_without_its_folder_is_refused_before_a_server_starts(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_one_line(["dataset", *words, "--profile=local", f"--data={tmp_path}"], capsys, said)
    assert not list(tmp_path.rglob("prefect*"))


def test_sql_cuts_what_it_prints_but_no_file_and_lists_its_views(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("hubbleclip.catalog.user_sql.MAX_ROWS", 2)
    with writing_catalog(Layout(tmp_path / "demo")):
        pass
    words, place = ("sql", "SELECT range AS n FROM range(4)", "--format", "csv"), f"--data={tmp_path}"
    run_command(*words, place)
    run_command(*words, place, f"--out={tmp_path}/all.csv")
    assert capsys.readouterr().out.splitlines() == ['"n"', "0", "1", f"4 rows are in {tmp_path}/all.csv"]
    assert (tmp_path / "all.csv").read_text().splitlines() == ['"n"', *"0123"]
    run_command("sql", "--views", place)
    assert "search_abstracts" in capsys.readouterr().out
    run_command(*words, place, "--max-rows=3")
    run_command(*words, place, "--max-rows=3", f"--out={tmp_path}/few.csv")
    assert capsys.readouterr().out.splitlines()[-2:] == ["2", f"3 rows are in {tmp_path}/few.csv"]
    assert caplog.messages == [f"sql: only the first {n} rows are written: raise --max-rows" for n in (2, 3, 3)]
    assert_one_line([*words[:2], "--max-s=0.001", place], capsys, "raise --max-s")


def test_locked_catalog_names_its_holder_before_a_server_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing_catalog(Layout(tmp_path / "demo")):
        assert_one_line(["tiles", f"--data={tmp_path}"], capsys, "is being written by process")
    assert not (tmp_path / ".prefect").exists()


def test_agents_without_their_extra_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hubbleclip.search.agents", None)
    with pytest.raises(SettingsError, match=r"pip install 'hubbleclip\[agents\]'"):
        mcp()
