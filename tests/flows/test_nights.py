"""Whole commands, night after night: what comes late, what is made anew, what fails for a while."""

from pathlib import Path

import pytest
from commands import SMALL, ask, files_below, go, status

from tests.faulty_archive.archive import FaultySettings, running_archive

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
