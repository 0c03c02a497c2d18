"""Recorded answers of MAST's search API become observations and product rows."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hubbleclip.archives.mast.caom_rows import observation_from_row
from hubbleclip.archives.mast.missions_search import caom_row, product_row, read_search
from hubbleclip.archives.mast.product_selection import rejection_reason
from hubbleclip.missions import MISSIONS

DATA = Path(__file__).parents[2].parent / "shared/data/mast"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the recorded answers at {DATA} are absent"),
]
HST = MISSIONS["hst"]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def recorded(name: str) -> dict:
    return json.loads((DATA / name).read_text())


def test_a_recorded_count_is_read() -> None:
    assert read_search(recorded("mission_count_only.json"), {"count_only": True}).total == 1_066_009


@pytest.mark.parametrize("name", ["mission_results_0.4.12.json", "mission_results.json"])
def test_recorded_datasets_become_observations(name: str) -> None:
    body = recorded(name)
    params = body["search_params"]
    result = read_search(body, {"limit": params["limit"], "offset": params["offset"]})
    assert len(result.rows) in {3, 10}
    assert set(result.rows[0]) >= set(HST.search.selected)
    for row in result.rows:
        made = observation_from_row(caom_row(row, HST), "hst", NOW, HST.products)
        assert made is not None
        assert made.obs_id == row["sci_data_set_name"].lower()
        assert made.proposal_id == f"hst:{row['sci_pep_id']}"
        assert made.instrument.partition("/")[0] == row["sci_instrume"].strip()
        assert made.filters == row["sci_spec_1234"]
        assert made.calib_level in {2, 3}
        assert 47_000 < (made.released_mjd or 0) < 62_000
        assert 47_000 < (made.start_mjd or 0) < 62_000
        assert made.obsid and made.ra_deg == row["sci_ra"]


def test_a_recorded_grism_exposure_is_rejected_by_its_filters() -> None:
    rows = [
        row for name in ("mission_results_0.4.12.json", "mission_results.json") for row in recorded(name)["results"]
    ]
    (row,) = [row for row in rows if row["sci_spec_1234"] == "G270H"]
    made = observation_from_row(caom_row(row, HST), "hst", NOW, HST.products)
    assert made is not None
    assert rejection_reason(made, HST) == ("not_an_image", "seen through G270H, which disperses light")


def test_the_recorded_conditions_are_those_that_are_sent() -> None:
    sent = {name for entry in recorded("mission_results.json")["search_params"]["conditions"] for name in entry}
    assert sent >= {*HST.search.images, *HST.search.intents["science"], HST.search.columns["instrument_name"]}


def test_recorded_files_become_product_rows() -> None:
    for row in recorded("mission_products.json")["products"]:
        made = product_row(row, HST)
        assert made["dataURI"] == f"mast:HST/product/{row['filename']}"
        assert (made["size"], made["productSubGroupDescription"]) == (row["size"], row["file_suffix"])
        assert made["obs_id"] == row["dataset"].lower()
