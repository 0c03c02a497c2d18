"""Commands import what they need when they run, so that `--help` and `status` start quickly."""

import json
import subprocess
import sys
from pathlib import Path

from commands import environment

from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.layout import Layout

SETTINGS = {"pydantic", "pydantic_settings"}
CATALOG = {"duckdb", "numpy", "pyarrow", "open_data_contract_standard", "yaml"}
STAGES = {"torch", "prefect", "astropy", "scipy", "matplotlib", "fsspec"}
LATE = {"torch", "prefect"}
CODE = """
import json, sys
from hubbleclip.cli.app import main
for words in json.loads(sys.argv[1]):
    code = 0
    try:
        main(words)
    except SystemExit as ended:
        code = ended.code
    print(end=f"\\0{code} {' '.join(sys.modules)}\\0")
    print(end="\\0", file=sys.stderr)
"""
COMMANDS = [
    ("--help", 0, "Usage", SETTINGS | CATALOG | STAGES),
    ("settings", 0, "num_proposals", CATALOG | STAGES),
    ("status", 0, "", STAGES),
    ("export nope x", 2, "no finished run", LATE),
    (f"export nope {Path(__file__).parent}", 2, "give a folder that does not exist", LATE),
    ("compare a b", 2, "no finished run", LATE),
    ("benchmark missing.csv", 2, "missing.csv", LATE),
    ("evaluate nope", 2, "hubbleclip dataset", LATE),
    ("train --sweep missing.toml", 2, "missing.toml", LATE),
    ("index", 2, "hubbleclip pipeline", LATE),
    ("train", 2, "hubbleclip dataset", LATE),
    ("worker --pool nope", 2, "nope", LATE),
]
"""Command, exit code, a part of the output or of the error, and what is not imported; those that import least are first."""


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


def test_a_command_imports_only_what_it_needs_and_a_mistake_is_told_before_torch_and_prefect(tmp_path: Path) -> None:
    """In one process, since starting it takes the longest: what a command imports is there for the next one."""
    with writing_catalog(Layout(tmp_path / "demo")):
        pass
    lines = [[*words.split(), *([f"--data={tmp_path}"] if words != "--help" else [])] for words, *_ in COMMANDS]
    done = subprocess.run([sys.executable, "-c", CODE, json.dumps(lines)], capture_output=True, text=True, check=True)
    out, errors = done.stdout.split("\0"), done.stderr.split("\0")
    parts = zip(COMMANDS, out[:-1:2], out[1::2], errors[:-1], strict=True)
    for (words, code, said, unwanted), shown, ended, error in parts:
        ended_with, *loaded = ended.split()
        assert (int(ended_with), unwanted & {*loaded}) == (code, set()), words
        assert said in (error if code else shown) and bool(error) == bool(code), words
