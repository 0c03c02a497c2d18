"""Commands import what they need when they run, so that `--help` and `status` start quickly."""

import subprocess
import sys
from pathlib import Path

import pytest

from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.layout import Layout

SETTINGS = {"pydantic", "pydantic_settings"}
CATALOG = {"duckdb", "numpy", "pyarrow", "open_data_contract_standard", "yaml"}
STAGES = {"torch", "prefect", "astropy", "scipy", "matplotlib", "fsspec"}


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
    code = f"""
import sys
from hubbleclip.cli.app import main
try:
    main({[*command, "--data", str(tmp_path)]!r})
finally:
    print(*sorted(sys.modules.keys() & {{"torch", "prefect"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (2, "")
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
    command = command if command == ["--help"] else [*command, "--data", str(tmp_path)]
    code = f"""
import sys
from hubbleclip.cli.app import main
try:
    main({command!r})
finally:
    print(*sorted(sys.modules.keys() & {unwanted!r}), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert done.stdout
