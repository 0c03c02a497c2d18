"""MAST's observation and product queries, with astroquery as the client; what an answer must hold is checked here.

Addresses and time limits are set on an astroquery object of its own, since its class bodies read their defaults when
they are imported; it asks through the transport's session. Its instances share one table of column types, where two
servers in one process would meet, so filters are made here. Rows are taken from the JSON itself: astroquery's tables
cost more than all the rest and hide how many rows there should be.
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
"""What each kind of damaged answer is raised as, when trying again did not help."""
TIMEOUT_STATUS = frozenset({408, 504})
PRODUCT_PAGE_ROWS = 50_000
OBSIDS_A_REQUEST = 100
CONTINUOUS = frozenset({"s_dec", "s_ra", "t_exptime", "t_min", "t_obs_release"})
"""Columns that are asked for by [low, high]; others by their values."""
SEPARATORS = {"obs_collection": ";"}
"""Of columns that may hold several values."""
POLL_PATIENCE = 10
FIRST_POLL_S, LONGEST_POLL_S = 0.02, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Rows of one page as MAST gave them, and how many rows all its pages have, as the answer itself says."""

    rows: list[Row]
    total: int


class MastClient:
    """Asks one MAST server. Threads may share it."""

    def __init__(self, url: str, transport: Transport) -> None:
        self.url = url.rstrip("/")
        self.transport = transport
        self._lock = threading.Lock()
        self._polls = threading.local()
        self._portal: Any = None

    def _client(self) -> Any:
        """Astroquery's connection, made when first needed (its import takes seconds) and bound to this server."""
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
        """Wait longer and longer while a query is executing: astroquery asks again at once."""
        if b"EXECUTING" in response.content[:200]:
            time.sleep(self._polls.wait_s)
            self._polls.wait_s = min(self._polls.wait_s * 2, LONGEST_POLL_S)

    def _ask(
        self, service: str, params: dict[str, Any], *, keys: Sequence[str] = (), tries: int = 0, **page: int
    ) -> Answer:
        """One query, retried; whatever goes wrong in it becomes an ArchiveError. `tries` limits those that time out."""
        try:
            for attempt in self.transport.attempts(self.url):
                with attempt:
                    try:
                        return self._try(service, params, keys, page)
                    except DamagedError as error:
                        if error.reason == "timeout" and attempt.num == tries:
                            raise self._in_words(error) from error
                        raise
        except (requests.RequestException, DamagedError, RefusedError) as error:
            raise self._in_words(error) from error
        raise AssertionError("a retry context ends by an answer or an error")

    def _in_words(self, error: Exception) -> ArchiveError:
        kind = ERRORS.get(getattr(error, "reason", ""))
        if kind is None:
            return to_archive_error(error, self.url)
        words = " ".join(str(error).split())[:200]
        return kind(f"{urlsplit(self.url).netloc}: {words}: try again later")

    def _try(self, service: str, params: dict[str, Any], keys: Sequence[str], page: dict[str, int]) -> Answer:
        """One try."""
        portal = self._client()
        self._polls.wait_s = FIRST_POLL_S
        try:
            _learn_columns(portal, service)
            responses = portal.service_request_async(service, params, **page)
        except requests.exceptions.JSONDecodeError as error:
            raise _unreadable(error.doc) from error
        except requests.HTTPError as error:
            if error.response is not None and error.response.status_code in TIMEOUT_STATUS:
                raise DamagedError(f"it answered {error.response.status_code}", "timeout") from error
            raise
        except requests.ReadTimeout as error:
            raise DamagedError("it did not answer within fetch.timeout_s", "timeout") from error
        except TimeoutError as error:
            raise DamagedError("the query is still executing", "busy") from error
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DamagedError(f"the status has another form than MAST's ({error})", "bad_json") from error
        return read_answer([response.content for response in responses], keys, **page)

    def count(self, criteria: Criteria) -> int:
        """How many observations meet the criteria (column name: values, or [low, high] for numbers)."""
        params = {"columns": "COUNT_BIG(*)", "filters": filters_of(criteria)}
        rows = self._ask(OBSERVATIONS, params, keys=("Column1",)).rows
        if len(rows) != 1 or not str(rows[0]["Column1"]).isdigit():
            raise BadJsonError(f"{urlsplit(self.url).netloc}: a count is no number: try again later")
        return int(rows[0]["Column1"])

    def observations(self, criteria: Criteria, *, page: int, page_size: int, tries: int = 0) -> Answer:
        """One page of observations, counted from 1, each row once. Raises ArchiveTimeoutError after so many `tries`."""
        params = {"columns": "*", "filters": filters_of(criteria)}
        keys = "obs_id", "obsid", "proposal_id"
        return self._ask(OBSERVATIONS, params, keys=keys, tries=tries, page=page, pagesize=page_size)

    def products(self, obsids: Sequence[int]) -> list[Row]:
        """Rows of all products of the observations with these `obsid` numbers, never `obs_id` names."""
        batches = (obsids[start : start + OBSIDS_A_REQUEST] for start in range(0, len(obsids), OBSIDS_A_REQUEST))
        return [row for batch in batches for row in self._products(",".join(map(str, batch)))]

    def _products(self, obsids: str) -> list[Row]:
        """The products of one request. Rows may repeat; then their number does not tell whether they took the place of
        others, so such an answer is believed when another one says the same.
        """
        seen: list[set[str]] = []
        for _ in range(self.transport.fetch.attempts + 1):
            rows = self._ask(PRODUCTS, {"obsid": obsids}, keys=("obsID", "dataURI")).rows
            told = {json.dumps(row, sort_keys=True) for row in rows}
            if len(told) == len(rows) or told in seen:
                return rows
            seen.append(told)
        raise PartialResultError(
            f"{urlsplit(self.url).netloc}: product lists differ from answer to answer: try again later"
        )

    def download_url(self, uri: str) -> str:
        """Where a data URI's bytes are served. Raises ArchiveError for a URI that is not MAST's."""
        if not uri.startswith("mast:"):
            raise ArchiveError(f"refused the data URI {uri[:80]!r}: MAST's begin with mast:")
        return f"{self.url}/api/v0.1/Download/file?uri={quote(uri, safe='')}"


