"""Checks of the sources of proposals: the bulk list, a programme's page and its APT file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hubbleclip.archives.check.findings import Finding, Level, compare
from hubbleclip.archives.check.probe import Probe
from hubbleclip.archives.http.rate_limit import resolve_redirect
from hubbleclip.archives.stsci.parsers import (
    ProposalText,
    find_bulk_link,
    parse_abstracts_cat,
    parse_apt,
    parse_program_page,
)
from hubbleclip.core.text_cleaning import decode

LIST_BYTES = 1 << 16


def check_bulk_list(probe: Probe) -> Iterator[Finding]:
    """Check the page that links to the bulk list, and the first records of the list."""
    page_url = probe.settings.proposals_url or probe.mission.proposals.bulk_page
    if not page_url:
        return
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
        url = f"{probe.settings.programs_url.rstrip('/')}/{path.format(number)}"
        found = parse(probe.get(name, url).body, number).title
        yield compare(f"{what} of {number}", title, found or "no title", found == title)
