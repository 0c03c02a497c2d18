"""Pinned facts of the Hubble archive, and the columns that are needed, against recorded answers."""

import json
from pathlib import Path

import pytest

from hubbleclip.archives.check.listing import FILTERED, PRODUCT_TYPES
from hubbleclip.archives.mast.caom_rows import COLUMNS
from hubbleclip.archives.stsci.parsers import parse_apt
from hubbleclip.missions import MISSIONS

DATA = Path(__file__).parents[2].parent / "shared/data"
pytestmark = [pytest.mark.real, pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data at {DATA} are absent")]
PINS = MISSIONS["hst"].pins


def test_the_pinned_file_is_in_a_recorded_product_list() -> None:
    rows = json.loads((DATA / "mast/ngc6543_products.json").read_text())["data"]
    listed = {row["dataURI"]: (row["obs_id"], row["size"], row["proposal_id"]) for row in rows}
    assert PINS.file is not None
    assert listed[PINS.file.uri] == (PINS.file.obs_id, PINS.file.size_bytes, PINS.file.proposal)
    assert {row["productType"] for row in rows} <= PRODUCT_TYPES


def test_the_pinned_preview_is_in_a_recorded_row() -> None:
    rows = json.loads((DATA / "mast/ngc6543_observations.json").read_text())["data"]
    assert PINS.file is not None
    assert PINS.file.preview_uri in {row["jpegURL"] for row in rows if row["obs_id"] == PINS.file.obs_id}


def test_the_pinned_title_is_that_of_the_recorded_apt_file() -> None:
    assert PINS.title is not None
    number, title = PINS.title
    assert parse_apt((DATA / f"proposals/{number}.apt").read_bytes(), number).title == title


def test_the_needed_columns_are_in_the_recorded_description() -> None:
    assert set(json.loads((DATA / "mast/columnsconfig.json").read_text())) >= FILTERED | set(COLUMNS)
