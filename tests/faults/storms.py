"""A small archive, an ingest with short time limits, and all that it leaves behind, to compare."""

from __future__ import annotations

import hashlib
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import requests
from commands import command, environment

from flows.private_server import QUIET
from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.simulator.server.fault_plan import REQUESTS_PATH, FaultPlan, storm_plan
from hubbleclip.simulator.server.launcher import simulated_addresses

SKY = SimulatorSettings(num_proposals=14, frame_px=96, hap_share=0.3, previews=True)
LIMITS = {
    "archive": {"page_size": 16, "since": "2023-02-25", "until": "2023-02-25"},
    "fetch": {
        "requests_per_s": 10, "connections": 4, "timeout_s": 0.6, "attempts": 4, "backoff_s": 0.02,
        "file_timeout_s": 5, "stall_s": 0.4, "retry_hours": 0, "max_runs": 50,
    },
    "flows": {"batch_size": 3},
}  # fmt: skip
"""Settings of every run here, calm or not: deadlines in proportion to an archive that answers in milliseconds, the
default rate, and the day of the first night, so that the same questions are asked each time.
"""
NOT_COMPARED = {"migration"}
Rows = dict[str, list[dict[str, Any]]]


def overrides(url: str, data: Path, **fetch: object) -> dict[str, Any]:
    """What makes a run of the demo one on this archive."""
    archive = LIMITS["archive"] | simulated_addresses(url)
    return LIMITS | {"data": str(data), "archive": archive, "fetch": LIMITS["fetch"] | fetch}


def start(api: str, values: dict[str, Any]) -> subprocess.Popen[str]:
    """`hubbleclip ingest` with these overrides; it uses a Prefect server that runs already, which saves seconds."""
    settings = {f"{section}.{name}": value for section, names in values.items() if isinstance(names, dict)
                for name, value in names.items()}  # fmt: skip
    return subprocess.Popen(
        command("ingest", data=Path(values["data"]), settings=settings),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment() | QUIET | {"PREFECT_API_URL": api},
    )  # fmt: skip


def short_storm(seed: int, max_in_a_row: int = 3) -> FaultPlan:
    """A storm whose hangs and slow drips end soon, a little heavier, so that no seed has less than it should by chance."""
    plan = storm_plan(seed)
    rules = tuple(rule.model_copy(update={"share": rule.share * 1.15}) for rule in plan.rules)
    return plan.model_copy(update={"rules": rules, "longest_s": 1.0, "max_in_a_row": max_in_a_row})


def read_rows(root: Path) -> Rows:
    """All rows of the published catalog, but for times and the versions that a server names."""
    found: Rows = {}
    with duckdb.connect(str(root / "catalog.duckdb"), read_only=True) as catalog:
        names = [name for (name,) in catalog.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()]
        for name in sorted(set(names) - NOT_COMPARED):
            relation = catalog.sql(f'FROM "{name}"')
            kept = ", ".join(f'"{one}"' for one in relation.columns if not one.endswith("_at") and one != "etag")
            found[name] = catalog.sql(f'SELECT {kept} FROM "{name}" ORDER BY ALL').to_arrow_table().to_pylist()
    return found


def read_files(root: Path) -> dict[str, str]:
    """Every file under `products/`, also one that should not be there, with the hash of its bytes."""
    files = (path for path in (root / "products").rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def state(data: Path) -> tuple[Rows, dict[str, str]]:
    """What an ingest leaves behind."""
    return read_rows(data / "demo"), read_files(data / "demo")


def different_ids(calm: tuple[Rows, dict[str, str]], other: tuple[Rows, dict[str, str]]) -> set[str]:
    """What requests would name of the items that are missing, added or not the same: URIs, obsids, numbers."""
    ids: set[str] = set()
    for table in calm[0]:
        rows = [row for row in calm[0][table] + other[0][table] if (row in calm[0][table]) != (row in other[0][table])]
        ids |= {str(row[name]) for row in rows for name in ("uri", "obsid", "number", "obs_id") if row.get(name)}
    paths = {path for path, _ in calm[1].items() ^ other[1].items()}
    return ids | {row["uri"] for row in calm[0]["product"] if row["path"] in paths}


def asked(url: str) -> list[tuple[str, str, int]]:
    """What the archive was asked: request, fault or '', how often."""
    return [(unquote(key), kind, times) for key, kind, times in requests.get(url + REQUESTS_PATH, timeout=10).json()]


def tally(requested: Sequence[tuple[str, str, int]], lost_ids: set[str]) -> tuple[Counter[str], Counter[str]]:
    """Strikes by kind, and those that cost an item: they struck a request that names one of `lost_ids`, or a question
    for all observations or proposals while any item is lost.
    """
    injected, lost = Counter[str](), Counter[str]()
    for key, kind, times in requested:
        names_items = "Download" in key or '"obsid"' in key or "program" in key
        is_lost = any(one in key for one in lost_ids) if names_items else bool(lost_ids)
        injected[kind] += times
        lost[kind] += times * is_lost
    return injected, lost
