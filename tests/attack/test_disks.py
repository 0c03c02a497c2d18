"""Attacks by a bad disk and by a kill: each stage ends in one line, and after it the stage runs as if nothing had happened."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from commands import SMALL, command, kill_when

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.simulator.server.launcher import running_simulator
from tests.attack.table import Attacks
from tests.faults.warm import build_library

pytestmark = [pytest.mark.nightly, pytest.mark.attack, pytest.mark.timeout(1800)]
STAGES = ("ingest", "tiles", "shards", "train", "evaluate", "index")


def test_a_disk_that_fails_and_a_training_that_is_killed(tmp_path: Path, attacks: Attacks) -> None:
    library, data = build_library(tmp_path), tmp_path / "data"
    fault = {"LD_PRELOAD": str(library), "FAULT_FOLDER": str(data), "FAULT_CALL": "write", "FAULT_EVERY": "1"}
    with running_simulator(SimulatorSettings(num_proposals=16, frame_px=128)) as url:
        settings = SMALL | {"archive.mast_url": url, "tiles.size_px": 96, "fetch.min_free_gb": 0, "train.steps": 40}
        for name in STAGES:
            words = command(name, "--no-server", data=data, settings=settings)
            ending = attacks.run(
                f"{name} on a disk with EIO", words, deadline_s=200, env=fault | {"FAULT_ERRNO": str(errno.EIO)}
            )
            assert (ending.code, "(Input/output error): check the disk" in ending.err) == (2, True)
            if name == "train":
                has_begun = lambda: list(data.glob("demo/runs/*/checkpoints/*.pt"))  # noqa: E731
                kill_when(has_begun, "train", "--no-server", data=data, settings=settings)
                listed = attacks.run("runs after a kill of a training", command("runs", data=data), deadline_s=60)
                assert "killed" in listed.out
            assert attacks.run(f"{name} after that", words, deadline_s=300).code == 0
