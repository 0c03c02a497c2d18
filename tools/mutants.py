"""Plant the faults of `tests/mutants` one at a time, and check that the quick tests of their area fail.

Each fault is a patch. It begins with the line `fault:`, which says what the patched code does wrong, and the line
`tests:`, which lists test files (or `file::test`) for pytest. A unified diff with one line of context follows. Patches
are applied in turn to copies of the code. Every test that noticed a fault must pass without a patch.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "tests/mutants"
HEADER = re.compile(r"^(fault|tests): (.+)$", re.MULTILINE)
APPLY = ("-C0",)
"""Options of `git apply`: lines around the change may differ, so that few edits of the code invalidate a patch."""
PROCESSES = get_context("forkserver")
LIBRARIES = """
pytest hypothesis torch torchvision open_clip numba scipy.stats scipy.cluster.hierarchy astropy.wcs astropy.coordinates
pyarrow.compute pyarrow.parquet duckdb pydantic_settings cyclopts requests stamina mcp fastapi uvicorn jinja2 sqlalchemy
"""
PROCESSES.set_forkserver_preload(LIBRARIES.split())
"""Processes with these libraries in memory: importing them takes longer than most of the tests."""
LOOPS = "hubbleclip/images/"
COMPILED = f"{LOOPS}__pycache__"
"""Machine code of the loops over pixels, which takes ten seconds to compile; it is valid where no loop is changed."""
NUM_AT_ONCE = 2
MAX_S = 300
PASSED, CAUGHT = "passed", "caught"
RESULTS = {0: PASSED, 1: CAUGHT}
"""What an exit status of pytest means; any other status says that the tests did not run."""


class Mutant(NamedTuple):
    """A patch: its path, what it does wrong, and the tests that must notice, as arguments of pytest."""

    path: Path
    fault: str
    tests: str


class Trial(NamedTuple):
    """Result of a run of tests, the test that failed or the reason why none ran, and the duration in seconds."""

    result: str
    detail: str
    duration_s: float


def read_mutants(root: Path, names: Sequence[str]) -> list[Mutant]:
    """Read the patches of these names, or all; exits with a message where one is missing or lacks its header."""
    paths = [root / FOLDER / f"{name}.patch" for name in names] or sorted((root / FOLDER).glob("*.patch"))
    mutants = []
    for path in paths:
        header = dict(HEADER.findall(path.read_text(encoding="utf-8"))) if path.is_file() else {}
        if header.keys() != {"fault", "tests"}:
            sys.exit(f"{path} does not exist or lacks the lines `fault:` and `tests:`")
        mutants.append(Mutant(path, **header))
    return mutants


def changed_since(root: Path, ref: str, mutants: Sequence[Mutant]) -> list[Mutant]:
    """Choose the mutants whose patch, or the code of whose patched files or tests, changed since the merge base.

    All are chosen if HEAD is that base, or if there is none.
    """
    git = ["git", "-C", str(root)]
    base = subprocess.run([*git, "merge-base", ref, "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    if base in ("", head):
        return list(mutants)
    listed = subprocess.run([*git, "diff", "--name-only", base], capture_output=True, text=True, check=True).stdout
    changed = {
        name for name in listed.splitlines() if _code(name, _at(base, name, root)) != _code(name, _now(name, root))
    }
    return [one for one in mutants if changed & files_of(one, root)]


def _at(commit: str, name: str, root: Path) -> str:
    command = ["git", "-C", str(root), "show", f"{commit}:{name}"]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False).stdout


def _now(name: str, root: Path) -> str:
    return (root / name).read_text(encoding="utf-8", errors="replace") if (root / name).is_file() else ""


def _code(name: str, text: str) -> str:
    """Reduce a Python file to its code: a comment or a docstring cannot change what tests notice."""
    if not name.endswith(".py"):
        return text
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            is_text = [isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) for one in node.body]
            node.body = [one for one, is_dropped in zip(node.body, is_text, strict=True) if not is_dropped]
    return ast.dump(tree)


def patched_files(patch: Path) -> list[str]:
    """Name the files that a patch changes."""
    return re.findall(r"^\+\+\+ b/(.+)$", patch.read_text(encoding="utf-8"), re.MULTILINE)


def files_of(mutant: Mutant, root: Path) -> set[str]:
    """Name the files that a mutant depends on: its patch, those that it patches, and its tests."""
    tests = [test.partition("::")[0] for test in mutant.tests.split()]
    return {str(mutant.path.relative_to(root)), *patched_files(mutant.path), *tests}


def copy_code(root: Path, copy: Path) -> Path:
    """Copy the files that git tracks or would track; return the copy."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    copy_files([name for name in listed.split("\0") if (root / name).is_file()], root, copy)
    return copy


