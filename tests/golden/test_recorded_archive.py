"""One night of each archive, of made rows and files: all requests, rows, rejections and files, compared with recorded ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.archives.mast.criteria import criteria_of, mjd_of, proposal_numbers, release_window
from hubbleclip.archives.mast.date_windows import spans
from hubbleclip.archives.mast.missions_search import conditions_of
from hubbleclip.config.settings import ArchiveSettings
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.records import Product
from hubbleclip.fits.sieve import filtered
from hubbleclip.missions import MISSIONS
from tests.archives.conftest import archive_at
from tests.archives.test_cadc import Cadc
from tests.archives.test_cadc import archive_at as cadc_at
from tests.archives.test_windows import SPAN, Server
from tests.bad_server import BadServer, Respond, give
from tests.golden.plain import all_facts, facts, files, requests, without
from tests.made_archive import FIRST_MJD, MadeArchive, SparseFile, observation

SMALL, LARGE = SparseFile({"SCI": 40, "WHT": 40}), SparseFile({"SCI": 720, "ERR": 720, "DQ": 30})
UVIS, WFC, TOTAL = "WFC3/UVIS", "ACS/WFC", "hst_9001_01_wfc3_uvis_total_ibol01"
ADVANCED, CELL = "hst_9001_01_wfc3_uvis_f606w_ibol01", "hst_skycell-p1234x12y12_acs_wfc_f814w_all"
ROWS: tuple[tuple[str, str, str, str, int, str, dict[str, Any]], ...] = (
    ("ibol01010", "9001", UVIS, "F606W", 3, "drz", {"s_region": "POLYGON  1 2", "target_classification": "GALAXY"}),
    ("ibol01bvq", "9001", UVIS, "F606W", 2, "flc", {"t_exptime": 50.0, "obs_title": " A\ttitle\u202e "}),
    (ADVANCED, "9001", UVIS, "F606W", 3, "drc", {}),
    (TOTAL, "9001", UVIS, "DETECTION", 3, "drc", {}),
    ("IBOL02010", "09001", UVIS, "F814W;CLEAR", 3, "drz", {"target_name": "Neptune", "mtFlag": True, "s_ra": "-12.5"}),
    ("ibol03010", "9001", "WFC3/IR", "G141", 3, "drz", {"t_exptime": -999, "s_dec": 91.0}),
    ("ibol04010", "9001", "WFC3/IR", "F160W", 3, "drz", {"target_classification": "STAR;COMET", "t_min": float("nan")}),
    (CELL, "9002", WFC, "F814W", 3, "drc", {}),
    ("j8ck01010", "9002", WFC, "F435W;CLEAR2L", 3, "drz", {"t_exptime": 700.0}),
    ("j8ck01020", "9002", WFC, "CLEAR1L;F814W", 2, "flc", {}),
    ("j8ck02010", "9002", WFC, "FR656N", 3, "drz", {"s_ra": 10.2}),
    ("j8ck02020", "9002", WFC, "FR656N", 3, "drz", {"s_ra": 10.2, "calib_level": "3"}),
    ("u27xcs01t", "9003", "WFPC2/WFC", "F814W", 2, "c0m", {"obs_title": None}),
    ("hst_9003_cs_wfpc2_f814w_wf", "9003", "WFPC2/PC", "F814W", 3, "drz", {}),
    ("ibol09010", "000", UVIS, "F606W", 3, "drz", {}),
    (" ", "9003", UVIS, "F606W", 3, "", {}),
)
"""Observation, proposal, instrument, filters, level, kind of the file, and other columns."""
DATES = {"since": "2023-02-20", "until": "2023-12-31"}
ASKED = {"name": "hst", "calib_levels": [2, 3], "page_rows": 2} | DATES


def in_turn(*responses: Respond) -> Respond:
    """Give each response once, and the last one again."""
    left = list(responses)

    def respond(handler: Any) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler)

    return respond


def night() -> MadeArchive:
    """An archive with odd rows, whose answers and files sometimes fail."""
    made = [(observation(*row) | more, kind, LARGE if kind == "flc" else SMALL) for *row, kind, more in ROWS]
    world = MadeArchive("HST", [(row, {f"{kind}.fits": file} if kind else {}) for row, kind, file in made])
    world.rows += [world.rows[0] | {"objID": 101, "filters": "F336W", "calib_level": 2, "t_exptime": 900.0}]
    world.rows += [world.rows[8] | {"objID": 102, "t_obs_release": FIRST_MJD + 40}]
    drizzled, exposure = world.products[0], world.products[1]
    renamed = {"productFilename": "ibol01bvq_flt.fits", "dataURI": "mast:HST/product/ibol01bvq_flt.fits"}
    world.products += [
        drizzled,
        exposure | renamed | {"productSubGroupDescription": None, "parent_obsid": 1, "obsID": 2},
        drizzled | {"obs_collection": "HLA", "dataURI": "mast:HLA/x", "productFilename": "hla_drz.fits"},
        drizzled | {"productType": "AUXILIARY", "dataURI": "mast:HST/product/a"},
        world.products[9] | {"dataRights": "EXCLUSIVE_ACCESS"},
        world.products[10] | {"size": 7e8, "dataURI": "mast:HST/product/l", "productFilename": "j8ck02010_drc.fits"},
    ]
    del world.products[9], world.products[12]
    bucket, file = "/stpubdata/hst/public", "/api/v0.1/Download/file?uri=mast%3AHST%2Fproduct%2F"
    drz, name = world.give_file("j8ck01010_drz.fits"), f"{ADVANCED}_drc.fits"
    looked_up = {f"mast:HST/product/{name}": {"path": f"/hst/public/ibol/ibol01/{name}"}}
    cut = give(SMALL.read(0, 9000), length=SMALL.size, ETag='"1"')
    world.table |= {
        f"{bucket}/j8ck/j8ck01010/": give(b"", 403),
        f"{file}j8ck01010": in_turn(give(b"", 503), give(b"", 302, Location="/moved/j8ck01010_drz.fits")),
        "/moved/": in_turn(cut, drz),
        f"{bucket}/j8ck/j8ck02020/": give(SMALL.read(0, 8640)),
        f"{file}u27xcs01t": give(b"<html>", Content_Type="text/html"),
        f"{bucket}/u27x/": give(b"", 404),
        "/api/v0.1/path_lookup/?uri=mast%3AHST%2Fproduct%2Fhst_9001": give(json.dumps(looked_up).encode()),
    }
    return world


def outcome(archive: MastArchive, product: Product) -> Any:
    try:
        return facts(archive.fetch_product(product).product)
    except HubbleclipError as error:
        return [type(error).__name__, str(error)]


def record(archive: MastArchive, server: BadServer, contents: Sequence[bytes] = ()) -> dict[str, Any]:
    """What an archive asks and answers, step by step."""
    found: dict[str, Any] = {}
    pages = list(archive.query_observations(mjd_of(archive.settings.since)))
    observations = [one for page in pages for one in page]
    found["pages"] = [[[one.obs_id for one in page], dict(page.num_rows), all_facts(page.rejections)] for page in pages]
    found["pages, requests"] = requests(server)
    found |= {f"observation {one.obs_id}": facts(one) for one in observations}
    found["rows"] = [archive.count_rows(*dates) for dates in ((0.0, 99_999.0), (FIRST_MJD, FIRST_MJD + 0.5))]
    later = archive.query_observations(FIRST_MJD + 0.2, FIRST_MJD + 1)
    found["later"] = [[one.obs_id for one in page] for page in later]
    found["later, requests"] = requests(server)
    products, rejections = archive.list_products(observations)
    found["rejections"] = all_facts(rejections)
    found["products, requests"] = requests(server)
    for product in products:
        found[f"product {product.file_name}"] = facts(product)
        found[f"fetched {product.file_name}"] = outcome(archive, product)
        found[f"fetched {product.file_name}, requests"] = requests(server)
    names = [(sha256_bytes(one), f"content {number}") for number, one in enumerate(contents)]
    found["files"] = files(archive.layout.root)
    digest = archive.settings.digest()
    return without(found, (server.url, "URL"), (server.host, "HOST"), (digest, "digest"), *names)


def test_a_night_at_mast_is_the_recorded_one(tmp_path: Path, compare_recorded: Callable[..., None]) -> None:
    with night() as world:
        archive = archive_at(world.url, tmp_path, **ASKED, sources=("s3", "mast"), min_free_gb=0)
        contents = [one.read(0, one.size) for one in (SMALL, LARGE)]
        found = record(archive, world, [*contents, filtered(contents[1])[0]])
        offline = archive_at("http://127.0.0.1:1", tmp_path, **ASKED, from_raw=True)
        observations = [one for page in offline.query_observations(0.0) for one in page]
        products, rejections = offline.list_products(observations)
        found["from raw"] = [[one.file_name for one in products], [one.entity_id for one in rejections]]
        listed, stale = archive.list_products([replace(observations[0], obsid=999), *observations[1:]])
        found["stale"] = [[one.file_name for one in listed], [[one.entity_id, one.reason] for one in stale]]
        found["stale, requests"] = requests(world)
        known = [archive.fetch_product(one).product for one in products[:3]]
        for kept in known:
            delivery = archive.fetch_product(replace(kept, path=None), is_kept=False)
            assert facts(delivery.product) == facts(replace(kept, path=None)), "a small file comes in memory alone"
            assert sha256_bytes(delivery.data or b"") == kept.sha256
        requests(world)
        unsteady = in_turn(give(b"", ETag='"2"'), give(b"", ETag='"3"'))
        changed = {"ibol01010/": give(b"x", ETag='"2"'), "ibol04010/": give(b"", 503)}
        world.table |= {f"/stpubdata/hst/public/ibol/{folder}": response for folder, response in changed.items()}
        world.table["/api/v0.1/Download/file?uri=mast%3AHST%2Fproduct%2FIBOL02010"] = unsteady
        found["renewed"] = without(archive.renewed_files(known), (world.url, "URL"))
        found["renewed, requests"] = requests(world)
        for dates in ((60_300.0, None), (50_000.0, 51_825.0), (50_000.0, 51_825.5), (0.0, 1.0)):
            list(archive.query_observations(*dates))
            found[f"asked from {dates}"] = [query["params"]["columns"] for _, query in requests(world)]
    compare_recorded("archive_mast.json", found)


class SearchApi(BadServer):
    """MAST's search API of these datasets, filtered by date and instrument."""

    def __init__(self, rows: Sequence[dict[str, Any]], products: Sequence[dict[str, Any]]) -> None:
        super().__init__()
        self.rows, self.products = rows, products

    def respond(self, handler: Any) -> None:
        if not handler.path.startswith("/search/"):
            super().respond(handler)
            return
        asked = json.loads(handler.body)
        if "dataset_ids" in asked:
            listed = [one for one in self.products if one["dataset"] in asked["dataset_ids"]]
            is_flat = asked["dataset_ids"][0].startswith("jw")
            give(json.dumps({"products": listed if is_flat else [listed]}).encode())(handler)
            return
        wanted = {name: value for part in asked["conditions"] for name, value in part.items()}
        low, high = next(value for value in wanted.values() if ".." in value).split("..")
        rows = [row for row in self.rows if low <= row["released"] <= high]
        shown = [] if asked.get("count_only") else rows[asked["offset"] :][: asked["limit"]]
        give(json.dumps({"totalResults": len(rows), "results": shown}).encode())(handler)


