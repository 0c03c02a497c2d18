"""From MAST's rows, and the planes of an observation, to records, and from settings to the questions that MAST is asked."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubbleclip.archives.base import proposal_id_of
from hubbleclip.archives.mast.caom_rows import (
    COLUMNS,
    fingerprint_of,
    fold_rows,
    is_moving_class,
    observation_from_row,
    plain_row,
    rows_by_day,
    rows_by_observation,
)
from hubbleclip.archives.mast.criteria import boxes_around, criteria_of, proposal_numbers, separation_deg
from hubbleclip.config.settings import ArchiveSettings, read_settings
from hubbleclip.contracts.schema import read_contract
from hubbleclip.core.errors import SettingsError
from hubbleclip.core.records import Observation
from hubbleclip.missions.hst import HST
from tests.archives.conftest import archive_at, observation, observe
from tests.made_archive import MadeArchive

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


@pytest.mark.parametrize(
    ("target_class", "is_moving"),
    [
        ("SOLAR SYSTEM;COMET", True),
        ("PLANET;JUPITER", True),
        ("GALAXY;PLANETARY NEBULA", False),
        (None, False),
        ("EXTRA-SOLAR PLANETARY SYSTEM", False),
        ("KUIPER BELT OBJECT", True),
        ("SIMULATED;PLANETARY NEBULA", False),
    ],
)
def test_moving_targets_are_known_by_their_class(target_class: str | None, is_moving: bool) -> None:
    assert is_moving_class(target_class) is is_moving
    assert observation(target_classification=target_class, s_region=None).is_moving is is_moving


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


def test_many_proposals_are_asked_for_in_chunks() -> None:
    criteria = criteria_of(ArchiveSettings(instruments=()), HST, list(map(str, range(450))))
    assert [len(item["proposal_id"]) for item in criteria] == [200, 200, 50]
    assert "instrument_name" not in criteria[0]


def test_press_images_are_asked_for_by_programme_and_place_alone_and_are_no_images_to_cut(tmp_path: Path) -> None:
    settings = ArchiveSettings(collections=("HST", "OPO"), instruments=("ACS*",))
    images, press = criteria_of(settings, HST)
    assert (images["obs_collection"], press) == (["HST"], {"obs_collection": ["OPO"]})
    assert len(criteria_of(settings.model_copy(update={"listing": "missions"}), HST)) == 1
    (press,) = criteria_of(ArchiveSettings(collections=("OPO",), targets=("M51",)), HST, ["1"])
    assert press == {"obs_collection": ["OPO"], "proposal_id": ["1"]}
    row = {"obs_id": "hs-2004-32-a", "proposal_id": "10246", "obs_title": "A cloud"}
    with MadeArchive("HST", [(row, {})]) as world:
        world.rows[0]["obs_collection"] = "OPO"
        archive = archive_at(world.url, tmp_path, name="hst", collections=["HST", "OPO"])
        (found,) = observe(archive)
        assert (found.instrument, found.title, found.proposal_id) == ("PRESS", "A cloud", "hst:10246")
        _, (rejection,) = archive.list_products([found])
        assert (rejection.reason, rejection.detail) == ("not_an_image", "the mode PRESS takes no images")


def test_cycles_and_numbers_that_have_nothing_in_common_are_refused() -> None:
    settings = ArchiveSettings(cycles=(20,), proposal_numbers=("1", "2"))
    assert proposal_numbers(settings, ["2", "3"]) == ("2",)
    assert proposal_numbers(ArchiveSettings(cycles=(20,)), ["3"]) == ("3",)
    assert proposal_numbers(ArchiveSettings(proposal_numbers=("1",)), []) == ("1",)
    with pytest.raises(SettingsError, match=r"archive\.cycles"):
        proposal_numbers(settings, ["3"])


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


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [((0, 90), (123, 90), 0), ((359.9, 0), (0.1, 0), 0.2), ((10, 20), (190, -20), 180), ((0, 60), (180, 60), 60)],
)
def test_separations_on_the_sky(first: tuple[float, float], second: tuple[float, float], expected: float) -> None:
    assert separation_deg(*first, *second) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("number", "expected"),
    [("05092", "hst:5092"), (None, "hst:unknown"), (" ", "hst:unknown"), ("000", "hst:unknown"), ("0a1", "hst:0a1")],
)
def test_proposal_ids(number: str | None, expected: str) -> None:
    assert proposal_id_of("hst", number) == expected


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


def test_two_numbers_under_one_name_are_one_observation_with_the_newest_number() -> None:
    assert folded([PLANES[0], PLANES[0] | {"obsid": "6"}]).obsid == 6


def test_rows_are_counted_by_the_day_of_their_release() -> None:
    assert rows_by_day([*PLANES, {"t_obs_release": None}, {"t_obs_release": "soon"}]) == {58999: 1, 59000: 2, 59001: 1}
