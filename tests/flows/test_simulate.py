"""`hubbleclip simulate`: the archive by itself."""

import re
import subprocess
import sys
from pathlib import Path

import requests


def test_it_serves_the_archive_whose_address_it_logs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hubbleclip.cli.app", "simulate", "--set", "simulator.num_proposals=3"]
    with subprocess.Popen([*command, "--data", str(tmp_path)], stderr=subprocess.PIPE, text=True) as server:
        try:
            url = re.search(r"http://\S+", server.stderr.readline())[0]
            response = requests.get(f"{url}/hst/abstracts.cat", timeout=20)
            assert (response.status_code, response.headers["X-Simulated"]) == (200, "true")
            assert 0 < response.text.count("Prop. Type:") <= 3
        finally:
            server.kill()