NAMES = {
    "hst": ("J8CK01010", "j8ck01aaq", "IBOL02010"),
    "jwst": [f"jw0100100{n}001_02101_00001_nrca1" for n in (1, 2, 3)],
}
COLUMNS = [
    "proposal_id",
    "instrument_name",
    "target_name",
    "s_ra",
    "t_exptime",
    "calib_level",
    "mtFlag",
    "t_obs_release",
    "t_min",
    "s_dec",
]
VALUES = (
    ("09001", "ACS  ", " T1 ", 10.0, 100, "3", "FIXED", "WFC1-CTE"),
    ("9002", "ACS", "T2", 359.0, 2.5, "2b", "MOVING", "HRC"),
    ("9003", "WFC3", "", None, "7", "1", None, "UVIS2-C1K1C-SUB"),
)
FILE = "dataset", "filename", "type", "size", "file_suffix"
FILES = (
    ("drz.fits", "science", 9, "DRZ"),
    ("cal.fits", "SCIENCE", None, "cal"),
    ("drz.jpg", "x", 7, ""),
    ("asn.fits", None, 7, "ASN"),
)


def datasets(mission: str) -> list[dict[str, Any]]:
    """Rows of the search API, with every column that is read."""
    columns, rows = MISSIONS[mission].search, []
    for number, (name, (*values, detector)) in enumerate(zip(NAMES[mission], VALUES, strict=True), 1):
        date = f"2023-03-0{number} 01:00:00.000000"
        known = dict(zip(COLUMNS, [*values, date, date.replace("2023", "2022"), -5.0], strict=True))
        row = {column: known.get(name, f"{name} {number}") for name, column in columns.columns.items()}
        rows.append(row | {columns.dataset: name, columns.detector: detector, "released": date})
    return rows


