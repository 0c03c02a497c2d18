"""A made archive for one test: MAST's tables, files by ranges, the bucket, and STScI's pages, on one server."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import scipy.ndimage

from hubbleclip.archives.check.listing import FILTERED
from hubbleclip.archives.mast.caom_rows import COLUMNS
from hubbleclip.missions.archive import ArchivePins, PinnedFile
from tests.bad_server import BadServer, Respond, give

Row = dict[str, Any]
RULE = "-" * 79
FIRST_MJD = 60_004.0
"""Release date of the first observation; the others follow one hour apart."""
PIECE_BYTES = 1 << 20
LARGEST_SIDE = 1000
"""Largest side of an image that has pixels."""


class SparseFile:
    """A FITS file of any size, which is never in memory as a whole: headers, and stars and weights; the rest is zero."""

    def __init__(self, sides: Mapping[str, int]) -> None:
        self.parts = [(0, header(None, 0))]
        self.size = len(self.parts[0][1])
        for name, side in sides.items():
            self.parts.append((self.size, header(name, side)))
            if name in {"SCI", "WHT"} and side <= LARGEST_SIDE:
                self.parts.append((self.size + 2880, pixels(name, side).astype(">f4").tobytes()))
            self.size += 2880 + -(-4 * side**2 // 2880) * 2880

    def read(self, start: int, stop: int) -> bytes:
        """Read the next bytes of the body."""
        piece = bytearray(stop - start)
        for place, part in self.parts:
            low, high = max(start, place), min(stop, place + len(part))
            if low < high:
                piece[low - start : high - start] = part[low - place : high - place]
        return bytes(piece)


def pixels(name: str, side: int) -> np.ndarray:
    """Stars on a noisy sky, or weights."""
    if name == "WHT":
        return np.ones((side, side))
    sky = np.random.default_rng(side).normal(100.0, 5.0, (side, side))
    sky[::20, ::20] += 900.0
    return scipy.ndimage.gaussian_filter(sky, 2.0)


def header(name: str | None, side: int) -> bytes:
    """The header of a primary HDU without data, or of a square image extension."""
    if name is None:
        cards = ["SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    0"]
    else:
        shape = [f"NAXIS{axis}  = {side:20d}" for axis in (1, 2)]
        cards = ["XTENSION= 'IMAGE   '", "BITPIX  =                  -32", "NAXIS   =                    2", *shape]
        cards += ["PCOUNT  =                    0", "GCOUNT  =                    1", f"EXTNAME = '{name:8s}'"]
    return "".join(card.ljust(80) for card in [*cards, "END"]).encode().ljust(2880)


def observation(obs_id: str, number: str, instrument: str, filters: str, level: int, **more: Any) -> Row:
    """A row of MAST's table of observations, without number and date."""
    known: Row = {"obs_id": obs_id, "proposal_id": number, "instrument_name": instrument, "filters": filters}
    known |= {"calib_level": level, "dataproduct_type": "image", "intentType": "science", "t_exptime": 100.0}
    known |= {"target_name": f"T {number}", "s_ra": 10.0 + int(number) / 1000, "s_dec": 5.0, "t_min": FIRST_MJD - 400}
    return known | {"obs_title": f"Title of {number}", "s_region": "", "mtFlag": False, **more}


