"""Check an archive before the first ingest: compare its responses with known values, and estimate time and sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import requests

from hubbleclip.archives.check import files, listing
from hubbleclip.archives.check.probe import CheckReport, Finding, Level, Probe
from hubbleclip.archives.http.responses import ResponseError
from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.core.errors import ArchiveDownError, ArchiveError
from hubbleclip.fits.cards import UnsoundError
from hubbleclip.missions.archive import ArchivePins

CHECKS: tuple[tuple[str, Callable[[Probe], Iterator[Finding]], Level], ...] = (
    ("counts", listing.check_counts, Level.STOPS),
    ("columns", listing.check_columns, Level.STOPS),
    ("window", listing.check_window, Level.STOPS),
    ("products", listing.check_products, Level.STOPS),
    ("file", files.check_files, Level.STOPS),
    ("preview", files.check_preview, Level.DIFFERS),
    ("public copy", files.check_public_copy, Level.DIFFERS),
    ("abstracts", files.check_bulk_list, Level.DIFFERS),
    ("programme page", files.check_page, Level.DIFFERS),
    ("APT file", files.check_apt, Level.DIFFERS),
    ("listing", files.check_listing, Level.DIFFERS),
    ("sources of abstracts", files.check_abstracts, Level.STOPS),
    ("search API", listing.check_search_api, Level.DIFFERS),
)
"""All checks in order. An entry has the name of the check, its function, and the result if a request fails."""


def check_archive(archive: MastArchive, pins: ArchivePins, keep: Path | None = None) -> CheckReport:
    """Send requests to an archive; compare the responses with what an ingest needs and with the values in `pins`.

    Raises ArchiveDownError if the archive cannot be reached.
    """
    probe = Probe(archive, pins, keep)
    started = time.monotonic()
    findings = [finding for check in CHECKS for finding in _run(probe, *check)]
    probe.measured.total_s = time.monotonic() - started
    return CheckReport(findings, probe.measured)


def _run(probe: Probe, name: str, check: Callable[[Probe], Iterator[Finding]], failed: Level) -> Iterator[Finding]:
    """Run one check. A failed request becomes a finding, but ArchiveDownError is raised if a server is down."""
    probe.name = name.replace(" ", "_")
    try:
        yield from check(probe)
    except ArchiveDownError:
        raise
    except (ArchiveError, ResponseError, requests.RequestException, UnsoundError, ValueError) as error:
        words = " ".join(f"{error}".split())[:200]
        yield Finding(name, "a usable answer", words or type(error).__name__, failed)
