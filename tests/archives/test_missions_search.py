"""Listing by MAST's search API: the same observations, files and proposals as by CAOM, for HST and JWST."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hubbleclip.archives.http.responses import DamagedError
from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.archives.mast.criteria import criteria_of
from hubbleclip.archives.mast.missions_search import (
    caom_row,
    conditions_of,
    mjd_of_date,
    number_of,
    product_row,
    read_search,
)
from hubbleclip.config.settings import ArchiveSettings
from hubbleclip.core.errors import SettingsError
from hubbleclip.core.records import Observation
from hubbleclip.missions import MISSIONS
from hubbleclip.simulator.observations import SkySettings
from hubbleclip.simulator.server.launcher import running_simulator
from tests.archives.conftest import SKY, archive_at, observe

HST, JWST = MISSIONS["hst"], MISSIONS["jwst"]
SKIES = {"hst": SKY, "jwst": SkySettings(mission="jwst", num_proposals=12, frame_px=96)}
COLLECTION = {"hst": {}, "jwst": {"collections": ["JWST"], "instruments": ["NIRCAM*", "MIRI*", "NIRISS*"]}}


@pytest.fixture(scope="module", params=["hst", "jwst"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[MastArchive]]:
    """An archive that lists by CAOM, and one that lists by the search API, of the same server."""
    root = tmp_path_factory.mktemp("missions")
    with running_simulator(SKIES[request.param]) as url:
        yield [
            archive_at(url, root / listing, listing=listing, **COLLECTION[request.param])
            for listing in ("caom", "missions")
        ]


def observations_of(archive: MastArchive) -> dict[str, Observation]:
    """Observations by name in lower case, without Hubble Advanced Products."""
    found = {item.obs_id.lower(): item for item in observe(archive)}
    return {name: item for name, item in found.items() if not name.startswith("hst_")}


def test_both_services_list_the_same_observations(both: list[MastArchive]) -> None:
    caom, missions = map(observations_of, both)
    assert len(missions) > 10
    assert set(missions) == set(caom)
    for name, found in missions.items():
        known = caom[name]
        assert found.instrument.partition("/")[0] == known.instrument.partition("/")[0]
        for field in ("proposal_id", "filters", "target_name", "exposure_s", "calib_level", "ra_deg", "dec_deg"):
            assert getattr(found, field) == getattr(known, field), field
        for field in ("released_mjd", "start_mjd"):
            assert getattr(found, field) == pytest.approx(getattr(known, field), abs=1e-8), field


def test_both_services_lead_to_the_same_files(both: list[MastArchive]) -> None:
    listed = []
    for archive in both:
        observations = list(observations_of(archive).values())
        products, _ = archive.list_products(observations)
        listed.append({(item.uri, item.size_bytes, item.proposal_id) for item in products})
    assert len(listed[0]) > 10
    assert listed[1] == listed[0]


def test_pages_and_windows_lose_no_row(simulator: str, tmp_path: Path) -> None:
    whole, paged = (
        archive_at(simulator, tmp_path / str(size), listing="missions", page_rows=size) for size in (5000, 7)
    )
    assert set(observations_of(paged)) == set(observations_of(whole))
    (criteria,) = criteria_of(ArchiveSettings(instruments=("ACS*",)), HST)
    page = paged.mast.observations(criteria, page=2, page_size=3)
    assert (len(page.rows), page.total) == (3, paged.mast.count(criteria))


def test_a_page_that_lacks_rows_is_refused() -> None:
    with pytest.raises(DamagedError, match="1 of 3 rows") as caught:
        read_search({"totalResults": 3, "results": [{"sci_data_set_name": "A"}]}, {"limit": 10, "offset": 0})
    assert caught.value.reason == "partial"
    assert read_search({"totalResults": 3, "results": [{}]}, {"limit": 2, "offset": 2}).total == 3


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"totalResults": -3, "results": []},
        {"totalResults": 10**400, "results": []},
        {"totalResults": 1, "results": [1]},
    ],
)
def test_a_body_of_another_form_is_damaged(body: dict[str, object]) -> None:
    with pytest.raises(DamagedError, match="no totalResults or no results"):
        read_search(body, {"limit": 10, "offset": 0})


def test_criteria_become_conditions() -> None:
    settings = ArchiveSettings.model_validate(
        {"proposal_numbers": ["17301"], "min_exposure_s": 10, "instruments": ["ACS*"]}
    )
    (criteria,) = criteria_of(settings, HST, settings.proposal_numbers)
    found = {
        name: value
        for entry in conditions_of(criteria | {"t_obs_release": [60000, 60000.5]}, HST.search)
        for name, value in entry.items()
    }
    assert found == {
        "sci_obs_type": "IMAGE",
        "sci_aec": "S",
        "sci_instrume": "ACS",
        "sci_pep_id": "17301",
        "sci_actual_duration": "10.0..1000000000.0",
        "sci_release_date": "2023-02-25 00:00:00.000000..2023-02-25 12:00:00.000000",
    }


def test_levels_are_filtered_where_the_table_has_them() -> None:
    assert conditions_of({"calib_level": [3]}, JWST.search) == [{"productLevel": "3"}]
    assert conditions_of({"calib_level": [2, 3]}, HST.search) == []
    with pytest.raises(SettingsError, match="calib_levels"):
        conditions_of({"calib_level": [3]}, HST.search)


def test_dates_names_and_apertures_are_converted() -> None:
    assert mjd_of_date("2003-01-08T19:00:35.987000") == pytest.approx(52647.79208318)
    assert mjd_of_date(None) is None
    assert number_of("J8DM01ELQ") == number_of("j8dm01elq ") < 10**17
    row = caom_row({"sci_data_set_name": "J8CKA1040", "sci_instrume": "ACS   ", "sci_aper_1234": "HRC-FIX"}, HST)
    assert (row["obs_id"], row["instrument_name"], row["calib_level"]) == ("j8cka1040", "ACS/HRC", 3)
    assert (row["obs_collection"], row["dataproduct_type"], row["intentType"]) == ("HST", "image", "science")
    assert row["obsid"] == row["objID"] == number_of("j8cka1040")
    seconds = [caom_row({"sci_actual_duration": value}, HST)["t_exptime"] for value in (10, 2.5, "10", float("nan"))]
    assert seconds == [10, 2.5, None, None]
    moving = [caom_row({"targtype": value}, JWST)["mtFlag"] for value in ("MOVING", "FIXED", "", None)]
    assert moving == [True, False, False, False]


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("hst/j8cka1041_drz.fits", "science", ("SCIENCE", "DRZ")),
        ("j8cka1041_drz.JPG", "science", ("PREVIEW", None)),
        ("j8cka1041_asn.fits", "auxiliary", ("AUXILIARY", "DRZ")),
        ("j8cka1041_x.fits", None, ("AUXILIARY", "DRZ")),
    ],
)
def test_a_file_becomes_a_row_of_its_type(name: str, kind: str | None, expected: tuple[str, str | None]) -> None:
    row = product_row({"dataset": "J8CKA1040 ", "filename": name, "type": kind, "size": 7, "file_suffix": "DRZ"}, HST)
    file_name, number = name.removeprefix("hst/"), number_of("j8cka1040")
    assert (row["productType"], row["productSubGroupDescription"]) == expected
    assert (row["productFilename"], row["dataURI"]) == (file_name, f"mast:HST/product/{file_name}")
    assert (row["obs_id"], row["obsID"], row["parent_obsid"], row["size"]) == ("j8cka1040", number, number, 7)
