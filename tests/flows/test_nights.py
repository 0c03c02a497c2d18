"""Whole commands, night after night: what comes late, what is made anew, what fails for a while."""

from pathlib import Path

import pytest
from commands import SMALL, ask, files_below, go, run, status

from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.engine.attempts import MAX_RUNS
from hubbleclip.simulator.server.launcher import running_simulator
from tests.faulty_archive.archive import FaultySettings, running_archive
from tests.faulty_archive.plan import FaultPlan, FaultRule

pytestmark = pytest.mark.slow

FIRST_NIGHT = SMALL | {"fetch.connections": 3}
SECOND_NIGHT = FIRST_NIGHT | {"archive.relist_days": 1e-9}


def test_the_next_night_brings_late_ones_and_takes_the_place_of_what_was_made_anew(tmp_path: Path) -> None:
    data, sky = tmp_path, FaultySettings(num_proposals=12, frame_px=200, late_share=0.3)
    with running_archive(sky) as url:
        go("dataset", data=data, settings=FIRST_NIGHT | {"archive.mast_url": url})
    before = dict(ask(data, "SELECT uri, sha256 FROM product"))
    numbers = {number for (number,) in ask(data, "SELECT number FROM proposal")}
    with running_archive(sky.model_copy(update={"nights": 2, "reprocessed_share": 0.5})) as url:
        go("dataset", data=data, settings=SECOND_NIGHT | {"archive.mast_url": url})

    known = f"list_contains({sorted(numbers)}, number)"
    late = ask(data, f"SELECT o.obs_id FROM observation o JOIN proposal USING (proposal_id) WHERE {known}")
    assert len(late) > len(before)
    renewed = dict(ask(data, "SELECT uri, sha256 FROM product WHERE version = 2"))
    assert renewed
    assert all(before[uri] != sha256 for uri, sha256 in renewed.items())
    assert ask(data, "SELECT count(*) FROM product_version WHERE version = 2") == [(len(renewed),)]

    used = (
        "SELECT count(*) FROM placement JOIN (FROM dataset ORDER BY built_at DESC LIMIT 1) d ON digest = dataset_digest"
    )
    stale = f"{used} JOIN tile USING (tile_id) JOIN product ON uri = product_uri WHERE product_sha256 <> sha256"
    assert ask(data, stale) == [(0,)]
    assert ask(data, used)[0][0] > 0
    old = {before[uri] for uri in renewed}
    assert not [path for path in files_below(data / "demo/products") if path.stem in old]
    assert not any(
        status(data, SECOND_NIGHT | {"archive.relist_days": 0})["pending"][name]
        for name in ("products", "proposals", "fetch", "tiles", "split", "shards")
    )


@pytest.mark.nightly
def test_failing_files_wait_are_given_up_and_come_when_tried_anew(tmp_path: Path) -> None:
    sky = SimulatorSettings(num_proposals=6, frame_px=200)
    broken = FaultPlan(rules=(FaultRule(kind="html", path="/api/v0.1/Download/"),))
    settings = SMALL | {"fetch.retry_hours": 0}
    with running_archive(sky, broken) as url:
        at = settings | {"archive.mast_url": url}
        go("ingest", data=tmp_path, settings=at | {"fetch.retry_hours": 5})
        ((num, next_try),) = ask(tmp_path, "SELECT count(*), min(next_try_at) FROM attempt")
        told = status(tmp_path, at)
        assert num > 5
        assert told["waiting"] == {"num": num, "next_try_at": str(next_try)}
        assert told["pending"]["fetch"] == 0
        assert f"waiting  {num} failed items" in run("status", data=tmp_path, settings=at).out
        with writing_catalog(Layout(tmp_path / "demo")) as catalog:
            catalog.connection.execute(f"UPDATE attempt SET attempts = {MAX_RUNS - 1}, next_try_at = last_at")
        go("ingest", data=tmp_path, settings=at)
        assert ask(tmp_path, "SELECT reason, count(*) FROM rejection GROUP BY 1") == [("html", num)]
    with running_simulator(sky) as url:
        at = settings | {"archive.mast_url": url}
        go("ingest", "--retry", data=tmp_path, settings=at)
    assert ask(tmp_path, "SELECT count(sha256), (SELECT count(*) FROM rejection) FROM product") == [(num, 0)]


def test_the_catalog_is_made_anew_from_what_landed(tmp_path: Path) -> None:
    settings = SMALL | {"simulator.num_proposals": 6}
    names = ("observation", "product", "proposal")
    go("ingest", "--no-files", data=tmp_path, settings=settings)
    columns = {name: [c for (c, *_) in ask(tmp_path, f"DESCRIBE {name}") if not c.endswith("_at")] for name in names}
    rows = {name: ask(tmp_path, f"SELECT {', '.join(columns[name])} FROM {name} ORDER BY ALL") for name in names}
    assert ask(tmp_path, "SELECT count(sha256) FROM product") == [(0,)]
    for path in (tmp_path / "demo").glob("catalog.*"):
        path.unlink()
    go("ingest", "--from-raw", data=tmp_path, settings=settings)
    assert {n: ask(tmp_path, f"SELECT {', '.join(columns[n])} FROM {n} ORDER BY ALL") for n in names} == rows
