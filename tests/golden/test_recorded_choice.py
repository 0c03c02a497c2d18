"""The choice among the files of odd visits, by several settings: each file, its reason, and each rejection, as recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hubbleclip.archives.mast.product_selection import select_products
from hubbleclip.archives.mast.product_sources import public_path
from hubbleclip.config.settings import ArchiveSettings
from hubbleclip.core.records import Observation, Product, Rejection
from hubbleclip.missions.hst import HST
from hubbleclip.missions.jwst import JWST
from tests.archives.conftest import observation as observation_of
from tests.golden.plain import facts

UVIS, WFC, PC = "WFC3/UVIS", "ACS/WFC", "WFPC2/PC"
VISITS: tuple[tuple[str, str, str, str, dict[str, Any], tuple[str, ...]], ...] = (
    # proposal, observation, instrument, filters, other columns, files
    ("1", "ibol01010", UVIS, "F606W", {}, ("drz", "drc", "flt", "flc", "raw", "thumb.jpg", "drz.jpg", "color.jpg")),
    ("1", "ibol01bvq", UVIS, "F606W", {"t_exptime": 900}, ("flc", "flc.jpg", "d0m.jpg")),
    ("1", "ibol01bwq", UVIS, "F606W", {"t_exptime": 30}, ("flc",)),
    ("1", "hst_1_01_wfc3_uvis_f606w_ibol01", UVIS, "F606W", {}, ("drz:5000000", "drc.jpg")),
    ("1", "hst_1_01_wfc3_uvis_f606w", UVIS, "F606W", {}, ("drz",)),
    (
        "1",
        "hst_1_01_wfc3_uvis_total_ibol01",
        UVIS,
        "DETECTION",
        {},
        ("drc", "drc.jpg", "drc_color.jpg", "drc_thumb.jpg"),
    ),
    ("1", "hst_1_04_wfc3_uvis_total_ibol04", UVIS, "DETECTION", {}, ("drc", "color.jpg")),
    ("1", "ibol02010", UVIS, "F814W", {"s_ra": 10.3}, ("drz:9000000", "flt:7000000")),
    ("1", "ibol03010", UVIS, "F814W;CLEAR", {"target_name": "m51", "s_ra": 10.3001}, ("drz",)),
    ("1", "ibol05010", UVIS, "F275W", {"mtFlag": True, "target_name": "IO"}, ("flt", "drz:2000000", "flc:3000000")),
    ("1", "ibol06010", UVIS, "F275W", {"mtFlag": True, "target_name": "IO", "s_ra": 50}, ("flt",)),
    ("1", "ibol07010", UVIS, "G280", {}, ("drz",)),
    ("1", "ibol08010", UVIS, "F606W", {"obsid": None}, ("drz",)),
    ("1", "hst_skycell-p1234x12y12_wfc3_uvis_f606w_all", UVIS, "F606W", {}, ("drz",)),
    ("2", "j8ck01010", WFC, "CLEAR1L;F435W", {}, ("drz", "asn")),
    ("2", "j8ck01020", WFC, "F435W;CLEAR2L", {}, ("drz",)),
    ("2", "j8ck01030", WFC, "F435W;F606W", {}, ("drz.fit",)),
    ("2", "j8ck02010", WFC, "FR656N", {}, ("drz",)),
    ("2", "j8ck02020", WFC, "FR656N", {}, ("drz",)),
    ("2", "j8ck03010", WFC, "F606W", {"s_ra": None}, ("crj", "crc")),
    ("3", "U27XCS01T", "WFPC2/WFC", "F814W", {}, ("c0m", "drz", "drw", "c0f", "x.jpg")),
    ("3", "hst_3_cs_wfpc2_f814w_wf", PC, "F814W", {}, ("drz",)),
    ("3", "U27XCT01T", "WFPC2/WFC", "F555W", {}, ("c0f", "c0m.fits.gz")),
    ("4", "ibol10010", UVIS, "F606W", {}, ("drz:9000000",)),
    ("unknown", "ibol09010", UVIS, "F606W", {}, ("drz",)),
)
FOREIGN = (
    {"obs_collection": "HLA", "productFilename": "hst_1_03_wfc3_uvis_f814w_drz.fits"},
    {"productFilename": "hst_skycell-p1x1y1_wfc3_uvis_f814w_all_drc.fits"},
    {"productFilename": "hst_9026_02_wfc3_uvis_f814w_ibol03_drz.fits", "proposal_id": None},
    {"proposal_id": "2"},
    {"filters": "F606W;G102"},
    {"dataRights": "exclusive_access"},
    {"obs_id": "IBOL02010", "parent_obsid": 0, "productFilename": "IBOL02010_FLC.FITS"},
    {"obs_id": "ibol03aaq", "obsID": 77, "productFilename": "ibol03aaq_flc.fits"},
    {"productFilename": None, "prvversion": None, "size": None},
    {"productFilename": "ibol03010_flt.fits", "productSubGroupDescription": None},
    {"productFilename": "ibol03010.fits", "productSubGroupDescription": None},
)
"""Rows that are listed with the observation `ibol03010`, by what they differ in from its file."""
CASES: dict[str, dict[str, Any]] = {
    "science": {},
    "all collections": {"collections": ["HST", "HLA"]},
    "small files": {"max_product_mb": 4},
    "very small files": {"max_product_mb": 1},
    "two of a proposal": {"max_products_per_proposal": 2},
    "four of a proposal": {"max_products_per_proposal": 4},
    "previews": {"products": "preview"},
    "total previews": {"products": "total_preview"},
}


def number_of(name: str) -> int:
    return sum(ord(letter) * 31**place for place, letter in enumerate(name.lower())) % 10**9


def made() -> tuple[list[Observation], list[dict[str, Any]]]:
    observations, rows = [], []
    for proposal, name, instrument, filters, more, names in VISITS:
        seen = {"obs_id": name, "obsid": number_of(name), "proposal_id": proposal, "instrument_name": instrument}
        seen |= {"filters": filters, "target_name": "M51", "s_ra": 10.0, "s_dec": 5.0, "t_exptime": 100.0}
        observations.append(observation_of(**seen | more))
        for text in names:
            kind, _, size = text.partition(":")
            file = f"{name.lower()}_{kind}" if "." in kind else f"{name.lower()}_{kind}.fits"
            is_preview = kind.endswith("jpg")
            rows.append(
                {"obsID": number_of(name), "parent_obsid": number_of(name), "obs_id": name, "filters": filters}
                | {"productFilename": file, "dataURI": f"mast:HST/product/{file}", "prvversion": "3.7"}
                | {
                    "productType": "PREVIEW" if is_preview else "SCIENCE",
                    "size": int(size or 100),
                    "obs_collection": "HST",
                }
                | {"productSubGroupDescription": None if is_preview else kind.partition(".")[0].upper()}
                | {"proposal_id": proposal, "description": "Preview-Thumb" if "thumb" in kind else "Preview"}
            )
    own = next(row for row in rows if row["obs_id"] == "ibol03010")
    rows += [own | {"dataURI": f"mast:HST/product/{n}"} | changes for n, changes in enumerate(FOREIGN)]
    return observations, [*rows[::-1], own]


def outcome(chosen: tuple[list[Product], list[Rejection]]) -> list[Any]:
    products, rejections = chosen
    return [list(map(facts, products)), {one.entity_id: [one.reason, one.detail] for one in rejections}]


def test_files_are_chosen_as_recorded(monkeypatch: pytest.MonkeyPatch, compare_recorded: Callable[..., None]) -> None:
    monkeypatch.delenv("MAST_API_TOKEN", raising=False)
    observations, rows = made()
    found: dict[str, Any] = {}
    for name, changes in CASES.items():
        settings = ArchiveSettings.model_validate(changes)
        chosen = select_products(observations, rows, settings, HST, {})
        assert {(one.entity, one.stage, one.settings_digest) for one in chosen[1]} == {
            ("observation", "products", settings.digest())
        }
        products, reasons = outcome(chosen)
        if name == "science":
            found |= {f"science: {one['obs_id']}": one for one in products}
        found[name] = [[one["uri"], one["choice"]] for one in products], reasons
    taken = {"hst:1": frozenset({"ibol06010", "gone"}), "hst:3": frozenset({"U27XCT01T"})}
    limited = ArchiveSettings(max_products_per_proposal=2)
    found["two of a proposal, some taken"] = outcome(select_products(observations, rows, limited, HST, taken))
    few = [one for one in observations if one.obs_id not in {"ibol01010", "j8ck01010"}]
    found["without two observations"] = outcome(select_products(few, rows, limited, HST, {}))
    monkeypatch.setenv("MAST_API_TOKEN", "token")
    found["with a token"] = outcome(select_products(observations[8:9], rows, ArchiveSettings(), HST, {}))
    compare_recorded("choice.json", found)


NAMES = [
    "j8cka1041_drz.fits",
    "U2803E01T_c0m.fits",
    "j8ck01040/j8ck01041_drz.fits",
    "ib6w62tyq_flt.jpg",
    "f05i0201m_a1f.fits.gz",
    "x",
    "_",
    "hst_17301_01_wfc3_uvis_f200lp_if3x01_drc.fits",
    "hst_17301_01_wfc3_uvis_f200lp_if3x01ab_flc.fits",
    "6373413925362335744_drz.fits",
    "hst_17301_01_wfc3_uvis_total_if3x01_drz.fits",
    "hst_05092_3e_wfpc2_f606w_wf_drz.fits",
    "hst_05092_3e_wfpc2_total_wf_drz.jpg",
    "hst_skycell-p1234x05y06_acs_wfc_f814w_all_drz.fits",
    "../../etc/passwd",
    "jw1234-o001_i2d.fits",
    "jw01234-a3001_t001_miri_i2d.fits",
    "jw01234-o001_t001_nircam_clear-f356w_i2d.fits",
    "JW01234001001_02101_00001-seg001_NRCALONG_cal.fits",
    "jw01234001001_02101_00001_nrca1_cal.fits",
    "jw01234-c1001_t001_nircam_clear-f356w_i2d.fits",
    "jw01234-o001_s00001_miri_p750l_x1d.fits",
]


def test_names_tell_what_is_recorded(compare_recorded: Callable[..., None]) -> None:
    found = {}
    for mission in (HST, JWST):
        ranking = mission.products
        for name in NAMES:
            stem = name.rpartition("_")[0]
            parsed = ranking.parse(stem)
            found[f"{mission.name} {name}"] = [
                *(parsed and (parsed[0], parsed[1].groupdict()), ranking.visit(stem), ranking.origin(name)),
                *(ranking.is_mosaic(stem), ranking.is_total(stem), ranking.camera(name)),
                public_path(name.rpartition("/")[2], mission.bucket, name.partition("/")[0]),
            ]
    compare_recorded("names.json", found)
