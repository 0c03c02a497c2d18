"""A disk that fails at every n-th write, fsync or rename: after a healthy run all is as if it had never failed."""

from __future__ import annotations

import errno
import json
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from commands import SMALL, read_rows
from rich.table import Table

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.core.io import sha256_file
from hubbleclip.simulator.server.launcher import running_simulator
from tests.faults.warm import Ended, Warm, build_library, warm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(14_400)]
STAGES = ("ingest", "tiles", "captions", "shards", "train", "evaluate", "index", "publish")
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
COMPARED = {"search": "*", "published": "*", "runs": "checkpoints/*.pt"}
"""Files whose contents are compared, by folder; folders of runs have the time in their names."""


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """A process with the library that makes calls fail."""
    folder = tmp_path_factory.mktemp("library")
    with warm(folder / "log", LD_PRELOAD=str(build_library(folder))) as process:
        yield process


def run(process: Warm, name: str, data: Path, url: str, **fault: str) -> Ended:
    words = [name, "--no-server"]
    if name == "publish":
        (dataset,) = (data / "demo" / "datasets").glob("[!.]*")
        words = [name, dataset.name, str(data / "demo" / "published")]
    sets = [f"--set={key}={json.dumps(value)}" for key, value in (SETTINGS | {"archive.mast_url": url}).items()]
    return process.run([*words, "--data", str(data), *sets], **fault)


def state(data: Path) -> dict[str, Any]:
    """Rows of the catalog, names of datasets, and hashes of files."""
    root = data / "demo"
    files = {
        f"{folder}/{path.name if folder == 'runs' else path.relative_to(root)}": sha256_file(path)
        for folder, pattern in COMPARED.items()
        for path in (root / folder).rglob(pattern)
        if path.is_file() and not path.name.startswith(".") and (folder != "search" or path.suffix != ".json")
    }
    datasets = sorted(one.name for one in (root / "datasets").glob("[!.]*"))
    return {"rows": read_rows(root, "etag"), "datasets": datasets, "files": files}


@pytest.fixture(scope="module")
def calm(
    process: Warm, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[str, Path, Sequence[str]]]:
    """An archive's address, a folder with the data before each stage (and "data", those after all), and the stages."""
    folder, stages = tmp_path_factory.mktemp("calm"), STAGES[: request.param]
    with running_simulator(SimulatorSettings(num_proposals=16, frame_px=128)) as url:
        for name in stages:
            (folder / "data").mkdir(exist_ok=True)
            shutil.copytree(folder / "data", folder / name)
            done = run(process, name, folder / "data", url)
            assert done.code == 0, done.err
        yield url, folder, stages


@pytest.mark.parametrize(
    ("calm", "seed", "num"),
    [(4, 0, 4), *(pytest.param(len(STAGES), seed, 50, marks=pytest.mark.nightly) for seed in range(1, 5))],
    indirect=["calm"],
)
def test_a_disk_that_failed_changes_nothing(
    seed: int, num: int, process: Warm, calm: tuple[str, Path, Sequence[str]], tmp_path: Path, tables: list[Table]
) -> None:
    (url, folder, stages), draw, num_failed = calm, random.Random(seed), 0
    for number in range(num):
        name = stages[(number + seed) % len(stages)]
        call, code = draw.choice(("write", "fsync", "rename")), draw.choice(ERRORS)
        every, data = draw.choice((1, 2, 3, 7, 20, 60)), shutil.copytree(folder / name, tmp_path / "data")
        fault = {"FAULT_CALL": call, "FAULT_ERRNO": str(code), "FAULT_EVERY": str(every), "FAULT_FOLDER": str(tmp_path)}
        done = run(process, name, data, url, **fault)
        what = f"{name}: {errno.errorcode[code]} at every {every}. {call}"
        num_failed += done.code == 2
        assert done.code in {0, 2}, f"{what}: {done.err}"
        assert "Traceback" not in done.err, f"{what}: {done.err}"
        assert done.err.count("hubbleclip: ") == (done.code == 2), f"{what}: {done.err}"
        healthy = run(process, name, data, url)
        assert healthy.code == 0, f"{what}, then without: {healthy.err}"
        expected = state(folder / (*stages, "data")[stages.index(name) + 1])
        assert json.dumps(state(data), default=str) == json.dumps(expected, default=str), what
        shutil.rmtree(data)
    assert num_failed > num / 4
    tables.append(Table(title=f"{num} faulty disks, {num_failed} refusals, same rows and files after a second run"))