def _learn_columns(portal: Any, service: str) -> None:
    """Let astroquery ask for the columns of a service, once a process, as it does before any query. What it learns is
    not used here, so that an odd answer does no harm.
    """
    from astroquery.exceptions import InvalidQueryError  # noqa: PLC0415 - slow; `local` never needs it

    with suppress(InvalidQueryError, AttributeError, TypeError):
        portal.build_filter_set(COLUMNS, service, obs_collection="HST")


def filters_of(criteria: Criteria) -> list[dict[str, Any]]:
    """The filters of a query in MAST's form (https://mast.stsci.edu/api/v0/pyex.html); at most one wildcard each."""
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
    return "*" in text or "%" in text


def read_answer(bodies: Iterable[bytes], keys: Sequence[str] = (), page: int = 0, pagesize: int = 0) -> Answer:
    """The rows of an answer: page number `page` of `pagesize` rows, or all pages when it is 0. Raises DamagedError
    unless they are as many as the answer says and `keys`, columns that every row has, are in them.
    """
    rows: list[Row] = []
    total = 0
    for body in bodies:
        table = _table(body)
        rows += table["data"]
        total = table["paging"]["rowsFiltered"]
    expected = max(min(total - (page - 1) * pagesize, pagesize), 0) if page else total
    if expected and not rows:
        raise DamagedError(f"no rows came of {expected}", "empty")
    if len(rows) != expected:
        raise DamagedError(f"{len(rows)} rows came of {expected}", "partial")
    _check_columns(rows, keys)
    return Answer(rows=rows, total=total)


def _check_columns(rows: list[Row], keys: Sequence[str]) -> None:
    """Raise DamagedError when a key is null in every row, or an observation comes twice."""
    for key in keys:
        is_lost = all(row.get(key) is None for row in rows)
        if rows and is_lost and (len(rows) > 1 or key != "proposal_id"):
            raise DamagedError(f"the column {key} is null in all of {len(rows)} rows", "null_columns")
    if "obsid" in keys and len({str(row.get("obsid")) for row in rows}) < sum(
        row.get("obsid") is not None for row in rows
    ):
        raise DamagedError(f"of {len(rows)} rows some are repeated", "partial")


def _table(body: bytes) -> dict[str, Any]:
    """An answer of MAST's form. Raises DamagedError."""
    try:
        table = json.loads(body)
        if table["status"] == "ERROR":
            words = str(table.get("msg") or "an error without a word")
            raise DamagedError(words, "timeout" if "time" in words.lower() and "out" in words.lower() else "error")
        is_whole = table["status"] == "COMPLETE" and all(isinstance(row, dict) for row in table["data"])
        if is_whole and isinstance(table["paging"]["rowsFiltered"], int):
            return dict(table)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unreadable(body.decode(errors="replace")) from error
    raise _unreadable(body.decode(errors="replace"))


def _unreadable(text: str) -> DamagedError:
    """What an answer is that cannot be read: nothing, a web page, or damaged JSON."""
    start = text.lstrip()[:40]
    if not start:
        return DamagedError("an empty answer came", "empty")
    if start.startswith("<"):
        return DamagedError("a web page came instead of data", "html")
    return DamagedError(f"no JSON of MAST's form came ({start!r}...)", "bad_json")