class MadeArchive(BadServer):
    """An archive of these observations, each with files by suffix; tests change `rows`, `products`, `files`, `pages`.

    `edits` change the answer to a query of a service; `table` has the responses of other paths.
    """

    def __init__(self, collection: str, observations: Sequence[tuple[Row, Mapping[str, SparseFile]]]) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self.products: list[Row] = []
        self.files: dict[str, SparseFile] = {}
        self.file_headers = {"ETag": '"1"', "Last-Modified": "Tue, 24 Nov 2026 10:00:00 GMT"}
        self.edits: list[Any] = []
        self.collection = collection
        for number, (row, files) in enumerate(observations, 1):
            about = {"obsid": number, "objID": number, "obs_collection": collection}
            self.rows.append(row | about | {"t_obs_release": FIRST_MJD + number / 24})
            for suffix, file in files.items():
                name = f"{row['obs_id']}_{suffix}"
                self.files[name] = file
                self.products.append(
                    {"obsID": number, "parent_obsid": number, "obs_id": row["obs_id"], "obs_collection": collection}
                    | {"productFilename": name, "dataURI": f"mast:{collection}/product/{name}", "size": file.size}
                    | {"productType": "SCIENCE", "productSubGroupDescription": suffix[:3].upper(), "prvversion": "1"}
                    | {"proposal_id": row["proposal_id"], "filters": row["filters"], "dataproduct_type": "image"}
                )
        names = {name: {} for name in (FILTERED | COLUMNS.keys())}
        self.table["/portal/"] = give(json.dumps(names).encode())
        for number in {row["proposal_id"] for row in self.rows}:
            self.add_programme(collection.lower(), str(number))

    def add_programme(self, mission: str, number: str) -> None:
        """Publish the page, the APT file and the listing of a programme."""
        title, program = f"Title of {number}", f"/{mission}-program-info"
        xml = f"<ProposalInformation><Title>{title}</Title><Abstract>Abstract of {number}, a galaxy.</Abstract>"
        xml = f"<Proposal>{xml}</ProposalInformation></Proposal>"
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(f"{number}.xml", xml)
        apt = packed.getvalue() if mission == "jwst" else xml.encode()
        self.table[f"{program}/download/{mission}/apt/{number}/"] = give(apt)
        self.table[f"{program}/program/?program={number}"] = give(f"<b>Title:</b> {title}<br>".encode())
        if mission == "hst":
            listing = f"Title\n{title}\n{RULE}\nAbstract\nAbstract of {number}, a galaxy.\n{RULE}\n"
            self.table[f"{program}/download/{mission}/list/{number}/"] = give(listing.encode())

    def respond(self, handler: Any) -> None:
        """Give the response to a request."""
        path = urlsplit(handler.path)
        if any(handler.path.startswith(start) for start in self.table):
            super().respond(handler)
        elif path.path == "/api/v0/invoke":
            give(json.dumps(self.answer(json.loads(parse_qs(handler.body)["request"][0]))).encode())(handler)
        elif path.path.startswith("/api/v0.1/Download/file"):
            self.give_file(parse_qs(path.query)["uri"][0].rpartition("/")[2])(handler)
        elif path.path.startswith("/stpubdata/"):
            self.give_file(path.path.rpartition("/")[2])(handler)
        else:
            give(b"", 404)(handler)

    def answer(self, query: Row) -> Row:
        """Answer a query of the portal."""
        params, service = query["params"], query["service"]
        if service == "Mast.Caom.Products":
            numbers = set(params["obsid"].split(","))
            rows = [row for row in self.products if str(row["obsID"]) in numbers]
        else:
            rows = [row for row in self.rows if all(matches(row, item) for item in params["filters"])]
        num = len(rows)
        if params.get("columns", "").startswith("COUNT"):
            rows, num = [{"Column1": num}], 1
        size, page = query.get("pagesize") or 50_000, query.get("page") or 1
        paging = {"page": page, "pageSize": size, "pagesFiltered": 1, "rowsFiltered": num, "rowsTotal": num}
        shown = [dict(row) for row in rows[(page - 1) * size : page * size]]
        table = {"status": "COMPLETE", "msg": "", "fields": [], "data": shown, "paging": paging}
        for edit in self.edits:
            changed = edit(table, query)
            table = changed if isinstance(changed, dict) else table
        return table

    def give_file(self, name: str) -> Respond:
        """The response of a file by ranges, piece by piece."""
        file = self.files.get(name)
        if file is None:
            return give(b"", 404)

        def respond(handler: Any) -> None:
            wanted = handler.headers["Range"]
            start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
            handler.send_response_only(206 if wanted else 200)
            fields = {"Content-Length": str(file.size - start), **self.file_headers}
            if wanted:
                fields["Content-Range"] = f"bytes {start}-{file.size - 1}/{file.size}"
            for field, value in fields.items():
                handler.send_header(field, value)
            handler.end_headers()
            for place in range(start, file.size if handler.command == "GET" else start, PIECE_BYTES):
                handler.wfile.write(file.read(place, min(place + PIECE_BYTES, file.size)))

        return respond


