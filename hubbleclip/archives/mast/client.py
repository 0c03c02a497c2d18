"""Client for MAST's observation and product queries, which are sent with astroquery and whose responses are checked.

This module builds the filters itself. astroquery would use a table of column types that all of its objects share, so
the columns of two servers in one process would be mixed. The module reads rows directly from the JSON response, because
astroquery's tables are slow to build and do not contain the total number of rows.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, ClassVar, TypeVar
from urllib.parse import quote, urlsplit

import requests

from hubbleclip.archives.http.client import LOOPBACK, Transport, to_archive_error
from hubbleclip.archives.http.responses import DamagedError, ResponseError, check_memory, parse_json, rows_limit
from hubbleclip.archives.mast.caom_rows import CaomRow, plane_key, whole_number
from hubbleclip.core.errors import ArchiveError, ArchiveTimeoutError, DownloadError, PartialResultError, SettingsError
from hubbleclip.core.records import Observation

Criteria = dict[str, Any]
"""Conditions of a query, by column name: a list of accepted values, or a range [low, high] for `CONTINUOUS` columns."""

TOKEN_VARIABLE = "MAST_API_TOKEN"  # noqa: S105 - the name of a variable, as in astroquery, not a token
OBSERVATIONS, PRODUCTS, COLUMNS = "Mast.Caom.Filtered", "Mast.Caom.Products", "Mast.Caom.Cone"
PRODUCT_PAGE_ROWS = 50_000
OBSIDS_PER_REQUEST = 100
CONTINUOUS = frozenset({"s_dec", "s_ra", "t_exptime", "t_min", "t_obs_release"})
"""Columns that are filtered by a range [low, high]. All other columns are filtered by a list of values."""
SEPARATORS = {"obs_collection": ";"}
"""Separator between the values of a column that may hold several values, by column name."""
POLL_PATIENCE = 10
"""Longest time that a query may take, as a multiple of `fetch.timeout_s`. The server is polled during this time."""
FIRST_POLL_S, LONGEST_POLL_S = 0.02, 5.0
ANSWERS_PER_QUERY = 2
"""Largest number of responses to one query: astroquery's table of columns, and the page of rows."""
MAX_PRODUCT_PAGES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultPage:
    """One page of a query's result: its rows as MAST returned them, and the total number of rows on all pages."""

    rows: list[CaomRow]
    total: int


Name = TypeVar("Name", str, int)


class PortalSession(requests.Session):
    """Session of one query, which sends astroquery's requests through a `Transport` and its limits.

    astroquery polls a running query without a pause. This session therefore pauses before each poll, and each pause is
    twice as long as the last, up to `LONGEST_POLL_S`. The session accepts at most `ANSWERS_PER_QUERY` results, because
    a server could announce further pages without end. The session also refuses bodies that need too much memory.
    """

    def __init__(self, transport: Transport, limit_bytes: int) -> None:
        super().__init__()
        self.transport, self.limit_bytes = transport, limit_bytes
        self.headers = transport.session.headers
        self.wait_s, self.answers_left = 0.0, ANSWERS_PER_QUERY

    def request(self, method: str | bytes, url: str | bytes, *_: Any, **content: Any) -> requests.Response:
        """Send `data` in one POST request without retries, and read the whole response."""
        time.sleep(self.wait_s)
        response = self.transport.ask(str(url), self.limit_bytes, headers=content["headers"], data=content["data"])
        is_executing = b"EXECUTING" in response.content[:200]
        self.wait_s = min(max(self.wait_s * 2, FIRST_POLL_S), LONGEST_POLL_S) if is_executing else 0.0
        self.answers_left -= not is_executing
        if self.answers_left < 0:
            raise DamagedError("the response announces further pages without end", "bad_json")
        check_memory(response.content)
        return response


