"""MAST's observation and product queries, with astroquery as the client; responses are checked here.

URLs and time limits are set on an astroquery object, because its class bodies read their defaults at import; it sends
through the transport's session. Its instances share one table of column types, which two servers in one process would
mix up, so filters are built here. Rows are taken from the JSON: astroquery's tables cost more than all the rest and do
not say how many rows there should be.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from hubbleclip.archives.http.client import DamagedError, RefusedError, Transport, to_archive_error
from hubbleclip.core.errors import (
    ArchiveBusyError,
    ArchiveError,
    ArchiveTimeoutError,
    BadJsonError,
    EmptyResultError,
    NullColumnsError,
    PartialResultError,
    WebPageError,
)

Row = dict[str, Any]
Criteria = dict[str, Any]

OBSERVATIONS, PRODUCTS, COLUMNS = "Mast.Caom.Filtered", "Mast.Caom.Products", "Mast.Caom.Cone"
ERRORS: dict[str, type[ArchiveError]] = {
    "busy": ArchiveBusyError,
    "timeout": ArchiveTimeoutError,
    "html": WebPageError,
    "bad_json": BadJsonError,
    "empty": EmptyResultError,
    "partial": PartialResultError,
    "null_columns": NullColumnsError,
}
"""Error by the kind of damage, raised once retries did not help."""
TIMEOUT_STATUS = frozenset({408, 504})
PRODUCT_PAGE_ROWS = 50_000
OBSIDS_PER_REQUEST = 100
CONTINUOUS = frozenset({"s_dec", "s_ra", "t_exptime", "t_min", "t_obs_release"})
"""Columns that are filtered by [low, high]; others by their values."""
SEPARATORS = {"obs_collection": ";"}
"""Separators of columns that may hold several values."""
POLL_PATIENCE = 10
"""A query may take this many times `fetch.timeout_s`, polled meanwhile."""
FIRST_POLL_S, LONGEST_POLL_S = 0.02, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultPage:
    """Rows of one page as MAST gave them, and the number of rows of all pages by MAST's own count."""

    rows: list[Row]
    total: int