@pytest.mark.parametrize("mission", ["hst", "jwst"])
def test_a_night_at_the_search_api_is_the_recorded_one(
    mission: str, tmp_path: Path, compare_recorded: Callable[..., None]
) -> None:
    rows = datasets(mission)
    listed = [(name, f"x/{name.lower()}_{end}", *rest) for name in NAMES[mission] for end, *rest in FILES]
    products = [dict(zip(FILE, values, strict=True)) for values in listed]
    settings = {"name": mission, "listing": "missions", "instruments": ["WFC3*", "MIRI*"], "page_rows": 2} | DATES
    with SearchApi(rows, products) as server:
        found = record(archive_at(server.url, tmp_path, **settings, attempts=1), server)
    compare_recorded(f"archive_search_{mission}.json", found)


def test_a_night_at_cadc_is_the_recorded_one(tmp_path: Path, compare_recorded: Callable[..., None]) -> None:
    asked = {
        "proposal_numbers": ["9001", "9003"],
        "since": "2009-12-25",
        "until": "2010-02-01",
        "targets": ["NGC*", "O'Neil"],
    }
    with Cadc() as server:
        found = record(cadc_at(server.url, tmp_path, page_rows=3, **asked), server)
    compare_recorded("archive_cadc.json", found)


QUESTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "all": {"instruments": [], "calib_levels": [], "intent": "any"},
    "patterns": {
        "instruments": ["WFC3*", "ACS/WFC", "WFPC2%", "acs/w*", "NIRCAM*"],
        "targets": ["M51", "NGC*", "ngc1*"],
    },
    "dates": {"observed_from": "2009-05-11", "observed_to": "2010-01-01", "intent": "calibration"},
    "exposures": {"min_exposure_s": 10, "targets": ["*"]},
    "from a day": {"observed_from": "2009-05-11"},
    "to a day": {"observed_to": "2009-05-11"},
    "numbers": {"proposal_numbers": ["1", "2"], "calib_levels": [3], "collections": ["HLA", "HST", "JWST"]},
    "press": {"collections": ["HST", "OPO"], "targets": ["M51"], "proposal_numbers": ["7"]},
    "press alone": {"collections": ["OPO"]},
    "cone": {"cone_deg": [83.8, -5.4, 0.5]},
    "cone at 0": {"cone_deg": [0.1, 60.0, 0.5]},
    "cone below 360": {"cone_deg": [359.9, -60.0, 0.5]},
    "cone at a pole": {"cone_deg": [0.1, 89.9, 0.5]},
    "JWST": {"name": "jwst", "collections": ["JWST"], "instruments": ["MIRI*"], "calib_levels": [2, 3, 1]},
    "JWST of level 2": {"name": "jwst", "calib_levels": [2]},
}


