"""A small archive, an ingest with short time limits, and the state that it leaves, for comparison."""

from __future__ import annotations

import subprocess
from pathlib import Path

from commands import Rows, command, environment, files_below, read_rows

from hubbleclip.core.io import sha256_file
from tests.faulty_archive.archive import FaultySettings
from tests.faulty_archive.plan import FaultPlan, storm_plan

SKY = FaultySettings(num_proposals=14, frame_px=96, hap_share=0.3, previews=True, odd_share=0.2, odd_products=True)
LIMITS = {
    "archive.since": "2023-02-25",
    "archive.until": "2023-02-25",
    "fetch.requests_per_s": 10,
    "fetch.connections": 4,
    "fetch.retry_hours": 0,
    "flows.batch_size": 3,
}
"""Settings of every run here, with and without faults, beside the limits `HASTY`: the default rate, and the day of the first night, so that every run sends the same queries.
"""


def start(url: str, data: Path, timeout_s: float = 0.6) -> subprocess.Popen[str]:
    """Start `hubbleclip ingest` of an archive."""
    settings = LIMITS | {"archive.mast_url": url, "fetch.timeout_s": timeout_s}
    return subprocess.Popen(
        command("ingest", "--no-server", data=data, settings=settings, module="tests.faults.hasty"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def short_storm(seed: int, max_in_a_row: int = 3) -> FaultPlan:
    """Make a storm whose hangs and slow drips end soon; its fault rates are 15 % higher, so that every seed has
    enough.
    """
    plan = storm_plan(seed)
    rules = tuple(rule.model_copy(update={"share": rule.share * 1.15}) for rule in plan.rules)
    return plan.model_copy(update={"rules": rules, "longest_s": 1.0, "max_in_a_row": max_in_a_row})


def read_files(root: Path) -> dict[str, str]:
    """Hash every file under `products/`, also files that should not exist."""
    return {str(path.relative_to(root)): sha256_file(path) for path in files_below(root / "products")}


def state(data: Path) -> tuple[Rows, dict[str, str]]:
    """Return the rows and files that an ingest leaves."""
    return read_rows(data / "demo", "etag"), read_files(data / "demo")