class MastClient:
    """Client of one MAST server. Threads may share one client."""

    token_variable: ClassVar[str] = TOKEN_VARIABLE
    """Environment variable of the token that is sent to the server."""
    absent: frozenset[str] = frozenset()
    """See `FileSource.absent`."""

    def __init__(self, url: str, transport: Transport) -> None:
        self.url = self.name = url.rstrip("/")
        self.transport = transport
        parts, token = urlsplit(self.url), os.environ.get(self.token_variable, "").strip()
        self.host = parts.netloc
        if not re.fullmatch(r"[A-Za-z0-9._~+/=-]*", token):
            raise SettingsError(f"the variable {TOKEN_VARIABLE} holds odd characters: copy the token again")
        if token and (parts.scheme == "https" or parts.hostname in LOOPBACK):
            transport.tokens[self.host] = token

    def _query(
        self,
        service: str,
        params: dict[str, Any],
        *,
        keys: Sequence[str] = (),
        tries: int = 0,
        page: int = 1,
        pagesize: int = PRODUCT_PAGE_ROWS,
    ) -> ResultPage:
        """Send one query with retries, and return one page of its result. Every failure becomes an ArchiveError.

        `keys` are columns that every result must have, and `tries` is as in `retried`.
        """
        from astroquery.exceptions import InvalidQueryError  # noqa: PLC0415 - slow to import; `local` never needs it
        from astroquery.mast.discovery_portal import PortalAPI  # noqa: PLC0415

        def send() -> ResultPage:
            portal = PortalAPI(session=PortalSession(self.transport, rows_limit(pagesize)))
            # these values are set here, because the class's defaults are fixed when astroquery's module is imported
            portal.MAST_REQUEST_URL = f"{self.url}/api/v0/invoke"
            portal.COLUMNS_CONFIG_URL = f"{self.url}/portal/Mashup/Mashup.asmx/columnsconfig"
            portal.TIMEOUT = self.transport.fetch.timeout_s * POLL_PATIENCE
            try:
                # astroquery loads its table of columns here, once per process; the content of the table is not used
                with suppress(InvalidQueryError, AttributeError, TypeError):
                    portal.build_filter_set(COLUMNS, service, dataproduct_type="image")
                # `page` is given, because astroquery would otherwise request all pages that a hostile server announces
                responses = portal.service_request_async(service, params, pagesize=pagesize, page=page)
            except requests.exceptions.JSONDecodeError as error:
                raise _unreadable(error.doc) from error
            except TimeoutError as error:
                raise DamagedError("the query is still executing", "busy") from error
            except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
                if isinstance(error, requests.RequestException):
                    raise
                raise DamagedError(f"the response is not JSON in MAST's format ({error})", "bad_json") from error
            return read_result(responses[0].content, keys, page=page, pagesize=pagesize)

        return self.retried(send, tries)

    def retried(self, send: Callable[[], ResultPage], tries: int = 0) -> ResultPage:
        """Send one query with retries. The query fails after `tries` timeouts (0 means `RequestLimits.attempts`).

        `send` raises DamagedError for a response that is not valid. ArchiveError is raised if all tries failed.
        """
        num_timeouts = count(1)

        def send_once() -> ResultPage:
            try:
                return send()
            except (requests.RequestException, ResponseError) as error:
                failure = to_archive_error(error, self.url)
                # timeouts are counted here too, because the transport does not count the tries while a host is down
                most = tries or self.transport.limits.attempts
                if isinstance(failure, ArchiveTimeoutError) and next(num_timeouts) >= most:
                    raise failure from error
                raise

        try:
            return self.transport.retried(self.url, send_once)
        except (requests.RequestException, ResponseError) as error:
            raise to_archive_error(error, self.url) from error

    def count(self, criteria: Criteria) -> int:
        """Count the observations that meet all criteria."""
        params = {"columns": "COUNT_BIG(*)", "filters": filters_of(criteria)}
        rows = self._query(OBSERVATIONS, params, keys=("Column1",), pagesize=1).rows
        num = whole_number(rows[0]["Column1"]) if len(rows) == 1 else None
        if num is None:
            raise ArchiveError(f"{self.host}: the response to a count is not a number: try again later")
        return num

    def observations(self, criteria: Criteria, *, page: int, page_size: int, tries: int = 0) -> ResultPage:
        """Request one page of the observations that meet all criteria."""
        params = {"columns": "*", "filters": filters_of(criteria)}
        return self._query(OBSERVATIONS, params, keys=("obs_id", "obsid"), tries=tries, page=page, pagesize=page_size)

    def products_of(self, observations: Sequence[Observation]) -> list[CaomRow]:
        """Request the products of observations, one row per product."""
        obsids = sorted({item.obsid for item in observations if item.obsid is not None})
        return [row for batch in batches(obsids) for row in self._products(",".join(map(str, batch)))]

    def known_numbers(self, obsids: Sequence[int]) -> set[str]:
        """Return the numbers in `obsids` for which the archive has an observation."""
        pages = (
            self.observations({"obsid": list(batch)}, page=1, page_size=PRODUCT_PAGE_ROWS) for batch in batches(obsids)
        )
        return {str(row["obsid"]) for page in pages for row in page.rows}

    def _products(self, obsids: str) -> list[CaomRow]:
        """Request the products of observations in one request. `obsids` are numbers joined by commas.

        If a response repeats rows, other rows may be missing although the number of rows is right. A response with
        repeated rows is therefore accepted only if another response has the same set of rows.
        """
        seen: list[set[str]] = []
        for _ in range(self.transport.limits.attempts + 1):
            rows = self._product_pages(obsids)
            distinct = {json.dumps(row, sort_keys=True) for row in rows}
            if len(distinct) == len(rows) or distinct in seen:
                return rows
            seen.append(distinct)
        raise PartialResultError(f"{self.host}: the lists of products differ between responses: try again later")

    def _product_pages(self, obsids: str) -> list[CaomRow]:
        """Request all pages of a list of products. Raises PartialResultError if there are too many pages."""
        first = self._query(PRODUCTS, {"obsid": obsids}, keys=("obsID", "dataURI"))
        num_pages = math.ceil(first.total / PRODUCT_PAGE_ROWS)
        if num_pages > MAX_PRODUCT_PAGES:
            raise PartialResultError(f"{self.host}: {first.total} products are too many: try again later")
        pages = [self._query(PRODUCTS, {"obsid": obsids}, page=number) for number in range(2, num_pages + 1)]
        return [row for page in (first, *pages) for row in page.rows]

    def download_url(self, uri: str) -> str:
        """Build the download URL of a file; DownloadError if the URI does not begin with `mast:`."""
        if not uri.startswith("mast:"):
            raise DownloadError("refused", f"the data URI {uri[:80]!r} does not begin with mast:")
        return f"{self.url}/api/v0.1/Download/file?uri={quote(uri, safe='')}"

    def addresses(self, uri: str, _obs_id: str) -> list[str]:
        """See `FileSource.addresses`."""
        return [self.download_url(uri)]


