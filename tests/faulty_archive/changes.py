"""Changes of the archive: valid responses that differ from those of today, as after a new release of the archive.

A change, other than a fault, stays when a request is repeated. `hubbleclip check-archive` must notice it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from starlette.types import Scope

from tests.faulty_archive.faults import Exchange, FaultInjector, RawResponse, Rows

Change = Callable[[RawResponse], RawResponse]
"""Function that changes a response; it returns the same object for a response without the changed feature."""


def _changed(change: Change, *, scope: Callable[[Scope], Scope] = lambda scope: scope) -> FaultInjector:
    """Make an injector that changes the response, or the request before it is answered."""

    async def inject(exchange: Exchange) -> bool:
        response = await replace(exchange, scope=scope(exchange.scope)).archive_response()
        changed = change(response)
        if exchange.scope["method"] == "HEAD" or changed is response:
            await exchange.send_response(changed)
        else:
            await exchange.send_response(changed, content_length=str(len(changed.body)))
        return changed is not response

    return inject


def _rows(column: str, change: Callable[[Rows], Rows]) -> FaultInjector:
    """Make an injector that changes the rows of tables with a column, and adjusts the number of rows."""

    def change_table(response: RawResponse) -> RawResponse:
        table = response.table()
        if table is None or column not in table["data"][0]:
            return response
        rows = change(table["data"])
        counts = dict.fromkeys(("rows", "rowsFiltered", "rowsTotal"), len(rows))
        body = json.dumps(table | {"data": rows, "paging": table["paging"] | counts})
        return replace(response, body=body.encode())

    return _changed(change_table)


def _text(old: bytes, new: bytes) -> FaultInjector:
    """Make an injector that replaces a text in the body."""

    def change_text(response: RawResponse) -> RawResponse:
        return replace(response, body=response.body.replace(old, new)) if old in response.body else response

    return _changed(change_text)


def _without_headers(*names: bytes) -> FaultInjector:
    """Make an injector that removes headers."""

    def change_headers(response: RawResponse) -> RawResponse:
        kept = [(name, value) for name, value in response.headers if name.lower() not in names]
        return replace(response, headers=kept)

    return _changed(change_headers)


def _without_range(scope: Scope) -> Scope:
    """Remove the header Range from a request."""
    return {**scope, "headers": [(name, value) for name, value in scope["headers"] if name.lower() != b"range"]}


def _without_column(response: RawResponse) -> RawResponse:
    """Remove the column of release dates from the description of the columns."""
    config = json.loads(response.body)
    config.pop("t_obs_release", None)
    return replace(response, body=json.dumps(config).encode())


def _as_page(response: RawResponse) -> RawResponse:
    """Replace a JPEG file by a web page."""
    page = b"<!DOCTYPE html><html><body>The preview has moved.</body></html>"
    return replace(response, body=page) if response.body.startswith(b"\xff\xd8\xff") else response


async def _ignore_dates(exchange: Exchange) -> bool:
    """Answer a query as if it had no range of release dates."""

    def drop_dates(query: dict[str, Any]) -> None:
        filters = query.get("params", {}).get("filters", [])
        query["params"]["filters"] = [item for item in filters if item["paramName"] != "t_obs_release"]

    await exchange.send_response(await exchange.change_query(drop_dates))
    return True


async def _lose_rows(exchange: Exchange) -> bool:
    """Send a table with half of its rows, which are others in each response."""
    return await _rows("objID", lambda rows: exchange.rng.sample(rows, (len(rows) + 1) // 2))(exchange)


def _without_images(rows: Rows) -> Rows:
    """Remove the first combined image of each proposal from a table of products."""
    endings = "_drc.fits", "_drz.fits", "_drw.fits", "_i2d.fits"
    named = sorted((row["dataURI"], row["proposal_id"]) for row in rows if row["dataURI"].endswith(endings))
    lost = {number: uri for uri, number in reversed(named)}.values()
    return [row for row in rows if row["dataURI"] not in lost]


ARCHIVE_CHANGES: dict[str, FaultInjector] = {
    "column_lost": _changed(_without_column),
    "dates_ignored": _ignore_dates,
    "rows_unstable": _lose_rows,
    "row_twice": _rows("objID", lambda rows: [*rows, rows[0]]),
    "names_null": _rows("objID", lambda rows: [rows[0] | {"obs_id": None}, *rows[1:]]),
    "new_instrument": _rows("objID", lambda rows: [rows[0] | {"instrument_name": "WFC4/UVIS"}, *rows[1:]]),
    "file_lost": _rows("dataURI", _without_images),
    "sizes_changed": _rows("dataURI", lambda rows: [row | {"size": (row["size"] or 0) + 2880} for row in rows]),
    "no_ranges": _changed(lambda response: response, scope=_without_range),
    "no_version": _without_headers(b"etag", b"last-modified"),
    "preview_moved": _changed(_as_page),
    "bucket_moved": _changed(lambda response: RawResponse(404, [], b"no such key")),
    "link_lost": _text(b"abstracts.cat", b"abstracts.xml"),
    "list_changed": _text(b"ID:  ", b"Number:  "),
    "search_changed": _text(b"totalResults", b"numResults"),
    "title_changed": _text(b"Title:</b> ", b"Title:</b> Changed: "),
}
"""Injector of each change, by name."""
