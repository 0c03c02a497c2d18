"""Findings of the check of an archive, and the client that sends the check's requests and saves the responses."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import requests

from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.archives.mast.client import Criteria
from hubbleclip.core.io import write_bytes
from hubbleclip.missions.archive import ArchivePins, PinnedFile

MAX_BODY_BYTES = 100_000_000
INDEX = "answers.json"


class Level(IntEnum):
    """Result of one comparison. The value is the exit code of `hubbleclip check-archive`."""

    OK = 0
    DIFFERS = 1
    """The ingest works, but a response of the archive differs from the known values."""
    STOPS = 2
    """The ingest would stop, or lose data."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the check's table: what was compared, what is needed, what the archive has, and the result."""

    what: str
    needed: str
    found: str
    level: Level


@dataclass(slots=True, kw_only=True)
class Measured:
    """Counts, sizes and times that the check measured; None if a figure was not measured.

    `page` has the number of rows of one page of observations and the time (s) to request the page. `latency_s` is the
    time (s) of the fastest request for a page. `list_s` is the time (s) to list the products of `OBSIDS_PER_REQUEST`
    observations. `bytes_per_s` is the speed of one connection to the archive, and `copy_bytes_per_s` the speed of one
    connection to its public copy. `wait_s` is the time (s) until a file begins to arrive. `files_each` is the number of
    files per observation, and `bytes_each` the number of fetched bytes per observation. `file_bytes` is the mean size
    of a file. `bytes_per_pixel` is the size (bytes) of a fetched file or preview, divided by its number of pixels.
    """

    num_observations: int | None = None
    page: tuple[int, float] | None = None
    latency_s: float | None = None
    list_s: float | None = None
    bytes_per_s: float | None = None
    copy_bytes_per_s: float | None = None
    wait_s: float = 0.0
    files_each: float | None = None
    bytes_each: float = 0.0
    file_bytes: float | None = None
    bytes_per_pixel: float | None = None
    num_requests: int = 0
    total_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All findings of a check, and what the check measured."""

    findings: list[Finding]
    measured: Measured = field(default_factory=Measured)

    @property
    def level(self) -> Level:
        """Worst result of all comparisons."""
        return max((finding.level for finding in self.findings), default=Level.OK)


def compare(what: str, needed: str, found: str, is_ok: bool, otherwise: Level = Level.DIFFERS) -> Finding:
    """Make a finding whose level is OK if `is_ok`, else `otherwise`."""
    return Finding(what, needed, found, Level.OK if is_ok else otherwise)


def shortened(names: Iterable[object], limit: int = 6) -> str:
    """Sort names, join the first `limit` by commas, and count the rest; "none" if there are no names."""
    ordered = sorted(map(str, names))
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(ordered[:limit]) + more if ordered else "none"


@dataclass(frozen=True, slots=True)
class ProbeResponse:
    """One response. `wait_s` is the time (s) until its body began, and `seconds` the time (s) to read the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    wait_s: float
    seconds: float

    @property
    def total(self) -> int | None:
        """Size (bytes) of the whole file according to the response headers; None if they have no size."""
        is_range = self.status == requests.codes.partial_content
        return size_of(self.headers, "Content-Range" if is_range else "Content-Length")


class Probe:
    """Client that sends the requests of one check. Responses are saved in the folder `keep` unless it is None."""

    def __init__(self, archive: MastArchive, pins: ArchivePins, keep: Path | None) -> None:
        self.settings, self.mission = archive.settings, archive.mission
        self.mast, self.transport = archive.mast, archive.transport
        self.fetch = archive.transport.fetch
        self.pins = pins
        self.measured = Measured()
        self.keep = keep
        self.name = ""  # name of the running check, for the saved responses
        self.num_in_all = 0  # number of observations of one instrument of the profile, for all release dates
        self.counted: list[tuple[Criteria, int]] = []  # each query of the profile, and its number of rows
        self.files: dict[str, PinnedFile] = {}  # files to download, by kind
        self.abstract_sources: list[str] = []  # sources in which an abstract was found
        self._kept: list[dict[str, Any]] = []
        self.transport.session.hooks["response"].append(self._on_response)

    def get(
        self, name: str, url: str, headers: Mapping[str, str] | None = None, *, limit: int = MAX_BODY_BYTES
    ) -> ProbeResponse:
        """Send one request with retries, and read at most `limit` bytes of the body."""

        def send() -> ProbeResponse:
            asked = time.monotonic()
            with self.transport.open(url, headers) as response:
                response.raise_for_status()
                started = time.monotonic()
                body = bytearray()
                for chunk in self.transport.iter_chunks(response, 1 << 62):
                    body += chunk
                    if len(body) >= limit:
                        break
                times = started - asked, time.monotonic() - started
                return ProbeResponse(response.status_code, response.headers, bytes(body[:limit]), *times)

        answer = self.transport.retried(url, send)
        about = {"method": "GET", "url": url, "status": answer.status, "headers": dict(answer.headers)}
        self._save(name, answer.body, about)
        return answer

    def _on_response(self, response: requests.Response, **_: Any) -> None:
        """Save the response to a query."""
        asked, body = response.request, response.request.body
        sent = body.decode(errors="replace") if isinstance(body, bytes) else body
        about = {"method": asked.method, "url": asked.url, "request": sent, "status": response.status_code}
        self._save(f"{self.name or 'answer'}.json", response.content, about)

    def _save(self, name: str, body: bytes, about: dict[str, Any]) -> None:
        """Count a response. If `keep` is set, write the response to a file and update the index of saved responses."""
        self.measured.num_requests += 1
        if self.keep is None:
            return
        stem, _, suffix = name.partition(".")
        file_name = f"{len(self._kept) + 1:02d}_{stem}.{suffix or 'bin'}"
        self._kept.append({"file": file_name, **about})
        write_bytes(self.keep / file_name, body)
        write_bytes(self.keep / INDEX, (json.dumps(self._kept, indent=2, default=str) + "\n").encode())


def size_of(headers: Mapping[str, str], name: str = "Content-Length") -> int | None:
    """Read a size (bytes) from the header Content-Length or Content-Range; None if there is no valid size."""
    with suppress(ValueError):
        return int(headers.get(name, "").rpartition("/")[2][:18])
    return None
