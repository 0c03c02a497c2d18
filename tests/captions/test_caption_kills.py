"""A run that is killed again and again, against a server with every fault, ends with the rows of a calm run."""

import json
import random
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from commands import command, environment
from stub_server import FAULTS, StubServer

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.core.layout import Layout

NUM_ABSTRACTS, NUM_KILLS, CONNECTIONS = 100, 10, 4
CHANGING = {"num_calls", "duration_s", "answered_at"}


def run_captions(stub: StubServer, folder: Path, kill_at_call: int = 0) -> int:
    """Run the command; with `kill_at_call`, kill it when the server has received that number of further requests."""
    changes = {
        "captions.backend": "openai",
        "captions.model": "stub",
        "captions.base_url": stub.url,
        "captions.timeout_s": 1.0,
        "captions.connections": CONNECTIONS,
        "flows.batch_size": 16,
        "archive.proposals_file": str(folder / "proposals.jsonl"),
    }
    before, rng = len(stub.requests), random.Random(kill_at_call)
    with subprocess.Popen(
        command("captions", "--no-server", data=folder / "data", profile="local", settings=changes),
        env=environment(),
        stderr=subprocess.DEVNULL,
    ) as process:

        def kill(number: int) -> None:
            if number == before + kill_at_call:
                threading.Timer(rng.uniform(0, 0.05), process.kill).start()

        stub.on_call = kill if kill_at_call else lambda number: None
        return process.wait(120)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    with read_catalog(Layout(folder / "data" / "local")) as catalog:
        return catalog.rows("FROM abstract_summary ORDER BY summary")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    calm, stormy = tmp_path / "calm", tmp_path / "stormy"
    for folder in (calm, stormy):
        folder.mkdir()
        lines = [{"number": n, "title": "Gas", "abstract": f"We image nebula {n}."} for n in range(NUM_ABSTRACTS)]
        (folder / "proposals.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return calm, stormy


@pytest.mark.nightly
def test_ten_kills_lose_no_answer_and_ask_for_none_again(folders: tuple[Path, Path]) -> None:
    calm, stormy = folders
    with StubServer() as stub:
        assert run_captions(stub, calm) == 0
        assert len(stub.requests) == NUM_ABSTRACTS

    def faults_of(abstract: str) -> list[str]:
        rng = random.Random(abstract)
        # A hang takes a second, so that few abstracts have one.
        return rng.choices(FAULTS, weights=[4, 4, 4, 4, 4, 1], k=rng.choice([0, 0, 1, 2]))

    rng = random.Random(5)
    with StubServer(faults_of) as stub:
        kills = [run_captions(stub, stormy, rng.randint(1, 14)) for _ in range(NUM_KILLS)]
        assert run_captions(stub, stormy) == 0
        num_requests, calls = len(stub.requests), dict(stub.calls)
        assert run_captions(stub, stormy) == 0
        assert len(stub.requests) == num_requests  # nothing is pending
    assert kills == [-9] * NUM_KILLS

    rows, quiet = rows_of(stormy), rows_of(calm)
    assert [{k: v for k, v in row.items() if k not in CHANGING} for row in rows] == [
        {k: v for k, v in row.items() if k not in CHANGING} for row in quiet
    ]
    # Each request beyond one per abstract is a counted retry. A run that was killed between the count and the request
    # has counted a request that the server never received.
    num_retries = sum(row["num_calls"] - 1 for row in rows)
    unsent = NUM_ABSTRACTS + num_retries - num_requests
    assert 0 <= unsent <= NUM_KILLS * CONNECTIONS
    # An abstract has one valid answer; the requests before it failed or were interrupted by a kill.
    num_faults = sum(len(faults_of(abstract)) for abstract in calls)
    assert 0 <= num_requests - NUM_ABSTRACTS - num_faults <= NUM_KILLS * CONNECTIONS
