"""Commands import what they need when they run, so that `--help` and `status` start quickly."""

import subprocess
import sys
from pathlib import Path

import pytest
from commands import environment

from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.layout import Layout

SETTINGS = {"pydantic", "pydantic_settings"}
CATALOG = {"duckdb", "numpy", "pyarrow", "open_data_contract_standard", "yaml"}
STAGES = {"torch", "prefect", "astropy", "scipy", "matplotlib", "fsspec"}
CODE = """
import atexit, sys
from hubbleclip.cli.app import main
atexit.register(lambda: print("", *sys.modules, file=sys.__stdout__))
main(sys.argv[1:])
"""


def run(words: list[str]) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run a command, and return what it imported; that is the last line of its output."""
    done = subprocess.run([sys.executable, "-c", CODE, *words], capture_output=True, text=True, check=False)
    return done, {*done.stdout.splitlines()[-1].split()}


def test_no_child_process_imports_a_module_of_the_folder_in_which_a_command_runs(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('a module of a stranger')")
    code = """
import atexit, subprocess, sys
from hubbleclip.cli.app import main
atexit.register(lambda: subprocess.run([sys.executable, "-m", "hubbleclip.simulator", "--help"]))
sys.argv[1:] = ["--version"]
main()
"""
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment())
    assert "Serve the simulated archive" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["export", "nope", "x"], "no finished run"),
        (["export", "nope", str(Path(__file__).parent)], "give a folder that does not exist"),
        (["compare", "a", "b"], "no finished run"),
        (["benchmark", "missing.csv"], "missing.csv"),
        (["evaluate", "nope"], "hubbleclip dataset"),
        (["train", "--sweep", "missing.toml"], "missing.toml"),
        (["index"], "hubbleclip pipeline"),
        (["train"], "hubbleclip dataset"),
        (["worker", "--pool", "nope"], "nope"),
    ],
    ids=lambda case: case[0] if isinstance(case, list) else "",
)
def test_a_mistake_is_told_before_torch_and_prefect_are_imported(command: list[str], said: str, tmp_path) -> None:
    with writing_catalog(Layout(tmp_path / "demo")):
        pass
    done, loaded = run([*command, "--data", str(tmp_path)])
    assert (done.returncode, loaded & {"torch", "prefect"}) == (2, set())
    assert said in done.stderr


@pytest.mark.parametrize(
    ("command", "unwanted"),
    [
        (["--help"], SETTINGS | CATALOG | STAGES),
        (["settings"], CATALOG | STAGES),
        (["status"], STAGES),
    ],
    ids=["help", "settings", "status"],
)
def test_a_command_imports_only_what_it_needs(command: list[str], unwanted: set[str], tmp_path) -> None:
    done, loaded = run(command if command == ["--help"] else [*command, "--data", str(tmp_path)])
    assert (done.returncode, loaded & unwanted, done.stderr) == (0, set(), "")
    assert done.stdout
