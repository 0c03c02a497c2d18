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
from hubbleclip.core.io import write_bytes
from hubbleclip.core.records import Observation
from hubbleclip.missions.pins import ArchivePins

MAX_BODY_BYTES = 100_000_000
INDEX = "answers.json"


class Level(IntEnum):
    """Result of one comparison. The value is the exit code of `hubbleclip check-archive`."""

    OK = 0
    DIFFERS = 1
    """The ingest works, but the archive differs from what is known of it."""
    STOPS = 2
    """The ingest would stop, or lose data."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table: what was compared, what the program needs, what the archive has, and the result."""

    what: str
    needed: str
    found: str
    level: Level


@dataclass(slots=True, kw_only=True)
class Measured:
    """Figures of the archive that the requests measured; None if a figure was not measured.

    `rows_s` and `list_s` are seconds per page of observations and per list of products, `bytes_per_s` is the speed of
    one connection. For a sample of `num_sampled` observations, `num_files` files were chosen, which have `file_bytes`
    on average. `bytes_per_pixel` is the size of the pinned file, or of its preview, per pixel. `read_share` is the
    share of the file's bytes that are fetched if extensions that no stage reads are skipped.
    """

    num_observations: int | None = None
    rows_s: float | None = None
    list_s: float | None = None
    bytes_per_s: float | None = None
    num_sampled: int = 0
    num_files: int = 0
    file_bytes: float | None = None
    bytes_per_pixel: float | None = None
    read_share: float = 1.0
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
    """Make a finding; its level is `otherwise` unless `is_ok`."""
    return Finding(what, needed, found, Level.OK if is_ok else otherwise)


def shortened(names: Iterable[object], limit: int = 6) -> str:
    """Join sorted names by commas, and count those beyond the limit; "none" if there are none."""
    ordered = sorted(map(str, names))
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(ordered[:limit]) + more if ordered else "none"


@dataclass(frozen=True, slots=True)
class ProbeResponse:
    """One response: status, headers, body, and the seconds that the body took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


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
        self.num_in_all = 0  # number of observations of the window's instrument on all dates
        self.sample: list[Observation] = []  # observations of the window
        self.columns = b""  # description of the columns, if astroquery has requested it
        self.listed_bytes: int | None = None  # size of the pinned file in its product list
        self._kept: list[dict[str, Any]] = []
        self.transport.session.hooks["response"].append(self._on_response)

    def get(
        self,
        name: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        limit: int = MAX_BODY_BYTES,
    ) -> ProbeResponse:
        """Send one request with retries, and read at most `limit` bytes of the body."""
        for attempt in self.transport.attempts(url):
            with attempt, self.transport.open(url, headers, method=method) as response:
                started = time.monotonic()
                body = bytearray()
                for chunk in self.transport.iter_chunks(response, 1 << 62) if method == "GET" else ():
                    body += chunk
                    if len(body) >= limit:
                        break
                answer = ProbeResponse(
                    response.status_code, response.headers, bytes(body[:limit]), time.monotonic() - started
                )
        self._save(
            name, answer.body, {"method": method, "url": url, "status": answer.status, "headers": dict(answer.headers)}
        )
        return answer

    def _on_response(self, response: requests.Response, **_: Any) -> None:
        """Save a response to a request through the session, such as one of astroquery."""
        if response.ok and response.url.endswith("/columnsconfig"):
            self.columns = response.content
        body = response.request.body
        about = {
            "method": response.request.method,
            "url": response.request.url,
            "request": body.decode(errors="replace") if isinstance(body, bytes) else body,
            "status": response.status_code,
        }
        self._save(f"{self.name or 'answer'}.json", response.content, about)

    def _save(self, name: str, body: bytes, about: dict[str, Any]) -> None:
        """Count an answer, and save it and the index of all answers."""
        self.measured.num_requests += 1
        if self.keep is None:
            return
        stem, _, suffix = name.partition(".")
        file_name = f"{len(self._kept) + 1:02d}_{stem}.{suffix or 'bin'}"
        self._kept.append({"file": file_name, **about})
        write_bytes(self.keep / file_name, body)
        write_bytes(self.keep / INDEX, (json.dumps(self._kept, indent=2, default=str) + "\n").encode())


def size_of(headers: Mapping[str, str], name: str = "Content-Length") -> int | None:
    """Read a size (bytes) from a header; in `Content-Range` it follows the slash. None if there is no valid size."""
    with suppress(ValueError):
        return int(headers.get(name, "").rpartition("/")[2][:18])
    return None
