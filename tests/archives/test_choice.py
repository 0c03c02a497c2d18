"""The choice of one file for each visit, camera, filter and target, and the reasons for all that is left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubbleclip.archives.mast.product_candidates import Candidate, candidate_from_row
from hubbleclip.archives.mast.product_selection import select_products
from hubbleclip.config.settings import ArchiveSettings
from hubbleclip.core.records import Observation
from hubbleclip.missions.hst import HST
from tests.archives.conftest import observation as observation_of_row

SETTINGS = ArchiveSettings()
VISIT = "hst_12675_02_wfc3_uvis_f606w_ibol02"
LEGACY = "hst_12675_02_wfc3_uvis_f606w"


def observation(obs_id: str = "ibol02010", **row: object) -> Observation:
    number = sum(ord(letter) * 31**i for i, letter in enumerate(obs_id)) % 10**9
    seen = {"obsid": number, "instrument_name": "WFC3/UVIS", "filters": "F606W", "target_name": "M51"}
    return observation_of_row(obs_id=obs_id, **seen | row)


def file_of(owner: Observation, kind: str, **row: object) -> dict[str, Any]:
    name = f"{owner.obs_id.lower()}_{kind}.fits"
    return {
        "obsID": owner.obsid,
        "obs_id": owner.obs_id,
        "dataURI": f"mast:HST/product/{name}",
        "productType": "SCIENCE",
        "productFilename": name,
        "productSubGroupDescription": kind.upper(),
        "size": 10,
        "parent_obsid": owner.obsid,
        **row,
    }


def chosen(
    observations: list[Observation],
    rows: list[dict[str, Any]],
    settings: ArchiveSettings = SETTINGS,
    **taken: frozenset[str],
) -> tuple[list[str], dict[str, str]]:
    """File names, and the reason of each observation without one."""
    products, rejections = select_products(
        observations, rows, settings, HST, {f"hst:{key}": value for key, value in taken.items()}
    )
    return sorted(item.file_name for item in products), {item.entity_id: item.reason for item in rejections}


def ranked(origin: str, kind: str) -> dict[str, Any]:
    order = HST.products.order
    return {"kind": kind, "rank": list(order).index((origin, kind)), "why": order[origin, kind]}


CANDIDATE = Candidate(
    obsid=5,
    owner="ibol02010",
    uri="mast:HST/product/ibol02010_drz.fits",
    file_name="ibol02010_drz.fits",
    **ranked("calibrated", "drz"),
    size_bytes=10,
    fetched_bytes=10,
    archive_version="3.7.2, 10 bytes",
    is_colour=False,
    is_mosaic=False,
    collection="HST",
    proposal_number="12675",
    filters="F606W",
    rights="PUBLIC",
)
CELL, PROPOSAL = "hst_skycell-p1153x11y01_wfc3_uvis_f606w_all", "hst_9026_02_wfc3_uvis_f606w_ibol02"


@pytest.mark.parametrize(
    ("row", "differs"),
    [
        ({}, {}),
        *(({"parent_obsid": number}, {"obsid": 77}) for number in (0, "0", None)),
        ({"size": 0}, {"size_bytes": None, "fetched_bytes": 0, "archive_version": "3.7.2, - bytes"}),
        ({"prvversion": None}, {"archive_version": "-, 10 bytes"}),
        (
            {"productSubGroupDescription": None, "productFilename": "x_FLC.fits"},
            {"file_name": "x_FLC.fits", **ranked("calibrated", "flc")},
        ),
        ({"productFilename": None}, {}),
        ({"obs_id": "IBOL02BVQ"}, {"owner": "ibol02bvq"}),
        ({"obs_collection": "hla", "dataRights": "exclusive"}, {"collection": "HLA", "rights": "EXCLUSIVE"}),
        (
            {"filters": None, "proposal_id": None, "obs_collection": None},
            {"filters": "", "proposal_number": "", "collection": ""},
        ),
        (
            {"productFilename": f"{PROPOSAL}_drz.fits", "proposal_id": None},
            {"file_name": f"{PROPOSAL}_drz.fits", "proposal_number": "9026", **ranked("advanced", "drz")},
        ),
        ({"productFilename": f"{CELL}_drc.fits"}, {"file_name": f"{CELL}_drc.fits", "is_mosaic": True}),
        ({"description": "in colour"}, {"is_colour": True}),
        *(({"productType": kind}, None) for kind in ("AUXILIARY", "PREVIEW")),
        *(({"productSubGroupDescription": kind}, None) for kind in ("RAW", "JPG")),
        ({"dataURI": None}, None),
    ],
)
def test_a_candidate_is_a_calibrated_science_image_and_what_its_row_says(
    row: dict[str, object], differs: dict[str, Any] | None
) -> None:
    said = {"obsID": 77, "parent_obsid": 5, "prvversion": "3.7.2", "proposal_id": "12675", "filters": "F606W"}
    found = candidate_from_row(file_of(observation(), "drz", obs_collection="HST", **said) | row, HST.products)
    assert found == (None if differs is None else replace(CANDIDATE, **differs))


def best_first() -> list[tuple[Observation, str]]:
    """One file of each entry of the ranking in a visit of WFC3, best first, without totals and images of no kind."""
    advanced, exposure, legacy = observation(VISIT), observation(VISIT + "bv"), observation(LEGACY)
    owners = {"advanced": advanced, "exposure": exposure, "calibrated": observation(), "legacy": legacy}
    return [(owners[made_of], kind) for made_of, kind in HST.products.order if made_of in owners and kind != "jpg"]


@given(st.sets(st.integers(0, len(best_first()) - 1), min_size=1), st.randoms())
def test_the_best_file_by_the_written_order_is_taken_whatever_the_order_given(places: set[int], rng) -> None:
    files = [best_first()[place] for place in sorted(places)]
    observations = list({owner.obs_id: owner for owner, _ in files}.values())
    rows = [file_of(owner, kind) for owner, kind in files]
    rng.shuffle(rows)
    rng.shuffle(observations)
    names, reasons = chosen(observations, rows)
    owner, kind = files[0]
    assert names == [f"{owner.obs_id.lower()}_{kind}.fits"]
    assert reasons == {item.obs_id: "covered" for item in observations if item.obs_id != owner.obs_id}


RAMP = {"filters": "FR656N"}  # it covers many bands, and MAST does not say which was set
ADVANCED = {"obs_id": "hst_12675_02_acs_wfc_f606w_ibol02", "instrument_name": "ACS/WFC"}


@pytest.mark.parametrize(
    ("row", "other", "num"),
    [
        ({}, {"filters": "F814W"}, 2),
        ({}, {"target_name": "M52"}, 2),
        ({}, {"instrument_name": "WFC3/IR"}, 2),
        ({}, {"obs_id": "ibol03010"}, 2),
        ({}, {"proposal_id": "12676"}, 2),
        (RAMP, RAMP, 2),
        ({"instrument_name": "ACS/WFC", "filters": "F606W;CLEAR2L"}, ADVANCED, 1),
    ],
)
def test_another_visit_camera_filter_target_or_ramp_has_a_file_of_its_own_whatever_the_limit_of_a_proposal(
    row: dict[str, str], other: dict[str, str], num: int
) -> None:
    one, two = observation("ibol02010", **row), observation(**{"obs_id": "ibol02020", **other})
    rows = [file_of(one, "drz"), file_of(two, "flt")]
    assert len(chosen([one, two], rows)[0]) == num
    assert len(chosen([one, two], rows, limited(1))[0]) == len({one.proposal_id, two.proposal_id})


def test_the_number_of_the_own_proposal_is_known_with_and_without_zeros() -> None:
    own = observation(proposal_id="9026")
    assert chosen([own], [file_of(own, "drz", proposal_id="09026")])[0] == ["ibol02010_drz.fits"]


def visits(num: int) -> tuple[list[Observation], list[dict[str, Any]]]:
    observations = [observation(f"ibol{i:02d}010") for i in range(num)]
    return observations, [file_of(item, "drz") for item in observations]


def limited(most: int) -> ArchiveSettings:
    return SETTINGS.model_copy(update={"max_products_per_proposal": most})


@given(st.integers(1, 12), st.integers(1, 12), st.randoms())
def test_the_draw_grows_with_the_limit_and_shrinks_to_a_part_of_itself(one: int, two: int, rng) -> None:
    observations, rows = visits(12)
    rng.shuffle(observations)
    few, many = (set(chosen(observations, rows, limited(most))[0]) for most in sorted((one, two)))
    assert few <= many
    assert (len(few), len(many)) == tuple(sorted((one, two)))


@given(st.integers(1, 8), st.integers(1, 12))
def test_taken_files_stay_when_more_observations_come(most: int, num_early: int) -> None:
    observations, rows = visits(12)
    early, _ = select_products(observations[:num_early], rows[:num_early], limited(most), HST, {})
    taken = {"hst:12675": frozenset(item.obs_id for item in early)}
    later, rejections = select_products(observations, rows, limited(most), HST, taken)
    assert {item.uri for item in early} <= {item.uri for item in later}
    assert len(later) == most
    assert {item.reason for item in rejections} <= {"over_limit"}


def drawn(most: int, *rows: tuple[str, float, str]) -> list[tuple[str, float]]:
    """Filter and position of the files that are drawn from visits, each with its filter, position and name."""
    observations = [observation(name, filters=band, s_ra=ra, s_dec=0.0) for band, ra, name in rows]
    products, _ = select_products(observations, [file_of(item, "drz") for item in observations], limited(most), HST, {})
    by_name = {item.obs_id: item for item in observations}
    return [((found := by_name[item.obs_id]).filters or "", found.ra_deg or 0.0) for item in products]


def test_new_pointings_are_drawn_first_then_new_bands_then_repeat_visits() -> None:
    visits = [
        ("F814W" if letter == "b" else "F606W", ra, f"ibol{place}{letter}010")
        for place, ra in enumerate((10.0, 20.0, 30.0))
        for letter in "abcdefgh"
    ]
    assert {ra for _, ra in drawn(3, *visits)} == {10.0, 20.0, 30.0}
    assert len(set(drawn(6, *visits))) == 6
    assert Counter(ra for _, ra in drawn(9, *visits)) == {10.0: 3, 20.0: 3, 30.0: 3}


def test_dithers_are_one_pointing_and_a_mosaic_is_many() -> None:
    dithers = [("F606W", 10.0 + i / 3600, f"ibol{i:02d}010") for i in range(6)]
    mosaic = [("F606W", 10.5 + i / 20, f"ibol1{i}010") for i in range(4)]
    assert {ra for _, ra in drawn(5, *dithers, *mosaic)} >= {10.5 + i / 20 for i in range(4)}


def test_a_moving_target_is_one_pointing_wherever_it_is() -> None:
    planet = [
        observation(f"ibol{i:02d}010", target_name="JUPITER", s_ra=10.0 * i, s_dec=0, mtFlag=True) for i in range(6)
    ]
    moon = observation("ibol10010", target_name="IO", s_ra=0, s_dec=0, mtFlag=True)
    observations = [*planet, moon]
    products, _ = select_products(observations, [file_of(item, "drz") for item in observations], limited(2), HST, {})
    assert moon.obs_id in {item.obs_id for item in products}


def test_taken_files_stay_when_an_advanced_product_of_their_visit_comes() -> None:
    observations, rows = visits(6)
    first = chosen(observations, rows, limited(1))[0]
    name = first[0].removesuffix("_drz.fits")
    advanced = observation(f"hst_12675_{name[4:6]}_wfc3_uvis_f606w_{name[:6]}")
    again, _ = chosen(
        [*observations, advanced], [*rows, file_of(advanced, "drc")], limited(1), **{"12675": frozenset({name})}
    )
    assert again == [f"{advanced.obs_id}_drc.fits"]