def copy_files(names: Sequence[str], root: Path, copy: Path) -> None:
    """Copy files with their times, by which Python and Numba know what they have compiled."""
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, copy / name)
    if (root / COMPILED).is_dir() and any(name.startswith(LOOPS) for name in names):
        shutil.copytree(root / COMPILED, copy / COMPILED, dirs_exist_ok=True)


class Failures:
    """A plugin of pytest that keeps the name of the first test, or file, that failed."""

    def __init__(self) -> None:
        self.first = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the name of a test."""
        self.first = self.first or (report.nodeid if report.failed else "")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep the name of a file that cannot be imported."""
        self.first = self.first or (report.nodeid if report.failed else "")


def run_tests(tests: Sequence[str], patch: Path | None, root: Path, copies: SimpleQueue[Path]) -> Trial:
    """Apply a patch to one of the copies, run tests in it up to the first failure, and restore its files."""
    copy, started_s = copies.get(), time.monotonic()
    try:
        result, detail = _try(tests, patch, copy)
    finally:
        copy_files(patched_files(patch) if patch else [], root, copy)
        copies.put(copy)
    return Trial(result, detail, time.monotonic() - started_s)


def _try(tests: Sequence[str], patch: Path | None, copy: Path) -> tuple[str, str]:
    if patch is not None:
        # git must not take the copy for a part of a repository around it, because it would then patch nothing
        env = {**os.environ, "GIT_CEILING_DIRECTORIES": str(copy.parent)}
        command = ["git", "apply", *APPLY, str(patch)]
        applied = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, check=False)
        if applied.returncode:
            return "does not apply", applied.stderr.strip().replace("\n", "; ")
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=_run_pytest, args=(copy, list(tests), sender), daemon=False)
    process.start()
    sender.close()
    try:
        if not receiver.poll(MAX_S):
            return "did not end", f"{MAX_S} s"
        status, failed = receiver.recv()
        process.join(timeout=5)  # libraries release their semaphores at its end
    except EOFError:
        return "did not run", "the process of the tests ended"
    finally:
        process.kill()
        process.join()
    return RESULTS.get(status, "did not run"), failed


def _run_pytest(copy: Path, tests: Sequence[str], sender: Connection) -> None:
    """Run tests in this process, which does nothing else, and send pytest's exit status and the first failure."""
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    os.environ["PYTHONPATH"] = str(copy)
    sys.dont_write_bytecode = False  # the next tests in this copy need not compile it
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    failures = Failures()
    options = ["-x", "--tb=no", "-p", "no:cacheprovider", "-m", "not slow"]
    status = pytest.main([*options, *tests], plugins=[failures])
    sender.send((int(status), failures.first))


def main(names: Sequence[str], root: Path = ROOT, since: str = "") -> int:
    """Try the named mutants or all, if `since` is given only changed ones; print a table; return the exit status."""
    mutants, started_s = read_mutants(root, names), time.monotonic()
    mutants = changed_since(root, since, mutants) if since else mutants
    problems, noticing, copies = [], set(), SimpleQueue[Path]()
    with ExitStack() as at_end, ThreadPoolExecutor(NUM_AT_ONCE) as pool:
        for _ in range(NUM_AT_ONCE):
            copies.put(copy_code(root, Path(at_end.enter_context(TemporaryDirectory(prefix="mutant-"))).resolve()))
        trials = pool.map(lambda one: run_tests(one.tests.split(), one.path, root, copies), mutants)
        for mutant, trial in zip(mutants, trials, strict=True):
            result = "SURVIVED" if trial.result == PASSED else trial.result
            name = mutant.path.stem
            print(f"{trial.duration_s:4.0f} s  {name:38}  {result:14}  {trial.detail}", flush=True)
            if result == CAUGHT:
                noticing.add(trial.detail)
            else:
                problems.append(f"{name} {result}: {mutant.fault} ({trial.detail})")
        tests = sorted(noticing)
        parts = [tests[first::NUM_AT_ONCE] for first in range(min(NUM_AT_ONCE, len(tests)))]
        for trial in pool.map(lambda part: run_tests(part, None, root, copies), parts):
            print(f"{trial.duration_s:4.0f} s  {'no fault':38}  {trial.result:14}  {trial.detail}", flush=True)
            problems += [f"without a fault, {trial.detail} fails too"] if trial.result != PASSED else []
    print(f"{len(mutants)} faults in {time.monotonic() - started_s:.0f} s", *problems, sep="\n")
    return int(bool(problems))


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # read by libraries when they are loaded
    parser = argparse.ArgumentParser(description="Plant faults, and check that the quick tests notice them.")
    parser.add_argument("names", nargs="*", help="names of patches without .patch; all if none is given")
    parser.add_argument(
        "--since", default="", help="only mutants whose files changed since the merge base with this ref"
    )
    arguments = parser.parse_args()
    sys.exit(main(arguments.names, since=arguments.since))
