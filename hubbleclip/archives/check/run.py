"""Run all checks of an archive."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import requests

from hubbleclip.archives.check import files, listing, proposals
from hubbleclip.archives.check.findings import CheckReport, Finding, Level
from hubbleclip.archives.check.probe import Probe
from hubbleclip.archives.http.response_errors import ResponseError
from hubbleclip.config.settings import ArchiveSettings, FetchSettings
from hubbleclip.core.errors import ArchiveDownError, ArchiveError
from hubbleclip.core.layout import Layout
from hubbleclip.fits.cards import UnsoundError
from hubbleclip.missions.pins import ArchivePins


@dataclass(frozen=True, slots=True)
class Check:
    """A group of comparisons: its name, the function, and the result if a request fails."""

    name: str
    run: Callable[[Probe], Iterator[Finding]]
    failed: Level


CHECKS = (
    Check("counts", listing.check_counts, Level.STOPS),
    Check("columns", listing.check_columns, Level.STOPS),  # after a query, for which astroquery requests the columns
    Check("window", listing.check_window, Level.STOPS),
    Check("products", listing.check_products, Level.STOPS),
    Check("file", files.check_file, Level.STOPS),
    Check("preview", files.check_preview, Level.DIFFERS),
    Check("public copy", files.check_public_copy, Level.DIFFERS),
    Check("abstracts", proposals.check_bulk_list, Level.DIFFERS),
    Check("programme", proposals.check_programme, Level.DIFFERS),
    Check("search API", listing.check_search_api, Level.DIFFERS),
)
"""All checks, in the order in which they run."""


def check_archive(
    archive: ArchiveSettings, fetch: FetchSettings, layout: Layout, pins: ArchivePins, keep: Path | None = None
) -> CheckReport:
    """Send some requests to an archive, and compare its responses with what the ingest needs and what is known.

    Raises ArchiveDownError if the archive cannot be reached.
    """
    probe = Probe(archive, fetch, layout, pins, keep)
    started = time.monotonic()
    findings = [finding for check in CHECKS for finding in _run(check, probe)]
    probe.measured.total_s = time.monotonic() - started
    return CheckReport(findings, probe.measured)


def _run(check: Check, probe: Probe) -> Iterator[Finding]:
    """Run one check. A request that fails becomes a finding; a server of MAST that is down ends the check."""
    try:
        with probe.named(check.name.replace(" ", "_")):
            yield from check.run(probe)
    except ArchiveDownError:
        raise
    except (ArchiveError, ResponseError, requests.RequestException, UnsoundError, ValueError) as error:
        words = " ".join(f"{error}".split())[:200]
        yield Finding(check.name, "a usable answer", words or type(error).__name__, check.failed)
