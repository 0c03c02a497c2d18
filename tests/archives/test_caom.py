"""From MAST's rows to records, and the choice of files."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from hubbleclip.archives.base import proposal_id_of
from hubbleclip.archives.caom import (
    candidate_from_row,
    criteria_of,
    group_candidates,
    is_moving_class,
    observation_from_row,
)
from hubbleclip.records import Observation
from hubbleclip.settings import ArchiveSettings

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def observation(**row: object) -> Observation:
    found = observation_from_row({"obs_id": "ibol02010", "obsid": "2003", "proposal_id": "12675", **row}, "hst", NOW)
    assert found is not None
    return found


def product(**row: object) -> dict[str, object]:
    return {
        "obsID": 2003, "obs_id": "ibol02010", "dataURI": "mast:HST/product/a_drz.fits", "productType": "SCIENCE",
        "productFilename": "a_drz.fits", "productSubGroupDescription": "DRZ", "size": 10, **row,
    }  # fmt: skip


def test_obsid_in_a_string_column_becomes_a_number_and_is_not_obs_id() -> None:
    found = observation()
    assert (found.obsid, found.obs_id, found.proposal_id) == (2003, "ibol02010", "hst:12675")


def test_a_row_of_nulls_becomes_nulls() -> None:
    found = observation(
        s_ra=None, t_exptime=None, target_classification=None, s_region=None, mtFlag=None, proposal_id=None
    )
    assert (found.ra_deg, found.exposure_s, found.target_class, found.footprint) == (None, None, None, None)
    assert (found.is_moving, found.proposal_id) == (False, "hst:unknown")
    assert observation_from_row({"obs_id": None}, "hst", NOW) is None


def test_positions_off_the_sky_are_dropped() -> None:
    found = observation(s_ra=361.0, s_dec=-91.0)
    assert (found.ra_deg, found.dec_deg) == (None, None)


@pytest.mark.parametrize(
    ("target_class", "is_moving"),
    [
        ("SOLAR SYSTEM;COMET", True), ("PLANET;JUPITER", True), ("GALAXY;PLANETARY NEBULA", False), (None, False),
        ("EXTRA-SOLAR PLANETARY SYSTEM", False), ("KUIPER BELT OBJECT", True), ("SIMULATED;PLANETARY NEBULA", False),
    ],
)  # fmt: skip
def test_moving_targets_are_known_by_their_class(target_class: str | None, is_moving: bool) -> None:
    assert is_moving_class(target_class) is is_moving
    assert observation(target_classification=target_class, s_region=None).is_moving is is_moving


def test_the_flag_of_moving_targets_counts_beside_a_footprint() -> None:
    assert observation(mtFlag=True, s_region="POLYGON ICRS  1 2").is_moving
    assert observation(s_region="POLYGON GSC1  1  2").footprint == "POLYGON GSC1 1 2"


def test_each_wildcard_is_a_query_of_its_own_and_exact_names_share_one() -> None:
    settings = ArchiveSettings(instruments=("WFC3*", "ACS/WFC", "WFPC2*", "ACS/HRC"), proposal_numbers=("1", "2"))
    criteria = criteria_of(settings, 1.0, 2.0)
    assert [item["instrument_name"] for item in criteria] == [["WFC3*"], ["WFPC2*"], ["ACS/WFC", "ACS/HRC"]]
    assert all(item["proposal_id"] == ["1", "2"] and item["t_obs_release"] == [1.0, 2.0] for item in criteria)


def test_many_proposals_are_asked_for_in_chunks() -> None:
    criteria = criteria_of(ArchiveSettings(instruments=(), proposal_numbers=tuple(map(str, range(450)))), 0, 1)
    assert [len(item["proposal_id"]) for item in criteria] == [200, 200, 50]
    assert "instrument_name" not in criteria[0]


@pytest.mark.parametrize(
    "row",
    [
        {"productType": "AUXILIARY"},
        {"productSubGroupDescription": "RAW"},
        {"dataURI": None},
        {"productType": "PREVIEW"},
    ],
)
def test_only_calibrated_science_images_are_candidates(row: dict[str, object]) -> None:
    assert candidate_from_row(product()) is not None
    assert candidate_from_row(product(**row)) is None


def test_a_null_sub_group_is_read_from_the_files_name() -> None:
    found = candidate_from_row(product(productSubGroupDescription=None, productFilename="x_FLC.fits"))
    assert found is not None
    assert found.kind == "flc"


def test_files_of_the_observation_come_before_better_kinds_of_its_members() -> None:
    rows = [
        product(dataURI="mast:m_drz", obs_id="ibol02bvq"),
        product(dataURI="mast:own_flt", productSubGroupDescription="FLT"),
        product(dataURI="mast:own_flc", productSubGroupDescription="FLC"),
        product(dataURI="mast:own_flc", productSubGroupDescription="FLC"),
    ]
    candidates = [item for item in map(candidate_from_row, rows) if item]
    groups = group_candidates([observation()], candidates)
    assert [item.uri for item in groups["ibol02010"]] == ["mast:own_flc", "mast:own_flt", "mast:m_drz"]


def test_a_parent_number_of_zero_falls_back_to_the_products_own() -> None:
    found = candidate_from_row(product(parent_obsid=0))
    assert found is not None
    assert found.obsid == 2003


def test_a_product_under_an_unknown_number_is_found_by_its_name() -> None:
    found = candidate_from_row(product(obsID=77, obs_id="IBOL02010"))
    assert found is not None
    assert group_candidates([observation()], [found])["ibol02010"] == [found]


@pytest.mark.parametrize(
    ("number", "expected"), [("05092", "hst:5092"), (None, "hst:unknown"), (" ", "hst:unknown"), ("a1", "hst:a1")]
)
def test_proposal_ids(number: str | None, expected: str) -> None:
    assert proposal_id_of("hst", number) == expected
