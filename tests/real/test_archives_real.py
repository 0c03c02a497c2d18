"""Real answers of MAST and STScI, and real files, through the same parsers and archives as everything else."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hubbleclip.archives import open_archive
from hubbleclip.archives.local import LocalArchive
from hubbleclip.archives.mast.caom_rows import observation_from_row
from hubbleclip.archives.mast.client import read_result
from hubbleclip.archives.mast.product_candidates import candidate_from_row
from hubbleclip.archives.mast.product_selection import select_products
from hubbleclip.archives.stsci.parsers import clean_text, parse_abstracts_cat
from hubbleclip.config.settings import ArchiveSettings, FetchSettings
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Observation
from hubbleclip.dataset.captions import title as title_of
from hubbleclip.missions.hst import HST
from hubbleclip.simulator.observations import SkySettings, make_proposals, observations_of
from hubbleclip.simulator.server import mast_tables as tables

DATA = Path(__file__).parents[2].parent / "shared/data"
pytestmark = [pytest.mark.real, pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data at {DATA} are absent")]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def recorded(name: str) -> dict[str, Any]:
    return json.loads((DATA / "mast" / name).read_text())


def rows_of(name: str, *keys: str) -> list[dict[str, Any]]:
    return read_result((DATA / "mast" / name).read_bytes(), keys).rows


@pytest.fixture(scope="module")
def real_observations() -> list[Observation]:
    rows = rows_of("caom.json", "obs_id", "obsid", "proposal_id")
    return [found for found in (observation_from_row(row, "hst", NOW, HST.products) for row in rows) if found]


def test_recorded_observations_are_normalised(real_observations: list[Observation]) -> None:
    assert len(real_observations) == 19
    assert rows_of("countsResp.json", "Column1") == [{"Column1": 599}]
    first = real_observations[0]
    assert (first.obs_id, first.obsid, first.proposal_id) == ("U27XCS01T", 2003585980, "hst:5371")
    assert (first.instrument, first.filters, first.exposure_s, first.calib_level) == ("WFPC2/WFC", "F814W", 1500.0, 3)
    assert (first.footprint or "").startswith("POLYGON GSC1 23.17474785 60.66012593")
    assert not any(item.is_moving for item in real_observations)
    assert [item.proposal_id for item in real_observations if item.instrument == "GALEX"] == ["hst:unknown"]
    visits = {item.obs_id: item.visit for item in real_observations}
    assert visits["U2803E01T"] == "u2803e"
    assert visits["hst_05092_3e_wfpc2_f606w_wf"] == "3e"
    assert [name for name, visit in visits.items() if visit is None] == ["6373413925362335744"]
    assert len({item.fingerprint for item in real_observations}) == 19


def test_the_calibrated_exposure_is_chosen_of_a_recorded_product_list_of_wfpc2() -> None:
    rows = rows_of("products.json", "obsID", "dataURI")
    kinds = [found.kind for found in (candidate_from_row(row, HST.products) for row in rows) if found]
    observation = observation_from_row(
        {"obs_id": "U9O40504M", "obsid": 2003738726, "proposal_id": "9710"}, "hst", NOW, HST.products
    )
    assert observation is not None
    (product,), rejections = select_products([observation], rows, ArchiveSettings(), HST, {})
    assert sorted(kinds) == ["c0f", "c0m", "drz"]
    assert (product.uri, rejections) == ("mast:HST/product/u9o40504m_c0m.fits", [])
    assert product.archive_version == f"-, {product.size_bytes} bytes"


def test_simulated_answers_have_the_recorded_columns_and_types() -> None:
    settings = SkySettings(num_proposals=4)
    proposal = make_proposals(settings)[0]
    observation = observations_of(settings, proposal)[0]
    for name, row, types in (
        ("caom.json", tables.observation_row(observation, proposal), tables.OBSERVATION_FIELDS),
        ("products.json", tables.product_row(observation, observation.products[0]), tables.PRODUCT_FIELDS),
    ):
        answer = recorded(name)
        only_cone = {"distance", "_selected_"}
        for field in answer["fields"]:
            if field["name"] not in only_cone:
                assert types[field["name"]] == field["type"], field
        for column, value in row.items():
            ours = (item for item in answer["data"] if item["obs_collection"] == "HST")
            real = [item[column] for item in ours if item.get(column) is not None]
            if real and value is not None:
                assert isinstance(value, type(real[0])) or {type(value), type(real[0])} == {int, float}, column


def test_the_recorded_column_descriptions_agree_on_what_is_continuous() -> None:
    real, ours = recorded("columnsconfig.json"), tables.columns_config("Mast.Caom.Cone")
    numbers = {"double", "float"}
    for name, column in ours.items():
        if name in real and name not in {"_selected_", "srcDen"}:
            assert (column.get("vot.datatype") in numbers) == (real[name].get("vot.datatype") in numbers), name
            assert column.get("separator") == real[name].get("separator"), name


def letters(text: str | None) -> str:
    return re.sub(r"\s", "", text or "")


def test_the_sample_of_abstracts_is_read_exactly() -> None:
    records = parse_abstracts_cat((DATA / "proposals/abstracts_sample.cat").read_text())
    rows = map(json.loads, (DATA / "proposals/abstracts.jsonl").read_text().splitlines())
    truth = {row["proposal_id"]: row for row in rows if row["mission"] == "HST" and row["proposal_id"]}
    assert {record.number for record in records} == set(truth)
    others = {record.number: record.proposal_type for record in records if record.proposal_type != "GO"}
    assert others == {"17420": "SNAP", "9998": "CAL/NIC"}
    for record in records:
        row = truth[record.number]
        assert not re.search(r"[a-z]- (?!and|or)[a-z]", record.abstract or ""), record.number
        assert letters(record.abstract) == letters(clean_text(row["abstract"]))
        assert (record.title, record.pi, record.cycle) == (clean_text(row["title"]), row["pi"], row["cycle"])
        assert record.category == (row["category"] or None)


def test_no_real_abstract_is_spoiled_by_the_cleaning() -> None:
    for line in (DATA / "proposals/abstracts.jsonl").read_text().splitlines():
        abstract = json.loads(line)["abstract"]
        clean = clean_text(abstract) or ""
        assert len(clean) > 0.9 * len(" ".join(abstract.split()))
        assert "{" not in clean


@pytest.fixture(scope="module", params=["hst_fits", "odd_fits"])
def real_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalArchive]:
    settings = ArchiveSettings(
        name="local", folder=DATA / request.param, proposals_file=DATA / "proposals/abstracts.jsonl"
    )
    archive = open_archive(settings, FetchSettings(), Layout(tmp_path_factory.mktemp("local")))
    assert isinstance(archive, LocalArchive)
    yield archive


def test_every_real_file_gives_an_observation_a_product_and_a_proposal(real_folder: LocalArchive) -> None:
    observations = [item for page in real_folder.query_observations(0) for item in page]
    num_files = len([path for path in real_folder.folder.iterdir() if ".fits" in path.name])
    products, rejections = real_folder.list_products(observations)
    assert len(observations) == num_files == len(products) + len(rejections)
    assert all(real_folder.fetch_product(product).product.sha256 for product in products)
    numbers = {item.proposal_id.partition(":")[2] for item in observations}
    proposals, missing = real_folder.fetch_proposals(sorted(numbers))
    assert len(proposals) == len(numbers)
    assert not missing
    assert all(proposal.title for proposal in proposals)


def test_real_headers_agree_with_the_index_and_without_proposals_describe_their_files() -> None:
    with (DATA / "hst_fits/INDEX.tsv").open() as lines:
        index = {row["path"].rpartition("/")[2]: row for row in csv.DictReader(lines, delimiter="\t")}
    settings = ArchiveSettings(name="local", folder=DATA / "hst_fits")
    archive = open_archive(settings, FetchSettings(), Layout(Path("unused")))
    observations = [found for page in archive.query_observations(0) for found in page]
    for item in observations:
        row = index[item.obs_id]
        if row["proposid"]:
            assert item.proposal_id == f"local:{row['proposid']}"
        assert item.instrument.startswith(row["instrument"] or "UNKNOWN")
        assert set((item.filters or "").split(";")) <= set(row["filter"].split(";"))
    numbers = sorted({item.proposal_id.partition(":")[2] for item in observations})
    proposals = {item.proposal_id: item for item in archive.fetch_proposals(numbers)[0]}
    others = 0
    for item in observations:
        title = title_of(proposals[item.proposal_id], item)
        others += title != proposals[item.proposal_id].title
        assert all(name in title for name in (item.filters or "").split(";"))
        assert (item.target_name or "") in title
    assert others > 10
