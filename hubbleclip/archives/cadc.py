"""Archive at the Canadian Astronomy Data Centre (CADC), which has a copy of the files of MAST.

The tables of observations, planes and artifacts (CAOM 2) are queried by TAP, as in astroquery 0.4.11 (`cadc/core.py`,
lines 282 and 715). The rows are converted to rows with MAST's columns. Proposals come from STScI. This client has been
tested with synthetic responses only, never with CADC's server.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from typing import Any
from urllib.parse import quote
from xml.parsers.expat import ExpatError

from hubbleclip.archives.base import service_url
from hubbleclip.archives.http.client import RequestLimits, Transport
from hubbleclip.archives.http.responses import DamagedError, rows_limit
from hubbleclip.archives.mast import missions_search as search_api
from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.archives.mast.caom_rows import CaomRow, plain_row, whole_number
from hubbleclip.archives.mast.client import CONTINUOUS, Criteria, MastClient, ResultPage, batches, failed_query
from hubbleclip.archives.mast.missions_search import MAX_PRODUCTS, MissionsClient
from hubbleclip.config.settings import ArchiveSettings, FetchSettings
from hubbleclip.core.errors import ArchiveError, DownloadError, PartialResultError
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Observation
from hubbleclip.missions import Mission

CADC_URL = "https://ws.cadc-ccda.hia-iha.nrc-cnrc.gc.ca"
STORAGE_HOSTS = ("*.nrc-cnrc.gc.ca", "*.canfar.net")
"""Hosts to which CADC's file service redirects."""
PLANES = "caom2.Observation AS o JOIN caom2.Plane AS p ON o.obsID = p.obsID"
ARTIFACTS = f"{PLANES} JOIN caom2.Artifact AS a ON a.planeID = p.planeID"
COLUMNS = {
    "obs_id": "o.observationID",
    "obs_collection": "o.collection",
    "proposal_id": "o.proposal_id",
    "obs_title": "o.proposal_title",
    "intentType": "o.intent",
    "instrument_name": "o.instrument_name",
    "target_name": "o.target_name",
    "mtFlag": "o.target_moving",
    "objID": "p.planeID",
    "dataproduct_type": "p.dataProductType",
    "calib_level": "p.calibrationLevel",
    "t_obs_release": "p.dataRelease",
    "filters": "p.energy_bandpassName",
    "t_min": "p.time_bounds_lower",
    "t_exptime": "p.time_exposure",
    "s_region": "p.position_bounds",
    "s_ra": "COORD1(CENTROID(p.position_bounds))",
    "s_dec": "COORD2(CENTROID(p.position_bounds))",
}
"""ADQL expressions that compute the values of MAST's columns from CADC's tables (CAOM 2), by MAST's column name."""
PRODUCT_COLUMNS = {
    "dataset": "o.observationID",
    "proposal_id": "o.proposal_id",
    "filters": "p.energy_bandpassName",
    "dataURI": "a.uri",
    "filename": "a.uri",
    "type": "a.productType",
    "size": "a.contentLength",
    "prvversion": "a.contentChecksum",
}
"""ADQL expressions for the columns of the query in `products_of`, by column name."""


