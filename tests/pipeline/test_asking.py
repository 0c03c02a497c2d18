"""A command looks for work first, and what it needs for that look is little."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests
from stages import listing, stage_at
from test_fetching import archive_at, listed, url  # noqa: F401 - a fixture

from hubbleclip.archives import Archive
from hubbleclip.archives.http.client import RequestLimits
from hubbleclip.config.settings import SimulatorSettings, read_settings
from hubbleclip.core.errors import ArchiveError
from hubbleclip.pipeline.ingest.query_observations import query_observations
from hubbleclip.pipeline.ingest.run import poll
from hubbleclip.simulator.server.launcher import running_simulator

HEAVY = "prefect", "torch", "matplotlib", "numba", "astropy", "astroquery", "fastapi", "s3fs", "pyarrow.parquet"


@pytest.mark.parametrize(
    "module",
    [
        "hubbleclip.cli.app",
        "hubbleclip.pipeline.ingest.run",
        "hubbleclip.pipeline.pending_work",
        "hubbleclip.simulator.__main__",
        "hubbleclip.pipeline.shards.splitting, hubbleclip.search.open_index",
    ],
)
def test_a_look_brings_in_no_heavy_library(module: str) -> None:
    heavy = HEAVY[:3] if "," in module else HEAVY
    code = f"import sys, {module}; print(*set(sys.modules) & set({heavy!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_there_is_work_until_all_is_listed_and_every_proposal_is_in(url: str, tmp_path: Path) -> None:  # noqa: F811
    with stage_at(tmp_path) as stage:
        archive = archive_at(url, stage)
    overrides = {"data": str(tmp_path), "fetch": {"files": False}}
    served = {"mast_url": url}
    assert poll(read_settings("demo", overrides | {"archive": served}))
    with stage_at(tmp_path, {"archive": served}) as stage:
        observations, _ = listed(archive)
        numbers = sorted({item.proposal_id.split(":")[1] for item in observations})
        proposals, _ = archive.fetch_proposals(numbers)
        found = [listing(stage.settings, item, item.fetched_at) for item in observations]
        stage.catalog.upsert({"listing": found, "proposal": proposals})
    assert not poll(read_settings("demo", overrides | {"archive": served}))


class Watched:
    """What an archive is asked for, in windows of release dates; for one that holds the date `lost` no answer comes."""

    def __init__(self, archive: Archive, lost_mjd: float | None = None) -> None:
        self.windows: list[tuple[float, float]] = []
        self.lost_mjd = lost_mjd
        archive.transport.session.hooks["response"].append(self.note)

    def note(self, response: requests.Response, **_: Any) -> None:
        asked = parse_qs(response.request.body)["request"][0] if response.url.endswith("/invoke") else "{}"
        params = json.loads(asked).get("params", {})
        if params.get("columns") != "*":
            return
        (dates,) = [one["values"][0] for one in params["filters"] if one["paramName"] == "t_obs_release"]
        self.windows.append((dates["min"], dates["max"]))
        if self.lost_mjd is not None and dates["min"] <= self.lost_mjd <= dates["max"]:
            raise requests.ConnectionError("lost")


@pytest.mark.slow
def test_a_window_that_fails_for_good_costs_earlier_days_no_second_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubbleclip.pipeline.ingest.query_observations.OVERLAP_DAYS", 0.0)
    sky = SimulatorSettings(num_proposals=3, nights=4, frame_px=64)
    with running_simulator(sky) as address, stage_at(tmp_path) as stage:
        released = sorted(item.released_mjd for item in listed(archive_at(address, stage))[0])
        failing = archive_at(address, stage, RequestLimits(attempts=2, backoff_s=0.01, page_rows=1))
        first = Watched(failing, lost_mjd=released[-1])
        with pytest.raises(ArchiveError):
            query_observations(stage, failing)
        ((mark,),) = [row.values() for row in stage.catalog.rows("SELECT released_mjd FROM watermark")]
        assert released[0] + 1 < mark < released[-1]
        second = Watched(whole := archive_at(address, stage, RequestLimits(attempts=2, backoff_s=0.01, page_rows=1)))
        query_observations(stage, whole)
        assert min(low for low, _ in first.windows) < math.floor(mark) == min(low for low, _ in second.windows)
        assert stage.catalog.counts()["observation"] == len(released)
        assert [row["released_mjd"] for row in stage.catalog.rows("FROM watermark")] == released[-1:]
