"""Checks of downloads: a file, a preview, the public copy, the list of proposals, and the documents of a programme."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial

import requests
from PIL import Image

from hubbleclip.archives.base import service_url
from hubbleclip.archives.check.probe import Finding, Level, Probe, compare, shortened, size_of
from hubbleclip.archives.http.rate_limit import resolve_redirect
from hubbleclip.archives.mast.product_selection import BYTES_PER_MB
from hubbleclip.archives.mast.product_sources import S3Source
from hubbleclip.archives.stsci import parsers
from hubbleclip.archives.stsci.client import PROGRAMS_URL
from hubbleclip.archives.stsci.program_listing import parse_listing
from hubbleclip.core.text_cleaning import decode
from hubbleclip.fits.integrity import content_problem
from hubbleclip.fits.sieve import filtered
from hubbleclip.missions.archive import PinnedFile, ProposalPages

LIST_BYTES = 1 << 16
FILE_BYTES = 32_000_000
"""Maximum number of bytes that the check reads of a file."""
WHOLE = {"Accept-Encoding": "identity"}


def check_files(probe: Probe) -> Iterator[Finding]:
    """Download some files, check the response headers and the content, and measure the speed."""
    for kind, file in probe.files.items():
        yield from _check_file(probe, kind if kind == "file" else f"{kind} file", file)


def _check_file(probe: Probe, what: str, file: PinnedFile) -> Iterator[Finding]:
    """Check one file. Only the first `FILE_BYTES` of a larger file are read."""
    # the size that the archive lists is checked, because an ingest accepts only files of this size
    listed = file.size_bytes
    url, needed = probe.mast.download_url(file.uri), f"{listed:,} bytes"
    # One request for the range of all bytes replaces two requests: a HEAD, and a GET without a range.
    answer = probe.get("file.fits", url, {**WHOLE, "Range": "bytes=0-"}, limit=min(2 * listed, FILE_BYTES))
    is_range, total = answer.status == requests.codes.partial_content, answer.total
    otherwise = Level.DIFFERS if total is None else Level.STOPS
    found = "not stated" if total is None else f"{total} bytes"
    yield compare(f"{what}, size", needed, found, total == listed, otherwise)
    found = f"status {answer.status}, {answer.headers.get('Content-Range', 'no Content-Range')}"
    is_too_large = listed > probe.settings.max_product_mb * BYTES_PER_MB
    otherwise = Level.STOPS if is_too_large else Level.DIFFERS
    yield compare(f"{what}, Range", "status 206 and the size", found, is_range, otherwise)
    length = size_of(answer.headers)
    yield compare(f"{what}, length", f"Content-Length {listed}", f"Content-Length {length}", length == listed)
    versions = {name: answer.headers.get(name, "") for name in ("ETag", "Last-Modified")}
    found = ", ".join(f"{name} {value or 'missing'}" for name, value in versions.items())
    yield compare(f"{what}, version", "ETag or Last-Modified", found, any(versions.values()))
    problem = content_problem(answer.body, ".fits", listed) if listed <= FILE_BYTES else None
    is_intact = problem is None and answer.body.startswith(b"SIMPLE  =")
    found = problem.words if problem else f"{len(answer.body):,} bytes read"
    yield compare(f"{what}, content", f"{needed}, valid FITS", found, is_intact, Level.STOPS)
    if is_intact:
        num_pixels = filtered(answer.body)[1].num_pixels if problem is None else 0
        probe.measured.bytes_per_s, probe.measured.wait_s = len(answer.body) / max(answer.seconds, 1e-6), answer.wait_s
        probe.measured.bytes_per_pixel = listed / num_pixels if num_pixels else None


def check_preview(probe: Probe) -> Iterator[Finding]:
    """Check that a preview is a valid JPEG file."""
    uri = next((file.preview_uri for file in probe.files.values() if file.preview_uri), None)
    if uri is None:
        return
    answer = probe.get("preview.jpg", probe.mast.download_url(uri), WHOLE)
    problem = content_problem(answer.body, ".jpg")
    found = problem.words if problem else f"{len(answer.body):,} bytes, intact"
    needed = probe.settings.products != "science"
    yield compare("preview", "a JPEG file", found, problem is None, Level.STOPS if needed else Level.DIFFERS)
    if problem is None and needed:
        width, height = Image.open(io.BytesIO(answer.body)).size
        measured = probe.measured
        measured.bytes_per_pixel = len(answer.body) / (width * height)
        # some lists of products lack the sizes of previews; the size of this preview is then used
        measured.file_bytes = measured.file_bytes or float(len(answer.body))
        measured.bytes_each = measured.bytes_each or measured.file_bytes * (measured.files_each or 0.0)


def check_public_copy(probe: Probe) -> Iterator[Finding]:
    """Check that the public bucket holds the files, with the listed sizes, at the paths derived from their names."""
    otherwise = Level.STOPS if probe.fetch.sources == ("s3",) else Level.DIFFERS
    for kind, file in probe.files.items():
        what = "public copy" if kind == "file" else f"public copy of {kind} file"
        url = next(S3Source(probe.mast, probe.mission.bucket).addresses(file.uri, file.obs_id), None)
        if url is None:
            yield compare(what, "a path", "no path can be derived from the name", False, otherwise)
            continue
        try:
            answer = probe.get("public_copy.fits", url, {**WHOLE, "Range": "bytes=0-"}, limit=FILE_BYTES)
            found, is_ok = f"{answer.total} bytes at {url}", answer.total == file.size_bytes
            probe.measured.copy_bytes_per_s = len(answer.body) / max(answer.seconds, 1e-6)
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else "no response"
            found, is_ok = f"status {status} at {url}", False
        yield compare(what, f"{file.size_bytes:,} bytes", found, is_ok, otherwise)


def check_bulk_list(probe: Probe) -> Iterator[Finding]:
    """Check the page that links to the bulk list, and the first records of the list."""
    if not probe.mission.proposals.bulk_page:
        return
    page_url = service_url(probe.mast.url, probe.mission.proposals.bulk_page)
    url = resolve_redirect(page_url, parsers.find_bulk_link(probe.get("abstracts_page.html", page_url).body))
    yield compare("page of abstracts", "a link to abstracts.cat", url, True)
    answer = probe.get("abstracts.cat", url, {"Range": f"bytes=0-{LIST_BYTES - 1}"}, limit=LIST_BYTES)
    # the last record is dropped, because it may be truncated
    texts = parsers.parse_abstracts_cat(decode(answer.body))[:-1] or parsers.parse_abstracts_cat(decode(answer.body))
    complete = [text for text in texts if text.title and text.abstract]
    found = f"{len(complete)} of {len(texts)} complete"
    is_ok = len(complete) > len(texts) / 2
    yield compare("abstracts.cat", "most records with title and abstract", found, is_ok)
    if complete:
        probe.abstract_sources.append("abstracts.cat")


def check_document(
    what: str,
    name: str,
    path_of: Callable[[ProposalPages], str],
    parse: Callable[[bytes, str], parsers.ProposalText],
    probe: Probe,
) -> Iterator[Finding]:
    """Check that a document of a programme has a title; if `pins` has a title, the two titles must be equal."""
    path = path_of(probe.mission.proposals)
    numbers = (file.proposal for file in probe.files.values())
    number, title = probe.pins.title or (next(numbers, ""), None)
    if not (path and number):
        return
    text = parse(probe.get(name, service_url(probe.mast.url, f"{PROGRAMS_URL}/{path.format(number)}")).body, number)
    is_ok = text.title == title if title else text.title is not None
    yield compare(f"{what} of {number}", title or "a title", text.title or "no title", is_ok)
    if text.abstract:
        probe.abstract_sources.append(what)


def check_listing(probe: Probe) -> Iterator[Finding]:
    """Check the text listing of a programme, which the ingest reads if no other source has an abstract."""
    if not probe.abstract_sources:
        yield from check_document("listing", "programme.txt", lambda pages: pages.listing, parse_listing, probe)


check_page = partial(
    check_document, "programme page", "programme.html", lambda pages: pages.page, parsers.parse_program_page
)
check_apt = partial(check_document, "APT file", "programme.apt", lambda pages: pages.apt, parsers.parse_apt)


def check_abstracts(probe: Probe) -> Iterator[Finding]:
    """Check that at least one source has an abstract, because the tiles would have no captions otherwise."""
    found = shortened(probe.abstract_sources)
    yield compare("sources of abstracts", "at least one", found, bool(probe.abstract_sources), Level.STOPS)
