"""From MAST's rows, and the planes of an observation, to records, and from settings to the questions that MAST is asked."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubbleclip.archives.mast.caom_rows import (
    COLUMNS,
    fingerprint_of,
    fold_rows,
    observation_from_row,
    plain_row,
    rows_by_observation,
)
from hubbleclip.archives.mast.criteria import boxes_around, separation_deg
from hubbleclip.config.settings import read_settings
from hubbleclip.contracts.schema import read_contract
from hubbleclip.core.errors import SettingsError
from hubbleclip.core.records import Observation
from hubbleclip.missions.hst import HST
from tests.archives.conftest import observation

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_each_column_that_the_contract_names_is_read() -> None:
    (contract,) = (one for one in read_contract("catalog").schema_ if one.name == "observation")
    sources = [source for field in contract.properties for source in field.transformSourceObjects or ()]
    assert {source.removeprefix("CAOM ") for source in sources if source.startswith("CAOM ")} == COLUMNS.keys()


@pytest.mark.parametrize("nothing", [None, "", "  ", -999, -999.0, float("nan"), np.float64("nan"), np.ma.masked])
def test_each_way_to_say_nothing_becomes_null(nothing: object) -> None:
    names = "s_ra", "t_exptime", "target_classification", "s_region", "mtFlag", "proposal_id", "calib_level", "dataURL"
    found = observation(**dict.fromkeys(names, nothing))
    assert (found.ra_deg, found.exposure_s, found.target_class, found.footprint) == (None, None, None, None)
    assert (found.is_moving, found.proposal_id, found.calib_level) == (False, "hst:unknown", None)
    assert found.fingerprint == observation(proposal_id=None).fingerprint
    assert observation_from_row({"obs_id": nothing}, "hst", NOW, HST.products) is None


def test_numbers_that_are_none_and_texts_that_are_numbers_are_put_right() -> None:
    found = observation(proposal_id=5092, s_ra="10.5", t_exptime="long", obsid="2e3", calib_level="3", target_name=7)
    assert (found.proposal_id, found.ra_deg, found.exposure_s) == ("hst:5092", 10.5, None)
    assert (found.obsid, found.calib_level, found.target_name) == (None, 3, "7")


values = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, width=32) | st.text()


@given(st.dictionaries(st.sampled_from(sorted(COLUMNS)), values), st.randoms())
def test_a_fingerprint_does_not_hang_on_order_or_numpy_types(row: dict[str, object], rng) -> None:
    names = list(row)
    rng.shuffle(names)
    kinds = {float: np.float64, int: np.int64, str: np.str_}
    other = {name: kinds.get(type(row[name]), lambda value: value)(row[name]) for name in names}
    assert fingerprint_of(plain_row(row)) == fingerprint_of(plain_row(other))


def test_all_columns_that_are_read_and_no_others_are_hashed_however_a_float_is_written() -> None:
    assert observation(t_exptime=1500.0).fingerprint == observation(t_exptime=1500).fingerprint
    first = observation().fingerprint
    assert observation(new_column=1, dataURL="mast:b", wave_min=1.5).fingerprint == first
    changes = {"mtFlag": True, "obsid": "2004", "calib_level": 3}
    changes |= dict.fromkeys(("s_ra", "s_dec", "t_min", "t_exptime"), 1.0)
    changes |= dict.fromkeys(COLUMNS.keys() - {*changes, "t_obs_release"}, "other") | {"t_obs_release": 5.0}
    assert len({observation(**{name: value}).fingerprint for name, value in changes.items()} - {first}) == len(COLUMNS)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        *((name, ("yesterday", "2020-13-01", "2020", "1.1.20")) for name in ("until", "observed_from", "observed_to")),
        *(("since", ("", "yesterday")), ("cone_deg", ((361, 0, 1), (0, 91, 1), (0, 0, 0))), ("intent", ("fun",))),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_setting(name: str, values: tuple[object, ...]) -> None:
    for value in values:
        with pytest.raises(SettingsError, match=rf"setting archive\.{name}"):
            read_settings("demo", {"archive": {name: value}})


angles = st.floats(0, 360)


@given(angles, st.floats(-90, 90), st.floats(1e-4, 180), angles, st.floats(-90, 90))
def test_the_boxes_hold_the_whole_circle_at_the_poles_and_at_ra_0_too(
    ra: float, dec: float, radius: float, other_ra: float, other_dec: float
) -> None:
    if separation_deg(ra, dec, other_ra, other_dec) <= radius:
        assert any(
            box["s_dec"][0] <= other_dec <= box["s_dec"][1]
            and box.get("s_ra", [0, 360])[0] <= other_ra <= box.get("s_ra", [0, 360])[1]
            for box in boxes_around(ra, dec, radius)
        )


@given(angles, st.floats(-89, 89), st.floats(1e-3, 0.5))
def test_the_boxes_share_no_position_and_stay_on_the_sky(ra: float, dec: float, radius: float) -> None:
    boxes = boxes_around(ra, dec, radius)
    spans = sorted(box.get("s_ra", [0, 360]) for box in boxes)
    assert all(0 <= low < high <= 360 for low, high in spans)
    assert all(spans[i][1] < spans[i + 1][0] for i in range(len(spans) - 1))


PLANES: list[dict[str, Any]] = [
    {"obs_id": "a", "obsid": "5", "proposal_id": "1"}
    | dict(zip(("objID", "filters", "calib_level", "t_exptime", "t_obs_release"), values, strict=True))
    for values in [
        ("1", "F606W;CLEAR2L", 3, 10.0, 59000.5),
        ("2", "F814W", 3, 20.0, 59001.5),
        ("3", "F435W", 2, 90.0, 58999.5),
        ("4", "CLEAR2L;F606W", 3, 5.0, 59000.5),
    ]
]


def folded(rows: list[dict[str, Any]]) -> Observation:
    (group,) = rows_by_observation(rows)
    observation = fold_rows(group, "hst", NOW, HST.products)
    assert observation is not None
    return observation


def test_the_deepest_plane_of_the_highest_level_describes_the_observation_and_all_filters_are_named() -> None:
    found = folded(PLANES)
    assert [folded([*PLANES[1:], PLANES[0] | more]).is_moving for more in ({}, {"mtFlag": True})] == [False, True]
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
    assert fold_rows([{}], "hst", NOW, HST.products) is None
