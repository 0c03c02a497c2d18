"""Proposals from STScI: the bulk list first, then for those that it lacks the APT file, then the programme page."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from urllib.parse import quote

import requests

from hubbleclip.archives.base import now_utc, proposal_id_of, reject
from hubbleclip.archives.proposals import (
    ProposalText,
    clean_number,
    find_bulk_link,
    parse_abstracts_cat,
    parse_apt,
    parse_program_page,
)
from hubbleclip.archives.transport import RefusedError, Transport, in_words, same_host
from hubbleclip.errors import ArchiveError, ArchiveUnreachableError
from hubbleclip.files import write_bytes, write_text
from hubbleclip.paths import Layout
from hubbleclip.records import Proposal, Rejection
from hubbleclip.settings import ArchiveSettings

LOG = logging.getLogger(__name__)
BULK_SOURCE = "abstracts.cat"


class ProposalSource:
    """Looks proposals up. The landed bulk list comes before the network, and is asked for anew when it lacks one."""

    def __init__(self, settings: ArchiveSettings, transport: Transport, layout: Layout) -> None:
        self.settings = settings
        self.transport = transport
        self.landed = layout.raw / "abstracts.cat"
        self.version = layout.raw / "abstracts.cat.etag"
        self._lock = threading.Lock()
        self._bulk: dict[str, ProposalText] | None = None
        self._is_asked = False

    def fetch(self, numbers: Sequence[str]) -> tuple[list[Proposal], list[Rejection]]:
        """Proposals in the order asked, and a Rejection for each that no source has. Raises ArchiveError."""
        proposals: list[Proposal] = []
        rejections: list[Rejection] = []
        bulk = self._read_bulk([clean_number(number) for number in numbers])
        for number in dict.fromkeys(numbers):
            text, source = bulk.get(clean_number(number)), BULK_SOURCE
            try:
                if text is None or text.title is None:
                    text, source = self._fetch_one(number)
                proposals.append(self._proposal(number, text, source))
            except ArchiveUnreachableError:
                raise
            except ArchiveError as error:
                rejections.append(self._rejection(number, str(error)))
        return proposals, rejections

    def _proposal(self, number: str, text: ProposalText, source: str) -> Proposal:
        if text.title is None:
            raise ArchiveError(f"proposal {number} has no title in {source}")
        return Proposal(
            proposal_id=proposal_id_of(self.settings.name, number),
            archive=self.settings.name,
            number=clean_number(number) or number,
            cycle=text.cycle,
            proposal_type=text.proposal_type,
            category=text.category,
            title=text.title,
            pi=text.pi,
            abstract=text.abstract,
            source=source,
            fetched_at=now_utc(),
        )

    def _rejection(self, number: str, detail: str) -> Rejection:
        proposal_id = proposal_id_of(self.settings.name, number)
        return reject(
            "proposal",
            proposal_id,
            "proposals",
            reason="not_found",
            detail=detail,
            settings_digest=self.settings.digest(),
        )

    def _read_bulk(self, numbers: Sequence[str]) -> dict[str, ProposalText]:
        """The bulk list by number: as landed, or anew when it lacks one of `numbers` and was not asked for yet."""
        with self._lock:
            if self._bulk is None and self.landed.is_file():
                self._bulk = _parse_bulk(self.landed.read_bytes())
            if not self._is_asked and any(number not in (self._bulk or {}) for number in numbers):
                self._fetch_bulk()
                self._is_asked = True
            return self._bulk or {}

    def _fetch_bulk(self) -> None:
        """Land the bulk list if the server's is another one. A page without the link is reported, and does without."""
        page_url = self.settings.proposals_url
        try:
            link = find_bulk_link(self.transport.get(page_url).text)
            if link is None:
                LOG.warning("%s links no abstracts.cat; proposals are asked for one by one", page_url)
                return
            url = same_host(page_url, link)
            known = self.version.read_text(encoding="latin-1") if self.version.is_file() else ""
            headers = {"If-None-Match": known} if known and self.landed.is_file() else {}
            response = self.transport.get(url, headers)
        except (requests.HTTPError, RefusedError) as error:
            LOG.warning("no bulk list (%s); proposals are asked for one by one", in_words(error, page_url))
            return
        if response.status_code == requests.codes.not_modified:
            return
        bulk = _parse_bulk(response.content)
        if not bulk:
            raise ArchiveError(f"{url} holds no proposal: its layout may have changed")
        write_bytes(self.landed, response.content)
        write_text(self.version, response.headers.get("ETag", ""))
        self._bulk = bulk
        LOG.info("landed %s with %d proposals", self.landed.name, len(bulk))

    def _fetch_one(self, number: str) -> tuple[ProposalText, str]:
        """One proposal and its source. Raises ArchiveError when neither the APT file nor the page has it."""
        base, safe = self.settings.programs_url.rstrip("/"), quote(number, safe="")
        try:
            content = self.transport.get(f"{base}/hst-program-info/download/hst/apt/{safe}/").content
            return parse_apt(content, clean_number(number) or number), "apt"
        except ArchiveUnreachableError:
            raise
        except (requests.HTTPError, ArchiveError) as error:
            LOG.info("no APT file of proposal %s (%s)", number, error)
        try:
            page = self.transport.get(f"{base}/hst-program-info/program/?program={safe}").text
        except requests.HTTPError as error:
            raise ArchiveError(f"proposal {number} is neither in the bulk list nor at {base}") from error
        text = parse_program_page(page, clean_number(number) or number)
        if text is None:
            raise ArchiveError(f"the page of proposal {number} has no title")
        return text, "program page"


def _parse_bulk(data: bytes) -> dict[str, ProposalText]:
    """Records by number. UTF-8 where it is that, else Windows-1252, which takes every older file."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    return {record.number: record for record in parse_abstracts_cat(text)}
