"""Checks of downloads: a file, a preview, the public copy, the list of proposals, and the documents of a programme."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import requests
from PIL import Image

from hubbleclip.archives.base import service_url
from hubbleclip.archives.check.listing import pinned_product
from hubbleclip.archives.check.probe import Finding, Level, Probe, ProbeResponse, compare, size_of
from hubbleclip.archives.http.rate_limit import resolve_redirect
from hubbleclip.archives.mast.public_bucket import S3Source
from hubbleclip.archives.stsci.client import PROGRAMS_URL
from hubbleclip.archives.stsci.parsers import (
    ProposalText,
    find_bulk_link,
    parse_abstracts_cat,
    parse_apt,
    parse_program_page,
)
from hubbleclip.core.text_cleaning import decode
from hubbleclip.fits.integrity import content_problem
from hubbleclip.fits.sieve import filtered

LIST_BYTES = 1 << 16
WHOLE = {"Accept-Encoding": "identity"}


def check_file(probe: Probe) -> Iterator[Finding]:
    """Check the headers and the content of the pinned file, requested as the range of all bytes; measure the speed."""
    file = probe.pins.file
    if file is None:
        return
    # a file whose size differs from the listed size is never accepted, even if it has the pinned size
    listed = probe.listed_bytes or file.size_bytes
    url, needed = probe.mast.download_url(file.uri), f"{listed:,} bytes"
    # One request for the range of all bytes gives what HEAD and a request without a range would give.
    answer = probe.get("file.fits", url, {**WHOLE, "Range": "bytes=0-"}, limit=2 * listed)
    is_range = answer.status == requests.codes.partial_content
    total = size_of(answer.headers, "Content-Range" if is_range else "Content-Length")
    yield compare("file, size", needed, f"{total} bytes", total == listed, Level.STOPS)
    found = f"status {answer.status}, {answer.headers.get('Content-Range', 'no Content-Range')}"
    yield compare("file, Range", "status 206 and the size", found, is_range)
    length = size_of(answer.headers)
    yield compare("file, length", f"Content-Length {listed}", f"Content-Length {length}", length == listed)
    versions = {name: answer.headers.get(name, "") for name in ("ETag", "Last-Modified")}
    found = ", ".join(f"{name} {value or 'missing'}" for name, value in versions.items())
    yield compare("file, version", "ETag or Last-Modified", found, any(versions.values()))
    problem = content_problem(answer.body, ".fits", listed)
    found = problem.words if problem else f"{len(answer.body):,} bytes, intact"
    yield compare("file, content", f"{needed}, valid FITS", found, problem is None, Level.STOPS)
    if problem is None:
        _measure(probe, answer)


def _measure(probe: Probe, whole: ProbeResponse) -> None:
    """Measure the speed of a connection, and the size of the file relative to its image."""
    sieve = filtered(whole.body)[1]
    probe.measured.bytes_per_s = len(whole.body) / max(whole.seconds, 1e-6)
    probe.measured.read_share = 1 - sieve.num_skipped / len(whole.body)
    probe.measured.bytes_per_pixel = len(whole.body) / sieve.num_pixels if sieve.num_pixels else None


def check_preview(probe: Probe) -> Iterator[Finding]:
    """Check that the preview of the pinned file is a valid JPEG file."""
    file = probe.pins.file
    if file is None:
        return
    answer = probe.get("preview.jpg", probe.mast.download_url(file.preview_uri), WHOLE)
    problem = content_problem(answer.body, ".jpg")
    found = problem.words if problem else f"{len(answer.body):,} bytes, intact"
    yield compare("preview", "a JPEG file", found, problem is None)
    if problem is None and probe.settings.products != "science":
        width, height = Image.open(io.BytesIO(answer.body)).size
        measured = probe.measured
        measured.bytes_per_pixel, measured.read_share = len(answer.body) / (width * height), 1.0
        # some lists have no sizes of previews
        measured.file_bytes = measured.file_bytes or float(len(answer.body))


def check_public_copy(probe: Probe) -> Iterator[Finding]:
    """Check that the public bucket holds the pinned file, with the listed size, at the path derived from its name."""
    product = pinned_product(probe)
    if product is None:
        return
    listed = probe.listed_bytes or product.size_bytes
    otherwise = Level.STOPS if probe.fetch.sources == ("s3",) else Level.DIFFERS
    url = next(iter(S3Source(probe.fetch, probe.mast, probe.mission.bucket).addresses(product)), None)
    if url is None:
        yield compare("public copy", "a path", "no path follows from the name", False, otherwise)
        return
    try:
        size = size_of(probe.get("public_copy.txt", url, WHOLE, method="HEAD").headers)
        found, is_ok = f"{size} bytes at {url}", size == listed
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else "no response"
        found, is_ok = f"status {status} at {url}", False
    yield compare("public copy", f"{listed:,} bytes", found, is_ok, otherwise)


def check_bulk_list(probe: Probe) -> Iterator[Finding]:
    """Check the page that links to the bulk list, and the first records of the list."""
    if not probe.mission.proposals.bulk_page:
        return
    page_url = service_url(probe.mast.url, probe.mission.proposals.bulk_page)
    url = resolve_redirect(page_url, find_bulk_link(probe.get("abstracts_page.html", page_url).body))
    yield compare("page of abstracts", "a link to abstracts.cat", url, True)
    answer = probe.get("abstracts.cat", url, {"Range": f"bytes=0-{LIST_BYTES - 1}"}, limit=LIST_BYTES)
    # the last record may be cut
    texts = parse_abstracts_cat(decode(answer.body))[:-1] or parse_abstracts_cat(decode(answer.body))
    complete = [text for text in texts if text.title and text.abstract]
    found = f"{len(complete)} of {len(texts)} complete"
    yield compare("abstracts.cat", "records with title and abstract", found, bool(complete), Level.STOPS)
    if texts and len(complete) < len(texts) / 2:
        yield compare("abstracts.cat, fields", "most records complete", found, False)


def check_programme(probe: Probe) -> Iterator[Finding]:
    """Compare the title on the page of the pinned programme, and in its APT file, with the known title."""
    if probe.pins.title is None:
        return
    number, title = probe.pins.title
    pages = probe.mission.proposals
    documents: list[tuple[str, str, str, Callable[[bytes, str], ProposalText]]] = [
        ("programme page", "programme.html", pages.page, parse_program_page),
        ("APT file", "programme.apt", pages.apt, parse_apt),
    ]
    for what, name, path, parse in documents:
        url = service_url(probe.mast.url, f"{PROGRAMS_URL}/{path.format(number)}")
        found = parse(probe.get(name, url).body, number).title
        yield compare(f"{what} of {number}", title, found or "no title", found == title)
