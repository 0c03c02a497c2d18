"""Downloads from servers that break off, lie and change: requests, outcome and the files that stay, as recorded."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubbleclip.core.errors import HubbleclipError
from tests.archives.conftest import fetch
from tests.bad_server import FITS, LARGE_FITS, BadServer, Respond, chunked, give, give_range
from tests.golden.plain import facts, files, requests, without
from tests.made_archive import header


def image(name: str, side: int) -> bytes:
    """An extension whose bytes are all different."""
    data = np.arange(side**2, dtype=">u4").tobytes()
    return header(name, side) + data.ljust(-(-len(data) // 2880) * 2880, b"\0")


SIEVED = b"".join((header(None, 0), *map(image, ("SCI", "ERR", "DQ", "CON", "WHT"), (720, 720, 60, 720, 12))))
"""A file of which ERR, at bytes 2,082,240 to 4,155,840, and CON are not read."""
LISTED = {"size_bytes": len(SIEVED)}
TAG, NEW_TAG, DATE = {"ETag": '"v1"'}, {"ETag": '"v2"'}, {"Last_Modified": "Tue, 24 Nov 2026 10:00:00 GMT"}
NEWER = FITS[:2880] + b"\1" * (len(FITS) - 2880)
PACKED = gzip.compress(FITS, mtime=0)
CUT, LARGE_CUT = (
    partial(give, FITS[:5000], length=len(FITS)),
    partial(give, LARGE_FITS[:2_000_000], length=len(LARGE_FITS)),
)
MORE = give(FITS[5000:] + b"x", 206, Content_Range=f"bytes 5000-{len(FITS) - 1}/{len(FITS)}", **TAG)


def part(first: int, content: bytes = FITS, **headers: str) -> Respond:
    """A response to a range that begins at another place than asked for."""
    return give(content[first:], 206, Content_Range=f"bytes {first}-{len(content) - 1}/{len(content)}", **headers)


def sieved(start: int, stop: int, **headers: str) -> Respond:
    """A response that breaks off."""
    span = {"Content_Range": f"bytes {start}-{len(SIEVED) - 1}/{len(SIEVED)}"}
    return give(SIEVED[start:stop], 206, length=len(SIEVED) - start, **headers, **span)


CASES: dict[str, tuple[list[Respond], dict[str, Any]]] = {
    "small": ([give(FITS, **TAG)], {}),
    "small, not kept": ([give(FITS, **TAG)], {"is_kept": False}),
    "small, as listed": ([give(FITS)], {"size_bytes": len(FITS), "file_name": "../../A.FITS"}),
    "large, not kept": ([give(LARGE_FITS, **DATE)], {"is_kept": False}),
    "packed": ([give(PACKED)], {"file_name": "a.fits.gz"}),
    "packed by the server": ([give(PACKED, Content_Encoding="gzip")], {}),
    "weak tag": ([CUT(ETag='W/"v1"', **DATE), give_range(FITS, ETag='W/"v1"', **DATE)], {}),
    "chunks": ([chunked(FITS)], {}),
    "chunks, large": ([chunked(LARGE_FITS)], {"size_bytes": len(LARGE_FITS)}),
    "chunks, more than listed": ([chunked(LARGE_FITS)], {"size_bytes": len(LARGE_FITS) - 2880}),
    "chunks, fewer than listed": ([chunked(FITS)], {"size_bytes": len(FITS) + 2880}),
    "broken off": ([CUT(**TAG), give_range(FITS, **TAG)], {}),
    "broken off, then elsewhere": ([CUT(**TAG), give(b"", 302, Location="/b"), give_range(FITS, **TAG)], {}),
    "broken off, large": ([LARGE_CUT(**TAG), give_range(LARGE_FITS, **TAG)], {}),
    "broken off, by date": ([LARGE_CUT(**DATE), give_range(LARGE_FITS, **DATE)], {}),
    "broken off, without version": ([LARGE_CUT(), give(LARGE_FITS)], {}),
    "broken off, then whole": ([CUT(**TAG), give(FITS, **TAG)], {}),
    "broken off, then a part without version": ([CUT(**TAG), give_range(FITS)], {}),
    "broken off, then another version": ([CUT(**TAG), give_range(NEWER, **NEW_TAG), give(NEWER, **NEW_TAG)], {}),
    "broken off, then another place": ([CUT(**TAG), part(4000, **TAG), give(FITS, **TAG)], {}),
    "broken off, then a byte too many": ([CUT(**TAG), MORE], {}),
    "broken off, then not satisfiable": ([CUT(**TAG), give(b"", 416), give(FITS, **TAG)], {}),
    "broken off, then a page": ([CUT(**TAG), give(b"<p>", Content_Type="text/html; x"), give_range(FITS, **TAG)], {}),
    "broken off, then failing": ([CUT(**TAG), give(b"", 500)], {}),
    "a part without its place": ([give(FITS, 206)], {}),
    "a part of the wrong place": ([part(2880, **TAG)], {}),
    "redirect": ([give(b"", 301, Location="/b?c=d"), give(FITS)], {}),
    "redirect elsewhere": ([give(b"", 302, Location="http://127.0.0.2/x")], {}),
    "redirects without end": ([give(b"", 307, Location="/b")], {}),
    **{
        f"status {status}": ([give(b"", status)], {})
        for status in (400, 401, 403, 404, 408, 410, 416, 425, 429, 500, 503)
    },
    "fails, then whole": ([give(b"", 503), give(b"", 429, Retry_After="0"), give(FITS)], {}),
    "a page": ([give(b"<html>", Content_Type="text/html")], {}),
    "a page that says it is a file": ([give(b"<!DOCTYPE html><p>")], {}),
    "damaged": ([give(FITS[:-2880] + b"x")], {}),
    "damaged once": ([give(FITS[:-2880]), give(FITS)], {}),
    "damaged, large": ([give(LARGE_FITS[:-2880], **TAG)], {}),
    "another size than listed": ([give(FITS)], {"size_bytes": len(FITS) + 2880}),
    "more than allowed": ([give(FITS)], {"max_bytes": len(FITS) - 1}),
    "as many as allowed": ([give(FITS)], {"max_bytes": len(FITS)}),
    "more than allowed, in chunks": ([chunked(LARGE_FITS)], {"max_bytes": 2_000_000}),
    "sieved": ([give_range(SIEVED, **TAG)], LISTED),
    "sieved, whole asked for": ([give_range(SIEVED, **TAG)], LISTED | {"hasty": {"whole_files": True}}),
    "sieved, size not listed": ([give_range(SIEVED, **TAG)], {}),
    "sieved, no ranges": ([give(SIEVED, **TAG)], LISTED),
    "sieved, no version": ([give_range(SIEVED)], LISTED),
    "sieved, allowed without the rest": ([give_range(SIEVED, **TAG)], LISTED | {"max_bytes": 3_000_000}),
    "sieved, too large": ([give_range(SIEVED, **TAG)], LISTED | {"max_bytes": 2_000_000}),
    "sieved, broken off in a header": ([sieved(0, 4000, **TAG), give_range(SIEVED, **TAG)], LISTED),
    "sieved, broken off before": ([sieved(0, 1_000_000, **TAG), give_range(SIEVED, **TAG)], LISTED),
    "sieved, broken off behind": (
        [give_range(SIEVED, **TAG), sieved(4_155_840, 4_160_000, **TAG), give_range(SIEVED, **TAG)],
        LISTED,
    ),
    "sieved, then from the start": ([sieved(0, 1_000_000, **TAG), sieved(0, len(SIEVED), **TAG)], LISTED),
    "sieved, another version": ([give_range(SIEVED, **TAG), give(SIEVED, **NEW_TAG)], LISTED),
    "sieved, cut": ([give_range(SIEVED[:-2880], **TAG)], LISTED),
    "sieved, cut by bytes": ([give_range(SIEVED[:-100], **TAG)], {"size_bytes": len(SIEVED) - 100}),
    "sieved, skipped at the end": ([give_range(SIEVED[:-5760], **TAG)], {"size_bytes": len(SIEVED) - 5760}),
    "sieved, no FITS": ([give_range(b"x" * len(SIEVED), **TAG)], LISTED),
    "sieved, more behind": ([give_range(SIEVED + b"\0" * 2880, **TAG)], {"size_bytes": len(SIEVED) + 2880}),
}
"""Responses of the server in turn, and fields of the request."""


GROUPS = ("broken", "sieved", "status", "")


@pytest.mark.parametrize("group", GROUPS)
def test_downloads_are_those_recorded(group: str, tmp_path: Path, compare_recorded: Callable[..., None]) -> None:
    found: dict[str, Any] = {}
    cases = {name: case for name, case in CASES.items() if next(one for one in GROUPS if name.startswith(one)) == group}
    for number, (name, (responses, asked)) in enumerate(cases.items()):
        root, outcome = tmp_path / str(number), None
        with BadServer(*responses) as server:
            try:
                file = fetch(server, root, **asked)
                outcome = facts(file) | {
                    "data": len(file.data or b""),
                    "path": file.path and file.path.relative_to(root),
                }
            except HubbleclipError as error:
                outcome = [type(error).__name__, getattr(error, "reason", ""), str(error)]
            found[name] = without([outcome, requests(server), files(root)], (server.host, "HOST"))
    compare_recorded(f"downloads_{group or 'others'}.json", found)


def test_a_partial_file_of_another_run_is_continued_or_set_aside(
    tmp_path: Path, compare_recorded: Callable[..., None]
) -> None:
    """A run is interrupted, by an answer that ends its tries, and another one goes on with other settings."""
    found: dict[str, Any] = {}
    stop = give(b"", 404)
    for name, (first, second, asked, then) in {
        "same": (LARGE_CUT(**TAG), give_range(LARGE_FITS, **TAG), {}, {}),
        "sieved": (sieved(0, 1_000_000, **TAG), give_range(SIEVED, **TAG), LISTED, {}),
        "sieved, then whole": (sieved(0, 1_000_000, **TAG), give_range(SIEVED, **TAG), LISTED, {"whole_files": True}),
        "whole, then sieved": (
            give(SIEVED[:1_000_000], length=len(SIEVED), **TAG),
            give_range(SIEVED, **TAG),
            LISTED | {"hasty": {"whole_files": True}},
            {"whole_files": False},
        ),
    }.items():
        root, outcomes = tmp_path / name, []
        with BadServer(first, stop, second) as server:
            for settings in (asked, {**asked, "hasty": then}):
                try:
                    outcomes.append(fetch(server, root, **settings).sha256)
                except HubbleclipError as error:
                    outcomes.append(str(error))
                outcomes += [files(root), requests(server)]
            found[name] = without(outcomes, (server.host, "HOST"))
    compare_recorded("downloads_continued.json", found)