def batches(names: Sequence[Name], size: int = OBSIDS_PER_REQUEST) -> list[Sequence[Name]]:
    """Divide a sequence of names or numbers into slices of at most `size`; one request is sent per slice."""
    return [names[start : start + size] for start in range(0, len(names), size)]


def filters_of(criteria: Criteria) -> list[dict[str, Any]]:
    """Convert criteria, with at most one wildcard per column, to filters (https://mast.stsci.edu/api/v0/pyex.html)."""
    filters: list[dict[str, Any]] = []
    for name, given in criteria.items():
        values = given if isinstance(given, list) else [given]
        entry: dict[str, Any] = {"paramName": name}
        if name in SEPARATORS:
            entry["separator"] = SEPARATORS[name]
        if name in CONTINUOUS:
            entry["values"] = [{"min": values[0], "max": values[1]}]
        else:
            texts = [str(value) for value in values]
            entry["values"] = [text for text in texts if not is_pattern(text)]
            for pattern in filter(is_pattern, texts):
                entry["freeText"] = pattern.replace("*", "%")
        filters.append(entry)
    return filters


def is_pattern(text: str) -> bool:
    """Check whether a text contains a wildcard, `*` or `%`."""
    return "*" in text or "%" in text


def read_result(body: bytes, keys: Sequence[str] = (), page: int = 1, pagesize: int = PRODUCT_PAGE_ROWS) -> ResultPage:
    """Read the rows of a query's response.

    Raises DamagedError if the response is not valid, if its number of rows is not the announced number, if a column of
    `keys` is null in every row, or if a plane of an observation is repeated.
    """
    table = _table(body)
    rows, total = table["data"], table["paging"]["rowsFiltered"]
    expected = max(min(total - (page - 1) * pagesize, pagesize), 0)
    if len(rows) != expected:
        raise DamagedError(f"{len(rows)} of {expected} rows came", "partial" if rows else "empty")
    for key in keys:
        if rows and all(row.get(key) is None for row in rows):
            raise DamagedError(f"the column {key} is null in all {len(rows)} rows", "null_columns")
    planes = [plane_key(row) for row in rows if row.get("obsid") is not None] if "obsid" in keys else []
    if len(set(planes)) < len(planes):
        raise DamagedError(f"some of {len(rows)} rows are repeated", "partial")
    return ResultPage(rows=rows, total=total)


def _table(body: bytes) -> dict[str, Any]:
    """Parse a response body, and return its table of rows. Raises DamagedError if the body is not valid."""
    try:
        table = parse_json(body)
        if table["status"] == "ERROR":
            raise failed_query(str(table.get("msg") or "an error without a message"))
        is_whole = table["status"] == "COMPLETE" and all(isinstance(row, dict) for row in table["data"])
        total = table["paging"]["rowsFiltered"]
        if is_whole and isinstance(total, int) and whole_number(total) is not None:
            return dict(table)
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(body.decode(errors="replace")) from error
    raise _unreadable(body.decode(errors="replace"))


def failed_query(words: str) -> DamagedError:
    """Create the error for a query that failed at the server; `words` is the server's message."""
    return DamagedError(words, "timeout" if "time" in words.lower() and "out" in words.lower() else "error")


def _unreadable(text: str) -> DamagedError:
    """Create the error for a response that cannot be read: an empty response, a web page, or invalid JSON."""
    start = text.lstrip()[:40]
    if not start:
        return DamagedError("the response is empty", "empty")
    if start.startswith("<"):
        return DamagedError("the response is a web page instead of data", "html")
    return DamagedError(f"the response is not JSON in MAST's format ({start!r}...)", "bad_json")