class MastClient:
    """Client of one MAST server. Threads may share it.

    Parameters
    ----------
    url
        The server.
    transport
        Sends the requests, with its rate limit and retries.

    """

    def __init__(self, url: str, transport: Transport) -> None:
        self.url = url.rstrip("/")
        self.transport = transport
        self._lock = threading.Lock()
        self._polls = threading.local()
        self._portal: Any = None

    def _client(self) -> Any:
        """Astroquery's connection to this server, made when first needed: its import takes seconds."""
        with self._lock:
            if self._portal is None:
                from astroquery.mast.discovery_portal import PortalAPI  # noqa: PLC0415 - slow; `local` never needs it

                portal = PortalAPI(session=self.transport.session)
                portal.MAST_REQUEST_URL = f"{self.url}/api/v0/invoke"
                portal.COLUMNS_CONFIG_URL = f"{self.url}/portal/Mashup/Mashup.asmx/columnsconfig"
                portal.TIMEOUT = self.transport.fetch.timeout_s * POLL_PATIENCE
                portal.PAGESIZE = PRODUCT_PAGE_ROWS
                self.transport.session.hooks["response"].append(self._pause)
                self._portal = portal
        return self._portal

    def _pause(self, response: requests.Response, **_: Any) -> None:
        """Wait, twice as long each time, while a query is executing: astroquery itself polls without a pause."""
        if b"EXECUTING" in response.content[:200]:
            time.sleep(self._polls.wait_s)
            self._polls.wait_s = min(self._polls.wait_s * 2, LONGEST_POLL_S)

    def _query(
        self, service: str, params: dict[str, Any], *, keys: Sequence[str] = (), tries: int = 0, **page: int
    ) -> ResultPage:
        """One query, retried; every failure becomes an ArchiveError. `tries` limits the tries that time out."""
        try:
            for attempt in self.transport.attempts(self.url):
                with attempt:
                    try:
                        return self._try(service, params, keys, page)
                    except DamagedError as error:
                        if error.reason == "timeout" and attempt.num == tries:
                            raise self._archive_error(error) from error
                        raise
        except (requests.RequestException, DamagedError, RefusedError) as error:
            raise self._archive_error(error) from error
        raise AssertionError("a retry context ends with a response or an error")

    def _archive_error(self, error: Exception) -> ArchiveError:
        """The error to raise for a failed request."""
        kind = ERRORS.get(getattr(error, "reason", ""))
        if kind is None:
            return to_archive_error(error, self.url)
        words = " ".join(str(error).split())[:200]
        return kind(f"{urlsplit(self.url).netloc}: {words}: try again later")

    def _try(self, service: str, params: dict[str, Any], keys: Sequence[str], page: dict[str, int]) -> ResultPage:
        """One try of a query."""
        portal = self._client()
        self._polls.wait_s = FIRST_POLL_S
        try:
            _load_columns(portal, service)
            responses = portal.service_request_async(service, params, **page)
        except requests.exceptions.JSONDecodeError as error:
            raise _unreadable(error.doc) from error
        except requests.HTTPError as error:
            if error.response is not None and error.response.status_code in TIMEOUT_STATUS:
                raise DamagedError(f"it responded {error.response.status_code}", "timeout") from error
            raise
        except requests.ReadTimeout as error:
            raise DamagedError("it did not respond within fetch.timeout_s", "timeout") from error
        except TimeoutError as error:
            raise DamagedError("the query is still executing", "busy") from error
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DamagedError(f"the status has another form than MAST's ({error})", "bad_json") from error
        return read_result([response.content for response in responses], keys, **page)

    def count(self, criteria: Criteria) -> int:
        """Count observations.

        Parameters
        ----------
        criteria
            Values by column, or [low, high] for numbers.

        Returns
        -------
        int
            Observations that meet all criteria.

        Raises
        ------
        ArchiveError
            When the server does not respond as MAST does.

        """
        params = {"columns": "COUNT_BIG(*)", "filters": filters_of(criteria)}
        rows = self._query(OBSERVATIONS, params, keys=("Column1",)).rows
        if len(rows) != 1 or not str(rows[0]["Column1"]).isdigit():
            raise BadJsonError(f"{urlsplit(self.url).netloc}: a count is not a number: try again later")
        return int(rows[0]["Column1"])

    def observations(self, criteria: Criteria, *, page: int, page_size: int, tries: int = 0) -> ResultPage:
        """Request one page of observations.

        Parameters
        ----------
        criteria
            Values by column, or [low, high] for numbers.
        page
            Counted from 1.
        page_size
            Rows per page.
        tries
            Raise ArchiveTimeoutError after this many timeouts; 0 means after `fetch.attempts`.

        Returns
        -------
        ResultPage
            Each row once.

        Raises
        ------
        ArchiveError
            When the server does not respond as MAST does.

        """
        params = {"columns": "*", "filters": filters_of(criteria)}
        keys = "obs_id", "obsid", "proposal_id"
        return self._query(OBSERVATIONS, params, keys=keys, tries=tries, page=page, pagesize=page_size)

    def products(self, obsids: Sequence[int]) -> list[Row]:
        """Request the products of observations.

        Parameters
        ----------
        obsids
            MAST's numbers, not `obs_id` names.

        Returns
        -------
        list of dict
            Rows of all their products.

        Raises
        ------
        ArchiveError
            When the server does not respond as MAST does.

        """
        batches = (obsids[start : start + OBSIDS_PER_REQUEST] for start in range(0, len(obsids), OBSIDS_PER_REQUEST))
        return [row for batch in batches for row in self._products(",".join(map(str, batch)))]

    def _products(self, obsids: str) -> list[Row]:
        """The products of one request.

        Rows may repeat. Then their number does not show whether they replaced others, so such a response counts only
        once a second one equals it.
        """
        seen: list[set[str]] = []
        for _ in range(self.transport.fetch.attempts + 1):
            rows = self._query(PRODUCTS, {"obsid": obsids}, keys=("obsID", "dataURI")).rows
            distinct = {json.dumps(row, sort_keys=True) for row in rows}
            if len(distinct) == len(rows) or distinct in seen:
                return rows
            seen.append(distinct)
        raise PartialResultError(
            f"{urlsplit(self.url).netloc}: product lists differ from response to response: try again later"
        )

    def download_url(self, uri: str) -> str:
        """Build the URL of a file.

        Parameters
        ----------
        uri
            Data URI, `mast:...`.

        Returns
        -------
        str
            The URL.

        Raises
        ------
        ArchiveError
            For a URI of another scheme.

        """
        if not uri.startswith("mast:"):
            raise ArchiveError(f"refused the data URI {uri[:80]!r}: MAST's begin with mast:")
        return f"{self.url}/api/v0.1/Download/file?uri={quote(uri, safe='')}"


