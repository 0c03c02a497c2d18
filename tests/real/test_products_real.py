"""Product lists that MAST has returned: the choice of files and their places in the public bucket."""

from __future__ import annotations

import csv
import re
from typing import Any

import pytest
from real.test_archives_real import DATA, NOW, rows_of

from hubbleclip.archives.mast.caom_rows import observation_from_row
from hubbleclip.archives.mast.product_selection import select_products
from hubbleclip.archives.mast.product_sources import public_path
from hubbleclip.config.settings import ArchiveSettings
from hubbleclip.core.records import Observation, Product
from hubbleclip.missions.hst import HST

pytestmark = [pytest.mark.real, pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data at {DATA} are absent")]


def observed(**row: Any) -> Observation:
    found = observation_from_row(row, "hst", NOW, HST.products)
    assert found is not None
    return found


def ngc6543() -> tuple[list[Observation], list[dict[str, Any]]]:
    """Observations of the 17 recorded product rows, each with the filters of its own file."""
    rows = rows_of("ngc6543_products.json", "obsID", "dataURI")
    own = {row["parent_obsid"]: row for row in rows if row["obs_collection"] == "HST"}
    observations = [
        observed(
            obs_id=row["obs_id"],
            obsid=number,
            proposal_id=row["proposal_id"],
            filters=row["filters"],
            instrument_name="ACS/HRC" if row["obs_id"].startswith("j8cka") else "ACS/WFC",
            target_name="NGC6543",
        )
        for number, row in own.items()
    ]
    return observations, rows


def chosen(observations: list[Observation], rows: list[dict[str, Any]], **settings: object) -> list[Product]:
    return select_products(observations, rows, ArchiveSettings(**settings), HST, {})[0]


def test_of_ngc_6543_the_twelve_current_files_are_chosen() -> None:
    for collections in (("HST",), ("HST", "HLA")):
        names = {item.file_name for item in chosen(*ngc6543(), collections=collections)}
        assert len(names) == 12
        assert all(re.fullmatch(r"j8ck[0a]10[1-6]1_drz\.fits", name) for name in names)


def test_without_their_own_files_the_observations_of_ngc_6543_are_rejected_for_foreign_ones() -> None:
    observations, rows = ngc6543()
    legacy = [row for row in rows if row["obs_collection"] == "HLA"]
    products, rejections = select_products(observations, legacy, ArchiveSettings(), HST, {})
    assert products == []
    refused = [item for item in rejections if item.reason == "foreign_files"]
    assert [item.entity_id for item in refused] == ["j8ck01030"]
    assert "hst_9026_01_acs_wfc_f502n_01_drz.fits is in the collection HLA" in refused[0].detail


def test_the_twelve_files_of_ngc_6543_are_found_in_the_bucket_without_a_lookup() -> None:
    known = (DATA / "mast/ngc6543_s3_uris.txt").read_text().split()
    paths = {public_path(item.file_name, HST.bucket, item.obs_id) for item in chosen(*ngc6543())}
    assert {f"s3://stpubdata/{HST.bucket.path_prefix}{path}" for path in paths} == set(known)


def files_of_17301() -> tuple[list[Observation], list[dict[str, Any]]]:
    """Observations and product rows that the recorded file names of GO-17301 imply."""
    with (DATA / "mast/17301_files.csv").open() as lines:
        names = sorted({row["filename"] for row in csv.DictReader(lines) if row["instrument"] == "HST"})
    observations, rows = {}, []
    for number, name in enumerate((name for name in names if name.endswith(".fits")), 1):
        stem, _, kind = name.removesuffix(".fits").rpartition("_")
        found = re.search(r"_(f\d{3}lp|total)_", name)
        filters = "detection" if found and found[1] == "total" else found[1].upper() if found else "F200LP"
        observations[stem] = observed(
            obs_id=stem,
            obsid=number,
            instrument_name="WFC3/UVIS",
            target_name="RBH-1",
            filters=filters,
            proposal_id=None if "skycell" in stem else "17301",
        )
        row = {"obs_id": stem, "obsID": number, "parent_obsid": number, "obs_collection": "HST", "filters": filters}
        row |= {"productFilename": name, "dataURI": f"mast:HST/product/{name}", "productType": "SCIENCE"}
        rows.append(row | {"productSubGroupDescription": kind.upper()})
    return list(observations.values()), rows


def test_of_programme_17301_the_twelve_files_of_an_astronomer_are_chosen() -> None:
    assert {item.file_name for item in chosen(*files_of_17301())} == HST.pins.file_names


def test_of_the_one_pointing_of_programme_17301_two_files_are_of_two_bands() -> None:
    names = [item.file_name for item in chosen(*files_of_17301(), max_products_per_proposal=2)]
    assert sorted(name.split("_")[5] for name in names) == ["f200lp", "f350lp"]
