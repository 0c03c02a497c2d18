"""A hostile archive for tests of the client: it speaks MAST's API and sends what a test wants."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.core.records import Product
from hubbleclip.simulator.server import mast_tables as tables
from tests.bad_server import FITS, BadServer, Respond, give


class Mallory(BadServer):
    """A MAST that returns `observation` and `product`; files and pages are `responses`.

    `posted` has the responses that replace those to a `query`, and to astroquery's request of the `columns`.
    """

    def __init__(self) -> None:
        super().__init__(give(FITS))
        self.posted: dict[str, Respond] = {}
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

    def respond(self, handler: Any) -> None:
        is_columns = handler.path.endswith("columnsconfig")
        if handler.command == "GET":
            super().respond(handler)
        elif respond := self.posted.get("columns" if is_columns else "query"):
            respond(handler)
        else:
            form = parse_qs(handler.body)
            reply = tables.columns_config(form["colConfigId"][0]) if is_columns else self.reply(form)
            give(json.dumps(reply).encode())(handler)

    def reply(self, form: dict[str, list[str]]) -> dict[str, Any]:
        query = json.loads(form["request"][0])
        is_products = query["service"].endswith("Products")
        types = tables.PRODUCT_FIELDS if is_products else tables.OBSERVATION_FIELDS
        matches = is_products or tables.row_filter(query["params"].get("filters", []))(self.observation)
        rows: list[dict[str, Any]] = [self.product if is_products else self.observation] if matches else []
        if "COUNT_BIG" in str(query["params"].get("columns", "")):
            rows, types = [{"Column1": len(rows)}], {"Column1": "string"}
        paging = {"page": 1, "pageSize": 50_000, "pagesFiltered": 1}
        paging |= dict.fromkeys(("rows", "rowsFiltered", "rowsTotal"), len(rows))
        return {"status": "COMPLETE", "msg": "", "data": rows, "fields": tables.table_fields(types), "paging": paging}


def product_of(archive: MastArchive) -> Product:
    (product,), _ = archive.list_products([item for page in archive.query_observations(0) for item in page])
    return product