def matches(row: Row, item: Row) -> bool:
    """Whether a row passes a filter of the portal."""
    value, text = row.get(item["paramName"]), item.get("freeText")
    if text is not None and fnmatchcase(str(value).lower(), text.replace("%", "*").lower()):
        return True
    return any(
        entry["min"] <= (value or 0.0) <= entry["max"] if isinstance(entry, dict) else str(value) == str(entry)
        for entry in item["values"]
    )


def jwst_archive(mosaic_side: int = 600, num: int = 2) -> MadeArchive:
    """Programmes with a mosaic, an exposure and a coronagraphic observation each."""
    names = ("SCI", "ERR", "CON", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT", "WHT")
    mosaic = SparseFile(dict.fromkeys(names, mosaic_side))
    exposure = SparseFile(dict.fromkeys(("SCI", "ERR", "DQ"), 300))
    parts = (
        ("-o001_t001_nircam_clear-f200w", "IMAGE", "F200W", 3, {"i2d.fits": mosaic}),
        ("001001_02101_00001_nrca1", "IMAGE", "F200W", 2, {"cal.fits": exposure}),
        ("-o009_t001_nircam_maskrnd-f210m", "CORON", "F210M", 3, {"i2d.fits": exposure}),
    )
    made = [
        (observation(f"jw0{number}{name}", str(number), f"NIRCAM/{mode}", band, level), files)
        for number in range(1001, 1001 + num)
        for name, mode, band, level, files in parts
    ]
    late = observation("jw09999-o001_t001_nircam_clear-f200w", "9999", "NIRCAM/IMAGE", "F200W", 3)
    world = MadeArchive("JWST", [*made, (late, {"i2d.fits": exposure})])
    world.rows[-1]["t_obs_release"] = FIRST_MJD + 100
    return world


def hst_archive() -> MadeArchive:
    """Four programmes with combined images of two instruments, and a bulk list that has the abstracts of three."""
    file = SparseFile(dict.fromkeys(("SCI", "WHT"), 100))
    made = [
        (observation(f"{root}{visit}010", number, camera, "F606W", 3), {"drz.fits": file})
        for root, number, camera in (
            ("ibol", "1001", "WFC3/UVIS"),
            ("jbol", "1002", "ACS/WFC"),
            ("ibom", "1003", "WFC3/UVIS"),
            ("ibon", "1004", "WFC3/UVIS"),
        )
        for visit in ("01", "02")
    ]
    world = MadeArchive("HST", made)
    world.rows[-1]["t_obs_release"] = world.rows[-2]["t_obs_release"] = FIRST_MJD + 100
    world.table["/hst/proposal_abstracts.html"] = give(b'<a href="/hst/abstracts.cat">all</a>')
    records = "".join(
        f"{RULE}\nProp. Type: GO\nID:  {n}\nCycle: 20\nTitle: Title of {n}\nPI: A. Sea\n\nAbstract of {n}, a galaxy.\n\n"
        for n in range(1001, 1004)
    )
    world.table["/hst/abstracts.cat"] = give(f"{records}{RULE}\n".encode(), ETag='"1"')
    return world


def made_pins(world: MadeArchive) -> ArchivePins:
    """Pins of the first proposal of an archive."""
    row = world.products[0]
    return ArchivePins(
        released_mjd=(FIRST_MJD, FIRST_MJD + 3),
        proposal=row["proposal_id"],
        file_names=frozenset(
            one["productFilename"] for one in world.products if one["proposal_id"] == row["proposal_id"]
        ),
        file=PinnedFile(
            proposal=row["proposal_id"],
            obs_id=row["obs_id"],
            uri=row["dataURI"],
            size_bytes=row["size"],
            preview_uri="",
        ),
        title=(row["proposal_id"], f"Title of {row['proposal_id']}"),
    )
