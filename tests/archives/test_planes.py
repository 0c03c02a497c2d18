"""Planes of an observation are one record, whatever their order, and rows that give none are rejected one by one."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from hubbleclip.archives.mast.caom_rows import fold_planes, observation_from_row, rows_by_day, rows_by_observation
from hubbleclip.core.records import Observation
from hubbleclip.missions.hst import HST
from tests.archives.conftest import archive_at
from tests.archives.mallory import Mallory

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLANES: list[dict[str, Any]] = [
    {
        "obs_id": "a",
        "obsid": "5",
        "objID": objid,
        "proposal_id": "1",
        "filters": filters,
        "calib_level": level,
        "t_exptime": seconds,
        "t_obs_release": release,
    }
    for objid, filters, level, seconds, release in [
        ("1", "F606W;CLEAR2L", 3, 10.0, 59000.5),
        ("2", "F814W", 3, 20.0, 59001.5),
        ("3", "F435W", 2, 90.0, 58999.5),
        ("4", "CLEAR2L;F606W", 3, 5.0, 59000.5),
    ]
]


def folded(rows: list[dict[str, Any]]) -> Observation:
    (group,) = rows_by_observation(rows)
    planes = [observation_from_row(row, "hst", NOW, HST.products) for row in group]
    observation = fold_planes([plane for plane in planes if plane is not None])
    assert observation is not None
    return observation


def test_the_deepest_plane_of_the_highest_level_describes_the_observation_and_all_filters_are_named() -> None:
    found = folded(PLANES)
    assert (found.calib_level, found.exposure_s, found.released_mjd) == (3, 20.0, 58999.5)
    assert found.filters == "F814W;F606W;CLEAR2L;F435W"


def test_the_order_of_the_rows_does_not_matter_and_a_change_of_any_plane_is_seen() -> None:
    shuffled = random.Random(1).sample(PLANES, len(PLANES))
    assert folded(shuffled) == folded(PLANES)
    changed = [*PLANES[:3], PLANES[3] | {"t_exptime": 6.0}]
    assert folded(changed).fingerprint != folded(PLANES).fingerprint
    assert folded(PLANES[:3]).fingerprint != folded(PLANES).fingerprint


def test_a_single_plane_stays_as_it_is() -> None:
    assert folded(PLANES[:1]) == observation_from_row(PLANES[0], "hst", NOW, HST.products)
    assert fold_planes([]) is None


def test_two_numbers_under_one_name_are_one_observation_with_the_newest_number() -> None:
    assert folded([PLANES[0], PLANES[0] | {"obsid": "6"}]).obsid == 6


def test_rows_are_counted_by_the_day_of_their_release() -> None:
    assert rows_by_day([*PLANES, {"t_obs_release": None}, {"t_obs_release": "soon"}]) == {58999: 1, 59000: 2, 59001: 1}


@pytest.mark.parametrize(
    ("change", "entity_id", "reason"),
    [
        (
            {"proposal_id": None, "obs_id": "hst_skycell-p1234x12y12_wfc3_uvis_f606w_all"},
            "hst_skycell-p1234x12y12_wfc3_uvis_f606w_all",
            "no_proposal",
        ),
        ({"proposal_id": "  "}, "ibol02010", "no_proposal"),
        ({"obs_id": " "}, "obsid 77", "no_name"),
    ],
)
def test_a_row_that_gives_no_observation_is_rejected_and_counted(
    change: dict[str, object], entity_id: str, reason: str, mallory: Mallory, tmp_path: Any
) -> None:
    mallory.observation |= change
    (page, checkpoint) = archive_at(mallory.url, tmp_path).query_observations(0)
    assert checkpoint.is_checkpoint
    (rejection,) = page.rejections
    assert (rejection.entity, rejection.entity_id, rejection.stage) == ("observation", entity_id, "observations")
    assert (rejection.reason, list(page), page.num_rows) == (reason, [], {59000: 1})
