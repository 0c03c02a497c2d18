"""MAST's observation and product queries, with astroquery as the client; answers become plain rows at this edge.

Addresses and time limits are set on fresh astroquery objects, since its class bodies read their defaults when they
are imported and its instances share one table of column types: two servers in one process must not meet there.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import requests
from astropy.table import Table

from hubbleclip.archives.transport import DamagedError, Transport, in_words, user_agent
from hubbleclip.errors import ArchiveError

Row = dict[str, Any]
Criteria = dict[str, Any]
T = TypeVar("T")

PRODUCT_PAGE_ROWS = 50_000
OBSIDS_A_REQUEST = 100
POLL_PATIENCE = 10
MISSING_INT = -999


class MastClient:
    """Asks one MAST server. Threads may share it: their queries take turns, as astroquery is not for threads."""

    def __init__(self, url: str, transport: Transport) -> None:
        self.url = url.rstrip("/")
        self.transport = transport
        self._lock = threading.Lock()
        self._observations: Any = None

    def _client(self) -> Any:
        """Astroquery's class, made when first needed (its import takes seconds) and bound to this server."""
        if self._observations is None:
            from astroquery.mast import ObservationsClass  # noqa: PLC0415 - a slow import that `local` never needs

            client = ObservationsClass()
            portal = client._portal_api_connection
            portal.MAST_REQUEST_URL = f"{self.url}/api/v0/invoke"
            portal.COLUMNS_CONFIG_URL = f"{self.url}/portal/Mashup/Mashup.asmx/columnsconfig"
            portal.TIMEOUT = self.transport.fetch.timeout_s * POLL_PATIENCE
            portal.PAGESIZE = PRODUCT_PAGE_ROWS
            portal._column_configs = {}
            self.transport.mount_on(portal._session)
            agent = user_agent(self.transport.fetch.contact)
            portal._session.headers["User-Agent"] = f"{agent} {portal._session.headers['User-Agent']}"
            self._observations = client
        return self._observations

    def _ask(self, question: Callable[[Any], T]) -> T:
        """One query, retried; whatever goes wrong in it becomes an ArchiveError."""
        try:
            for attempt in self.transport.attempts():
                with attempt, self._lock, warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    return self._try(question)
        except (requests.RequestException, DamagedError) as error:
            raise in_words(error, self.url) from error
        raise AssertionError("a retry context ends by an answer or an error")

    def _try(self, question: Callable[[Any], T]) -> T:
        """One try. An answer that astroquery cannot read is as good as none, and so is what it learned of columns."""
        from astroquery.exceptions import InvalidQueryError, RemoteServiceError  # noqa: PLC0415 - as above

        client = self._client()
        unreadable = KeyError, TypeError, AttributeError, ValueError, IndexError
        try:
            answer = question(client)
            self.transport.reached = True
            return answer
        except requests.exceptions.JSONDecodeError as error:
            raise DamagedError("no JSON came") from error
        except requests.RequestException:
            raise
        except (RemoteServiceError, InvalidQueryError, TimeoutError) as error:
            client._portal_api_connection._column_configs = {}
            raise DamagedError(str(error)) from error
        except unreadable as error:
            client._portal_api_connection._column_configs = {}
            raise DamagedError(f"the answer has not the form of MAST's: {type(error).__name__} {error}") from error

    def count(self, criteria: Criteria) -> int:
        """How many observations meet the criteria (column name: values, or [low, high] for numbers)."""
        return self._ask(lambda client: int(client.query_criteria_count(**criteria)))

    def page(self, criteria: Criteria, page: int, page_size: int) -> list[Row]:
        """Rows of one page of observations, counted from 1."""
        return self._ask(
            lambda client: rows_of(client.query_criteria(**criteria, pagesize=page_size, page=page))
        )  # fmt: skip

    def products(self, obsids: Sequence[int]) -> list[Row]:
        """Rows of all products of the observations with these `obsid` numbers, never `obs_id` names."""
        rows: list[Row] = []
        for start in range(0, len(obsids), OBSIDS_A_REQUEST):
            batch = [str(obsid) for obsid in obsids[start : start + OBSIDS_A_REQUEST]]
            rows += self._ask(lambda client, batch=batch: rows_of(client.get_product_list(batch)))  # type: ignore[misc]
        return rows

    def download_url(self, uri: str) -> str:
        """Where a data URI's bytes are served. Raises ArchiveError for a URI that is not MAST's."""
        if not uri.startswith("mast:"):
            raise ArchiveError(f"refused the data URI {uri[:80]!r}: MAST's begin with mast:")
        return f"{self.url}/api/v0.1/Download/file?uri={quote(uri, safe='')}"


def rows_of(table: Table) -> list[Row]:
    """An astropy table as rows; masked cells, empty strings, NaN and MAST's -999 are None."""
    columns = {name: [_plain(value) for value in table[name].tolist()] for name in table.colnames}
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _plain(value: Any) -> Any:
    """A cell's value, None for each of MAST's ways to say nothing (NaN differs from itself); text in printable letters
    alone, since controls and halves of surrogate pairs break terminals and tables.
    """
    if value is None or value == MISSING_INT or value != value:  # noqa: PLR0124
        return None
    if not isinstance(value, str):
        return value
    text = value if value.isprintable() else "".join(letter if letter.isprintable() else " " for letter in value)
    return text.strip() or None