def _load_columns(portal: Any, service: str) -> None:
    """Let astroquery load the columns of a service, once per process, as it does before any query.

    The columns are not used here, so an unusable response does no harm.
    """
    from astroquery.exceptions import InvalidQueryError  # noqa: PLC0415 - slow; `local` never needs it

    with suppress(InvalidQueryError, AttributeError, TypeError):
        portal.build_filter_set(COLUMNS, service, dataproduct_type="image")


def filters_of(criteria: Criteria) -> list[dict[str, Any]]:
    """Write criteria in the form of MAST's API (https://mast.stsci.edu/api/v0/pyex.html).

    Parameters
    ----------
    criteria
        Values by column, at most one with a wildcard each, or [low, high] for numbers.

    Returns
    -------
    list of dict
        Filters.

    """
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
            entry["values"] = [text for text in texts if not _is_pattern(text)]
            for pattern in filter(_is_pattern, texts):
                entry["freeText"] = pattern.replace("*", "%")
        filters.append(entry)
    return filters


def _is_pattern(text: str) -> bool:
    """Whether a text has a wildcard."""
    return "*" in text or "%" in text


def read_result(bodies: Iterable[bytes], keys: Sequence[str] = (), page: int = 0, pagesize: int = 0) -> ResultPage:
    """Read and check the rows of a response.

    Parameters
    ----------
    bodies
        JSON of its pages.
    keys
        Columns that every row must have.
    page
        Number of the page that was requested, counted from 1; 0 means all.
    pagesize
        Rows per page.

    Returns
    -------
    ResultPage
        The rows.

    Raises
    ------
    DamagedError
        Unless there are as many rows as the response says, with the keys.

    """
    rows: list[Row] = []
    total = 0
    for body in bodies:
        table = _table(body)
        rows += table["data"]
        total = table["paging"]["rowsFiltered"]
    expected = max(min(total - (page - 1) * pagesize, pagesize), 0) if page else total
    if expected and not rows:
        raise DamagedError(f"0 of {expected} rows came", "empty")
    if len(rows) != expected:
        raise DamagedError(f"{len(rows)} of {expected} rows came", "partial")
    _check_columns(rows, keys)
    return ResultPage(rows=rows, total=total)


def _check_columns(rows: list[Row], keys: Sequence[str]) -> None:
    """Raise DamagedError when a key is null in every row, or an observation comes twice."""
    for key in keys:
        is_lost = all(row.get(key) is None for row in rows)
        if rows and is_lost and (len(rows) > 1 or key != "proposal_id"):
            raise DamagedError(f"the column {key} is null in all of {len(rows)} rows", "null_columns")
    if "obsid" in keys and len({str(row.get("obsid")) for row in rows}) < sum(
        row.get("obsid") is not None for row in rows
    ):
        raise DamagedError(f"some of {len(rows)} rows are repeated", "partial")


def _table(body: bytes) -> dict[str, Any]:
    """A response of MAST's form. Raises DamagedError."""
    try:
        table = json.loads(body)
        if table["status"] == "ERROR":
            words = str(table.get("msg") or "an error without a message")
            raise DamagedError(words, "timeout" if "time" in words.lower() and "out" in words.lower() else "error")
        is_whole = table["status"] == "COMPLETE" and all(isinstance(row, dict) for row in table["data"])
        if is_whole and isinstance(table["paging"]["rowsFiltered"], int):
            return dict(table)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unreadable(body.decode(errors="replace")) from error
    raise _unreadable(body.decode(errors="replace"))


def _unreadable(text: str) -> DamagedError:
    """The error for a response that cannot be read: empty, a web page, or damaged JSON."""
    start = text.lstrip()[:40]
    if not start:
        return DamagedError("an empty response came", "empty")
    if start.startswith("<"):
        return DamagedError("a web page came instead of data", "html")
    return DamagedError(f"the response is not JSON of MAST's form ({start!r}...)", "bad_json")