def test_the_questions_to_each_service_are_those_recorded(compare_recorded: Callable[..., None]) -> None:
    found: dict[str, Any] = {}
    for name, changes in QUESTIONS.items():
        settings = ArchiveSettings.model_validate(changes)
        mission = MISSIONS[settings.name]
        criteria = criteria_of(settings, mission, proposal_numbers(settings, []))
        found[name] = criteria
        window = release_window(settings, 50_000.0, 60_000.0)
        dates = {"t_obs_release": [window.low, window.high]}
        try:
            found[f"{name}: search API"] = [
                conditions_of(one | dates, mission.search) for one in criteria if "dataproduct_type" in one
            ]
        except HubbleclipError as error:
            found[f"{name}: search API"] = str(error)
    compare_recorded("archive_questions.json", found)


def test_windows_are_asked_for_as_recorded(compare_recorded: Callable[..., None]) -> None:
    days = [SPAN.low + 7.0 * day for day in range(45)]
    servers = {
        "fits": (Server(days, page_size=45), False),
        "one more than fits": (Server(days, page_size=44), False),
        "counted": (Server(days), True),
        "sparse and dense": (Server([*days[:3], *[50_000.0] * 23, *[60_000.5] * 9]), True),
        "slow": (Server(days, slow_rows=6), False),
        "slow counts": (Server(days, slow_rows=12), True),
        "none": (Server([]), True),
    }
    found: dict[str, Any] = {}
    for name, (server, is_wide) in servers.items():
        rows = server.all_rows(is_wide=is_wide)
        asked = [[window.low, window.high, page] for window, page in server.asked]
        found[name] = [rows, asked, [[window.low, window.high] for window in server.counts]]
    for most in (20, 66):
        parts = spans(SPAN, [Server(days).query(), Server([50_000.0] * 21).query()], most)
        found[f"spans of {most}"] = [[window.low, window.high, counts] for window, counts in parts]
    compare_recorded("archive_windows.json", found)