class CadcClient(MissionsClient):
    """Client of CADC's TAP service. Rows get MAST's columns; `obsid` is a hash of the observation's name."""

    token_variable = ""

    def __init__(self, url: str, transport: Transport, mission: Mission) -> None:
        super().__init__(service_url(url, CADC_URL), transport, mission)

    def count(self, criteria: Criteria) -> int:
        """See `MastClient.count`."""
        rows = self._ask({"num": "COUNT(*)"}, PLANES, criteria, 1).rows
        num = whole_number(rows[0].get("num")) if rows else None
        if num is None:
            raise ArchiveError(f"{self.url}: the response to a count is not a number: try again later")
        return num

    def observations(self, criteria: Criteria, *, page: int, page_size: int, tries: int = 0) -> ResultPage:
        """See `MastClient.observations`. TAP has no pages, so the rows of all pages up to `page` are requested."""
        found = self._ask(COLUMNS, PLANES, criteria, page * page_size, tries)
        total = self.count(criteria) if found.total > len(found.rows) else found.total
        return ResultPage(rows=[caom_row(row) for row in found.rows[(page - 1) * page_size :]], total=total)

    def products_of(self, observations: Sequence[Observation]) -> list[CaomRow]:
        """See `MastClient.products_of`."""
        todo, rows = batches(sorted({item.obs_id for item in observations})), []
        while todo:
            batch = todo.pop()
            wanted = {"obs_collection": list(self.mission.collections), "obs_id": batch}
            found = self._ask(PRODUCT_COLUMNS, ARTIFACTS, wanted, MAX_PRODUCTS)
            if found.total == len(found.rows):
                rows += [search_api.product_row(row, self.mission) | row for row in found.rows]
            elif len(batch) > 1:
                todo += [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
            else:
                raise PartialResultError(f"{self.url}: {batch[0]} has more than {MAX_PRODUCTS} files: try again later")
        return rows

    def download_url(self, uri: str) -> str:
        """Build the URL of a file at CADC's file service; DownloadError unless the URI begins with mast: or cadc:."""
        if not uri.startswith(("mast:", "cadc:")):
            raise DownloadError("refused", f"the data URI {uri[:80]!r} begins with neither mast: nor cadc:")
        return f"{self.url}/raven/files/{quote(uri, safe=':/')}"

    def _ask(
        self, columns: dict[str, str], tables: str, criteria: Criteria, max_rows: int, tries: int = 0
    ) -> ResultPage:
        """Send a query with retries. If more than `max_rows` rows match, `total` is only a lower limit."""
        selected = ", ".join(f"{column} AS {alias}" for alias, column in columns.items())
        order = ("ORDER BY", columns["objID"]) if "objID" in columns else ()
        adql = " ".join(("SELECT", selected, "FROM", tables, "WHERE", where(criteria), *order))
        asked = {"LANG": "ADQL", "MAXREC": max_rows, "QUERY": adql}

        def send() -> ResultPage:  # pyvo's own requests would not be limited in rate and size
            response = self.transport.ask(f"{self.url}/argus/sync", rows_limit(max_rows), data=asked)
            return read_votable(response.content, columns)

        return self.retried(send, tries)


class CadcArchive(MastArchive):
    """Archive whose observations and files come from CADC."""

    def __init__(
        self, settings: ArchiveSettings, fetch: FetchSettings, layout: Layout, limits: RequestLimits | None = None
    ) -> None:
        hosts = {"redirect_hosts": (*fetch.redirect_hosts, *STORAGE_HOSTS)}
        super().__init__(settings, fetch.model_copy(update=hosts), layout, limits)
        self.files.sources = {"cadc": self.mast}

    def open_client(self) -> MastClient:
        """See `MastArchive.open_client`."""
        return CadcClient(self.settings.mast_url, self.transport, self.mission)


def where(criteria: Criteria) -> str:
    """Convert criteria on MAST's columns to a condition in ADQL."""
    parts = []
    for name, given in criteria.items():
        column, values = COLUMNS[name], given if isinstance(given, list) else [given]
        if name in CONTINUOUS:
            ends = [search_api.date_of_mjd(end) if name == "t_obs_release" else float(end) for end in values]
            parts.append(f"{column} BETWEEN {literal(ends[0])} AND {literal(ends[1])}")
            continue
        texts = [value.replace("*", "%") if isinstance(value, str) else value for value in values]
        tests = (f"{column} {'LIKE' if '%' in str(text) else '='} {literal(text)}" for text in texts)
        parts.append(f"({' OR '.join(tests)})")
    return " AND ".join(parts)


def literal(value: str | float) -> str:
    """Format a number or a text as a literal of ADQL."""
    return repr(value) if isinstance(value, int | float) else "'{}'".format(value.replace("'", "''"))


def read_votable(body: bytes, columns: Collection[str]) -> ResultPage:
    """Read the response to a TAP query; DamagedError if it is not valid, lacks a column or reports a failed query."""
    from astropy.io.votable import parse  # noqa: PLC0415 - slow; other archives never need it
    from pyvo.dal import DALAccessError, DALQueryError, TAPResults  # noqa: PLC0415 - as above

    try:
        found = TAPResults(parse(io.BytesIO(body)))
        table = found.to_table()
    except DALQueryError as error:
        raise failed_query(str(error.reason)) from error
    except (DALAccessError, ExpatError, ValueError, LookupError, SyntaxError) as error:
        is_page = body.lstrip()[:5].lower() in {b"<html", b"<!doc"}
        raise DamagedError(f"the response is no VOTable ({error})", "html" if is_page else "bad_json") from error
    if lost := set(columns) - set(table.colnames):
        raise DamagedError(f"the response lacks the columns {sorted(lost)}", "bad_json")
    rows = [plain_row(dict(zip(table.colnames, row, strict=True))) for row in table.iterrows()]
    return ResultPage(rows=rows, total=len(rows) + (str(found.query_status).upper() == "OVERFLOW"))


def caom_row(row: CaomRow) -> CaomRow:
    """Convert a row of CADC, whose `s_region` is a text or a list of numbers, to a row with MAST's columns."""
    region: Any = row.get("s_region")
    numbers = " ".join(map(str, region)) if isinstance(region, list) else ""
    return row | {
        "obsid": search_api.number_of(str(row["obs_id"])) if "obs_id" in row else None,
        "objID": search_api.number_of(str(row.get("objID"))),
        "t_obs_release": search_api.mjd_of_date(row.get("t_obs_release")),
        "mtFlag": bool(row.get("mtFlag")),
        "s_region": f"POLYGON {numbers}" if numbers else str(region or "").upper(),
    }
