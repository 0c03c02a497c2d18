"""Every mission is complete and consistent, so that a new one needs only its own file and an entry."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.archives.mast.criteria import criteria_of
from hubbleclip.archives.registry import ARCHIVES, open_archive
from hubbleclip.config.settings import ArchiveSettings, FetchSettings
from hubbleclip.core.layout import Layout
from hubbleclip.dataset.card import notices
from hubbleclip.fits.instruments import camera_of, mission_of
from hubbleclip.missions import MISSIONS, Mission, mission_of_collections
from hubbleclip.missions.hst import HST
from hubbleclip.missions.jwst import JWST
from hubbleclip.missions.links import STSCI, archive_links, sky_links

ROOT = Path(__file__).parents[2]
each_mission = pytest.mark.parametrize("mission", MISSIONS.values(), ids=list(MISSIONS))
OWN_TABLES = {
    "suffixes of chosen files": r'"(drz|drc|flc|flt|crj|crc|c0m|c0f|i2d)"',
    "bibstems": r"hst\.\.prop|jwst\.prop",
    "folders of the bucket": r"stpubdata/(hst|jwst)|mast:(hst|jwst)/|\b(hst|jwst)/public",
    "camera tables": r'"(ACS|WFC3|WFPC2|NICMOS|STIS|FOC|NIRCAM|MIRI|NIRISS)(/\w+)?"\s*[:=]',
    "pages of proposals": r"(hst|jwst)-program-info",
}
"""What only `missions/` and the simulator, whose job is to imitate them, may hold."""
DEFAULTS = "hubbleclip/config/ingest.py"
"""Defaults of the settings, whose digest is published."""


@each_mission
def test_a_mission_has_an_archive_credits_and_a_name_of_its_own(mission: Mission) -> None:
    assert MISSIONS[mission.name] is mission and mission.name in ARCHIVES and mission.name.islower()
    assert notices([mission.name])[mission.name] == {"licence": mission.licence, "attribution": mission.attribution}
    assert mission.licence and mission.attribution and mission.homepage.startswith("https://")
    assert mission_of({"TELESCOP": mission.telescope}.get) is mission
    assert all(mission_of_collections([name]) is mission for name in mission.collections)


def test_missions_share_no_collection_instrument_camera_or_telescope() -> None:
    for one, two in combinations(MISSIONS.values(), 2):
        assert not set(one.collections) & set(two.collections) and one.telescope != two.telescope
        assert not {name.split("/")[0] for name in one.cameras} & {name.split("/")[0] for name in two.cameras}
        assert not set(one.instruments) & set(two.instruments)


@each_mission
def test_the_ranking_names_only_origins_that_names_have(mission: Mission) -> None:
    ranking = mission.products
    origins = {*ranking.names, ranking.other_origin}
    assert {origin for origin, _ in ranking.order} <= origins
    assert all(re.fullmatch(r"[a-z0-9]{3}", suffix) and why for (_, suffix), why in ranking.order.items())
    assert (ranking.other_origin, "jpg") in ranking.order
    assert set(ranking.all_filters_origins) <= origins
    for pattern in ranking.names.values():
        groups = set(pattern.groupindex)
        assert any(set(re.findall(r"g<(\w+)>", template)) <= groups for template in ranking.visit_templates)


@each_mission
def test_every_instrument_that_is_requested_has_a_camera_and_every_camera_an_instrument(mission: Mission) -> None:
    families = {name.rstrip("*") for name in mission.instruments}
    assert {name.split("/")[0] for name in mission.cameras} >= families
    for name, camera in mission.cameras.items():
        assert any(name.startswith(family) for family in families)
        assert camera.kind and set(camera.bad_flags) == {1} if mission is JWST else camera.bad_flags
        assert camera_of(name) is camera


@each_mission
def test_the_header_convention_names_keywords(mission: Mission) -> None:
    header = mission.header
    keywords = [
        *(word for group in header.filter_keywords for word in group),
        *header.target_keywords,
        *header.pi_keywords,
        *header.exposure_keywords,
        *(word for pair in header.aim_keywords for word in pair),
        header.proposal_keyword,
        header.moving_keyword,
        *header.image_values,
        *header.calibration_keywords,
        *header.gain_keywords,
    ]
    assert all(re.fullmatch(r"[A-Z0-9_-]{1,8}", word) for word in keywords)
    assert all(value == value.upper() for value in header.moving_values | header.calibration_values)


@each_mission
def test_the_bucket_pages_and_bibstem_have_their_forms(mission: Mission) -> None:
    assert mission.bucket.uri_prefix.startswith("mast:") and mission.bucket.path_prefix.endswith("/public/")
    assert len(mission.ads_bibstem) == 9
    pages = mission.proposals
    assert all("{}" in path for path in (pages.apt, pages.page, pages.listing) if path) and pages.apt and pages.page


@each_mission
def test_an_archive_requests_its_own_mission_whatever_the_defaults(mission: Mission) -> None:
    criteria = criteria_of(ArchiveSettings(name=mission.name), mission)
    assert {name for item in criteria for name in item["obs_collection"]} == {mission.collections[0]}
    requested = {name for item in criteria for name in item["instrument_name"]}
    assert requested <= set(mission.instruments) and requested


def test_jwst_prefers_combined_images_and_never_takes_intermediate_files() -> None:
    assert list(JWST.products.order)[:3] == [("combined", "i2d"), ("exposure", "i2d"), ("exposure", "cal")]
    assert not {suffix for _, suffix in JWST.products.order} & {"uncal", "rate", "segm", "cat"}


@pytest.mark.parametrize("pattern", OWN_TABLES.values(), ids=list(OWN_TABLES))
def test_tables_of_a_mission_are_in_its_file_only(pattern: str) -> None:
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "hubbleclip").rglob("*.py")]
    own = ("hubbleclip/missions/", "hubbleclip/simulator/")
    elsewhere = [name for name in files if not name.startswith(own) and name != DEFAULTS]
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in elsewhere}
    assert [name for name, text in texts.items() if re.search(pattern, text)] == []
    assert any(re.search(pattern, (ROOT / f"hubbleclip/missions/{mission}.py").read_text()) for mission in MISSIONS)


def test_there_is_no_condition_on_a_mission() -> None:
    condition = re.compile(r"(==|!=) \"(hst|jwst)\"|\"(hst|jwst)\" (==|!=|in) ", re.IGNORECASE)
    texts = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "hubbleclip").rglob("*.py")}
    assert [name for name, text in texts.items() if condition.search(text)] == []


@pytest.mark.parametrize(
    ("name", "collections", "mission"),
    [("jwst", ["HST"], JWST), ("hst", ["HST"], HST), ("simulated", ["JWST"], JWST), ("simulated", ["HST"], HST)],
)
def test_the_archive_is_of_the_named_mission_or_of_its_collections(
    name: str, collections: list[str], mission: Mission, tmp_path: Path
) -> None:
    settings = ArchiveSettings.model_validate({"name": name, "collections": collections})
    archive = open_archive(settings, FetchSettings(), Layout(tmp_path))
    assert isinstance(archive, MastArchive) and archive.mission is mission


@pytest.mark.parametrize(
    ("scale_arcsec", "size_px", "fov_deg"),
    [(0.05, 512, "0.0142"), (0.05, 64, "0.0050"), (1.0, 512, "0.2844"), (None, 512, "0.0284"), (0.05, None, "0.0062")],
)
def test_atlases_are_opened_at_the_tile_in_twice_its_field(scale_arcsec, size_px, fov_deg) -> None:
    facts = {"ra_deg": 83.82, "dec_deg": -5.39, "pixel_scale_arcsec": scale_arcsec, "size_px": size_px}
    aladin, esasky = (parse_qs(urlsplit(link.url).query) for link in sky_links(facts))
    assert aladin == {"target": ["83.820000 -5.390000"], "fov": [fov_deg]}
    assert esasky == aladin | {"cooframe": ["J2000"], "sci": ["true"]}
    assert sky_links(facts | {"ra_deg": None}) == sky_links(facts | {"dec_deg": None}) == []


def test_a_tile_leads_to_the_pages_of_its_observation_programme_and_file_at_its_mission() -> None:
    facts = {"obs_id": "j8ck01040", "product_uri": "mast:HST/product/a b.fits"}
    assert {link.text: link.url for link in archive_links(facts | {"proposal_id": "hst:9026"})} == {
        "Observation at MAST": "https://archive.stsci.edu/cgi-bin/mastpreview?mission=hst&dataid=J8CK01040",
        "Programme 9026": "https://www.stsci.edu/hst-program-info/program/?program=9026",
        "FITS file": "https://mast.stsci.edu/api/v0.1/Download/file?uri=mast%3AHST%2Fproduct%2Fa+b.fits",
    }
    assert archive_links(facts) == archive_links(facts | {"proposal_id": "simulated:9026"}) == []
    (programme,) = archive_links({"proposal_id": "jwst:1234"})
    assert programme.text == "Programme 1234" and programme.url == STSCI + JWST.proposals.page.format("1234")
