"""`hubbleclip simulate`: the archive by itself, with the faults that are asked for."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import requests

COMMAND = (sys.executable, "-m", "hubbleclip.cli.app", "simulate", "--set", "simulator.num_proposals=3")


def test_it_serves_under_a_storm_and_counts_the_faults(tmp_path: Path) -> None:
    command = [*COMMAND, "--data", str(tmp_path), "--faults", "storm:7"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            url = re.search(r"http://\S+", server.stderr.readline())[0]
            for _ in range(12):
                try:
                    requests.get(f"{url}/hst/abstracts.cat", timeout=0.3, stream=True).close()
                except requests.RequestException:
                    continue
            assert sum(requests.get(f"{url}/faults", timeout=5).json().values()) > 0
        finally:
            server.kill()


def test_a_wrong_plan_is_one_line_that_names_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--data", str(tmp_path), "--faults", "drizzle"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "drizzle" in done.stderr
    assert "storm:SEED" in done.stderr
