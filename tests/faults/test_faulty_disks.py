"""A disk that fails at every n-th write, fsync or rename: after a healthy run all is as if it had never failed."""

from __future__ import annotations

import errno
import hashlib
import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import SMALL, command, environment
from storms import read_rows

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.simulator.server.launcher import running_simulator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(14_400)]
STAGES = ("ingest", "tiles", "captions", "shards", "train", "evaluate", "index")
DRAWN = ("ingest", "tiles", "captions", "shards", "index")
"""Stages whose results are compared; a training has the time in its name."""
SETTINGS = SMALL | {
    "simulator.num_proposals": 16,
    "simulator.frame_px": 128,
    "tiles.size_px": 96,
    "captions.backend": "rules",
    "fetch.requests_per_s": 1000,
    "fetch.min_free_gb": 0,
    "archive.check_first": False,
    "flows.max_rejected_share": 1,
}
ERRORS = (errno.EIO, errno.ENOSPC, errno.ESTALE)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that makes calls fail; skipped without a C compiler."""
    compiler = next(filter(None, map(shutil.which, ("gcc", "cc", "clang"))), None)
    if compiler is None:
        pytest.skip("no C compiler (gcc, cc or clang) is installed to build the library of disk faults")
    path = tmp_path_factory.mktemp("library") / "faulty_disk.so"
    source = Path(__file__).with_name("faulty_disk.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(path), str(source), "-ldl"], check=True)
    return path


def stage(name: str, data: Path, url: str, **variables: str) -> subprocess.CompletedProcess[str]:
    settings = SETTINGS | {"archive.mast_url": url}
    words = command(name, "--no-server", data=data, settings=settings)
    return subprocess.run(
        words, env=environment() | variables, capture_output=True, text=True, check=False, timeout=900
    )


def state(data: Path) -> dict[str, Any]:
    """Rows of the catalog, names of datasets, and hashes of the index."""
    root = data / "demo"
    files = {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (root / "search").rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".json"
    }
    return {"rows": read_rows(root), "datasets": sorted(one.name for one in (root / "datasets").glob("[!.]*")), **files}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Callable[[str], Path], dict[str, Any]]:
    """Address of an archive, the data before each stage, and the state that all stages leave."""
    folder = tmp_path_factory.mktemp("calm")
    sky = SimulatorSettings(num_proposals=16, frame_px=128)
    with running_simulator(sky) as url:
        for name in STAGES:
            if (folder / "data").exists():
                shutil.copytree(folder / "data", folder / name)
            done = stage(name, folder / "data", url)
            assert done.returncode == 0, done.stderr
        yield url, lambda name: folder / name, state(folder / "data")


@pytest.mark.parametrize("num", [10, pytest.param(190, marks=pytest.mark.nightly)])
def test_a_disk_that_failed_changes_nothing(num: int, library: Path, calm: Any, tmp_path: Path) -> None:
    url, before, expected = calm
    draw, num_failed = random.Random(num), 0
    for number in range(num):
        name, call, code = DRAWN[number % len(DRAWN)], draw.choice(("write", "fsync", "rename")), draw.choice(ERRORS)
        every, data = draw.choice((1, 2, 3, 7, 20, 60)), tmp_path / "data"
        if before(name).exists():
            shutil.copytree(before(name), data)
        fault = {"FAULT_CALL": call, "FAULT_ERRNO": str(code), "FAULT_EVERY": str(every), "FAULT_FOLDER": str(tmp_path)}
        done = stage(name, data, url, LD_PRELOAD=str(library), **fault)
        what = f"{name}: {errno.errorcode[code]} at every {every}. {call}"
        num_failed += done.returncode == 2
        assert done.returncode in {0, 2}, f"{what}: {done.stderr}"
        assert "Traceback" not in done.stderr, f"{what}: {done.stderr}"
        assert done.stderr.count("hubbleclip: ") == (done.returncode == 2), f"{what}: {done.stderr}"
        for later in STAGES[STAGES.index(name) :]:
            if (later in DRAWN and later != "index") or later == name:
                healthy = stage(later, data, url)
                assert healthy.returncode == 0, f"{what}, then {later}: {healthy.stderr}"
        found = state(data)
        wanted = expected if name == "index" else {key: expected[key] for key in ("rows", "datasets")}
        rows = {table: found["rows"][table] for table in wanted["rows"] if not is_later(table, name)}
        wanted = wanted | {"rows": {table: wanted["rows"][table] for table in rows}}
        found = {key: found.get(key) for key in wanted} | {"rows": rows}
        assert json.dumps(found, default=str) == json.dumps(wanted, default=str), what
        shutil.rmtree(data)
    assert num_failed > num / 4


def is_later(table: str, name: str) -> bool:
    """Whether only the training and what follows it write a table."""
    return name != "index" and table in {"run", "checkpoint", "report", "metric", "promotion"}
