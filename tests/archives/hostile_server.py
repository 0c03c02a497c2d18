"""A hostile server for tests of the archive's client: it speaks MAST's API and sends what a test wants."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.core.records import Observation, Product
from hubbleclip.simulator.server import mast_tables as tables

FITS = b"".join(
    line.ljust(80)
    for line in (
        b"SIMPLE  =                    T",
        b"BITPIX  =                    8",
        b"NAXIS   =                    0",
        b"END",
    )
).ljust(2880)


class RecordingServer:
    """A web server on its own thread, for a `with` block; it records the requested paths.

    `posted` has the responses to POST that replace those of `reply`: to a `query`, and to astroquery's table of `columns`.
    """

    def __init__(self) -> None:
        self.requested_paths: list[str] = []
        self.respond: Callable[[BaseHTTPRequestHandler], None] = send(FITS)
        self.posted: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        running = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                running.requested_paths.append(self.path)
                running.respond(self)

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                path = urlsplit(self.path).path
                answer = running.posted.get("columns" if path.endswith("columnsconfig") else "query")
                (answer or send(json.dumps(running.reply(path, form)).encode()))(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def reply(self, path: str, form: dict[str, list[str]]) -> dict[str, Any]:
        return {}

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class Mallory(RecordingServer):
    """A MAST that returns `observation` and `product`. `respond` handles each request that is no query."""

    def __init__(self) -> None:
        super().__init__()
        self.observation: dict[str, Any] = dict.fromkeys(tables.OBSERVATION_FIELDS) | {
            "intentType": "science",
            "obs_collection": "HST",
            "dataproduct_type": "image",
            "calib_level": 3,
            "instrument_name": "WFC3/UVIS",
            "filters": "F606W",
            "t_obs_release": 59000.0,
            "obsid": "77",
            "obs_id": "ibol02010",
            "proposal_id": "12345",
            "s_ra": 1.0,
            "s_dec": 2.0,
            "t_min": 58000.0,
            "t_exptime": 100.0,
            "target_name": "M1",
            "obs_title": "A title",
            "dataRights": "PUBLIC",
            "mtFlag": False,
            "_selected_": None,
        }
        self.product: dict[str, Any] = dict.fromkeys(tables.PRODUCT_FIELDS) | {
            "obsID": "77",
            "parent_obsid": "77",
            "obs_id": "ibol02010",
            "productType": "SCIENCE",
            "type": "D",
            "productSubGroupDescription": "DRZ",
            "dataURI": "mast:HST/product/ibol02010_drz.fits",
            "productFilename": "ibol02010_drz.fits",
            "calib_level": 3,
            "dataRights": "PUBLIC",
            "_selected_": None,
        }

    def reply(self, path: str, form: dict[str, list[str]]) -> dict[str, Any]:
        if path.endswith("columnsconfig"):
            return tables.columns_config(form["colConfigId"][0])
        query = json.loads(form["request"][0])
        is_products = query["service"].endswith("Products")
        types = tables.PRODUCT_FIELDS if is_products else tables.OBSERVATION_FIELDS
        matches = is_products or tables.row_filter(query["params"].get("filters", []))(self.observation)
        rows: list[dict[str, Any]] = [self.product if is_products else self.observation] if matches else []
        if "COUNT_BIG" in str(query["params"].get("columns", "")):
            rows, types = [{"Column1": len(rows)}], {"Column1": "string"}
        paging = {
            "page": 1,
            "pageSize": 50_000,
            "pagesFiltered": 1,
            "rows": len(rows),
            "rowsFiltered": len(rows),
            "rowsTotal": len(rows),
        }
        return {"status": "COMPLETE", "msg": "", "data": rows, "fields": tables.table_fields(types), "paging": paging}


def send(body: bytes, status: int = 200, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return respond


def drip_trailers(body: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """A whole chunked body, then trailers, one byte at a time."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n")
        started = time.monotonic()
        try:
            while time.monotonic() - started < 20:
                handler.wfile.write(b"x")
                time.sleep(0.02)
        except OSError:
            pass

    return respond


def observe(archive: MastArchive) -> list[Observation]:
    return [item for page in archive.query_observations(0) for item in page]


def product_of(archive: MastArchive) -> Product:
    (product,), _ = archive.list_products(observe(archive))
    return product
