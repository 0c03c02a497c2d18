"""Recorded rows of MAST's observation table through the client: planes, missing proposals, all columns of 2026."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from real.test_archives_real import DATA, rows_of

from hubbleclip.archives.base import ObservationPage
from hubbleclip.archives.mast.raw_responses import OBSERVATIONS, RawResponses
from hubbleclip.core.layout import Layout
from hubbleclip.simulator.server.mast_tables import OBSERVATION_FIELDS
from tests.archives.conftest import archive_at

pytestmark = [pytest.mark.real, pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data at {DATA} are absent")]
PLANES, ROWS_OF_2026 = "astroquery_advSearchPos_galex.json", "ngc6543_observations.json"


def page_of(rows: list[dict[str, Any]], folder: Path) -> ObservationPage:
    """The page that the archive's client makes of these rows."""
    RawResponses(Layout(folder)).store(OBSERVATIONS, [row["obsid"] for row in rows], rows)
    (page,) = archive_at("http://127.0.0.1:1", folder, from_raw=True).query_observations(0)
    return page


def test_recorded_planes_are_observations_of_several_bands(tmp_path: Path) -> None:
    page = page_of([row | {"proposal_id": "1"} for row in rows_of(PLANES, "obs_id", "obsid")], tmp_path)
    assert len(page) == 6
    assert {frozenset(str(item.filters).split(";")) for item in page} == {frozenset({"FUV", "NUV"})}
    assert {item.obs_id: item.exposure_s for item in page}["3116774753642217472"] == 13294.4
    assert sum(page.num_rows.values()) == 12


def test_recorded_rows_without_a_proposal_are_rejected_one_by_one(tmp_path: Path) -> None:
    rows = [row for row in rows_of(PLANES, "obs_id", "obsid") if row["proposal_id"] is None]
    page = page_of(rows, tmp_path)
    names = {row["obs_id"] for row in rows}
    assert len(page) == 0
    assert {(item.entity_id, item.reason) for item in page.rejections} == {(name, "no_proposal") for name in names}


def test_recorded_rows_of_2026_are_read_and_may_be_released_before_their_exposure(tmp_path: Path) -> None:
    page = page_of(rows_of(ROWS_OF_2026, "obs_id", "obsid"), tmp_path)
    assert (len(page), list(page.rejections)) == (5, [])
    assert {(item.proposal_id, item.obsid) for item in page} >= {("simulated:9026", 26095321)}
    assert any(item.released_mjd < item.start_mjd for item in page)


def test_the_simulated_archive_has_all_recorded_columns() -> None:
    recorded = json.loads((DATA / "mast" / ROWS_OF_2026).read_text())["data"][0]
    assert set(OBSERVATION_FIELDS) == set(recorded) - {"_selected_", "distance"}
