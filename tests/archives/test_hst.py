"""The Hubble archive's client against a real HTTP server that speaks MAST's language."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from hubbleclip.archives.base import STALE_NUMBER
from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.simulator.observations import make_proposals, observations_of
from hubbleclip.simulator.server.pages import is_in_bulk_list
from tests.archives.conftest import SKY, archive_at, observe

EXPECTED = {item.obs_id: item for proposal in make_proposals(SKY) for item in observations_of(SKY, proposal)}


def test_every_observation_arrives_once_over_small_windows_and_keeps_what_the_archive_said(
    simulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubbleclip.archives.mast.archive.OBSERVATIONS_PER_PAGE", 7)
    pages = list(archive_at(simulator, tmp_path, page_rows=20).query_observations(0))
    assert max(len(page) for page in pages) <= 7
    assert sorted(item.obs_id for page in pages for item in page) == sorted(EXPECTED)
    for found in (item for page in pages for item in page):
        told = EXPECTED[found.obs_id]
        names = "obsid", "instrument", "filters", "target_name", "target_class", "is_moving", "calib_level"
        for name in (*names, "ra_deg", "dec_deg", "exposure_s", "start_mjd", "released_mjd"):
            assert getattr(found, name) == getattr(told, name), name
        assert found.proposal_id == f"simulated:{told.proposal_number}"


def test_only_what_was_released_since_is_asked_for(archive: MastArchive) -> None:
    released = sorted(item.released_mjd for item in EXPECTED.values())
    since_mjd = released[len(released) // 2]
    found = observe(archive, since_mjd)
    assert {item.obs_id for item in found} == {
        name for name, item in EXPECTED.items() if item.released_mjd >= since_mjd
    }


def test_nothing_new_costs_at_most_one_request_an_instrument(archive: MastArchive) -> None:
    asked: list[str] = []
    observe(archive)
    archive.transport.session.hooks["response"].append(lambda response, **_: asked.append(response.text))
    assert observe(archive, 61000.0) == []
    assert len([text for text in asked if "EXECUTING" not in text]) == len(archive.settings.instruments)


def test_settings_narrow_what_is_asked_for(simulator: str, tmp_path: Path) -> None:
    told = sorted(EXPECTED.values(), key=lambda item: item.start_mjd)
    middle, cycle = told[len(told) // 2], make_proposals(SKY)[0].cycle
    numbers = {item.number for item in make_proposals(SKY) if item.cycle == cycle and is_in_bulk_list(item)}
    day = str(date(1858, 11, 17) + timedelta(days=int(middle.start_mjd)))
    start_mjd = int(middle.start_mjd)
    cone = (middle.ra_deg, middle.dec_deg, 0.01)
    for wanted, settings in (
        ({item.obs_id for item in told if item.target_name == middle.target_name}, {"targets": [middle.target_name]}),
        ({item.obs_id for item in told if item.exposure_s >= 500}, {"min_exposure_s": 500}),
        ({item.obs_id for item in told if item.start_mjd >= start_mjd}, {"observed_from": day}),
        ({item.obs_id for item in told if item.start_mjd < start_mjd}, {"observed_to": day}),
        ({item.obs_id for item in told if item.calib_level == 2}, {"calib_levels": [2]}),
        ({item.obs_id for item in told if item.proposal_number in numbers}, {"cycles": [cycle]}),
        ({item.obs_id for item in told if (item.ra_deg, item.dec_deg) == cone[:2]}, {"cone_deg": cone}),
        (set(), {"intent": "calibration"}),
        (set(), {"until": "2020-01-01"}),
    ):
        assert {item.obs_id for item in observe(archive_at(simulator, tmp_path, **settings))} == wanted, settings


def test_each_observation_gets_its_best_file_once(archive: MastArchive) -> None:
    products, rejections = archive.list_products(observe(archive))
    assert len({product.uri for product in products}) == len(products) == len(EXPECTED)
    assert not rejections
    for product in products:
        kinds = {item.kind.lower() for item in EXPECTED[product.obs_id].products if item.product_type == "SCIENCE"}
        best = next(kind for kind in ("drc", "drz", "drw", "flc", "flt", "c0m") if kind in kinds)
        assert product.kind == best


def test_observations_without_a_usable_file_are_rejected_with_the_reason(archive: MastArchive) -> None:
    some = observe(archive)[:5]
    odd = [
        replace(some[0], proposal_id="simulated:unknown"),
        replace(some[1], obsid=None),
        replace(some[2], obs_id="hst_skycell-p1234x12y12_acs_wfc_f814w_all", visit=None),
        replace(some[3], obsid=1, obs_id="nothing"),
    ]
    products, rejections = archive.list_products(odd)
    assert not products
    assert {item.reason for item in rejections} == {"no_proposal", "no_obsid", "reprocessed", STALE_NUMBER}
    assert all(item.stage == "products" and item.settings_digest == archive.settings.digest() for item in rejections)


def test_an_observation_without_product_rows_is_looked_up_by_its_number(archive: MastArchive) -> None:
    observations = observe(archive)
    gone = replace(observations[0], obsid=999)
    others = [item for item in observations if item.proposal_id != gone.proposal_id]
    assert len(others) < len(observations) - 1, "the whole proposal of the observation has no products"
    products, rejections = archive.list_products([gone, *observations[1:]])
    assert [(item.entity_id, item.reason) for item in rejections] == [(gone.obs_id, STALE_NUMBER)]
    assert products == archive.list_products(others)[0]
