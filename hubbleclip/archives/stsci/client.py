"""Proposals from STScI: the bulk list first, then one by one those whose title or abstract it lacks, then NASA ADS.

Every answer lands as a file, so that proposals can be made anew without the network.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TypeVar

import requests

from hubbleclip.archives.base import now_utc, proposal_id_of, reject
from hubbleclip.archives.http.client import RefusedError, Transport, in_words, same_host
from hubbleclip.archives.stsci.ads import AdsClient, ads_url, parse_ads
from hubbleclip.archives.stsci.bulk_list import BulkList, index_bulk
from hubbleclip.archives.stsci.merging import ADS, APT, BULK, LISTING, PAGE, merge
from hubbleclip.archives.stsci.parsers import ProposalText, find_bulk_link, parse_apt, parse_program_page
from hubbleclip.archives.stsci.program_listing import parse_listing
from hubbleclip.config.settings import ArchiveSettings
from hubbleclip.core.errors import ArchiveDownError, ArchiveError, SettingsError
from hubbleclip.core.io import atomic_write, write_bytes, write_text
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Proposal, Rejection
from hubbleclip.core.text_cleaning import clean_number
from hubbleclip.missions import Mission

LOG = logging.getLogger(__name__)
DAMAGED_TRIES = 3
"""An answer that cannot be read is asked for again; after so many it is what the server has."""
KIND = "proposals"
DASHED = re.compile(rb"-{5,}")
TAIL_BYTES = 4096
Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Single:
    """A source that is asked for one proposal at a time, while one of the fields that it `gives` is missing."""

    name: str
    suffix: str
    gives: tuple[str, ...]
    url: Callable[[str], str]
    get: Callable[[str], bytes | None]
    read: Callable[[bytes, str], ProposalText]


class ProposalSource:
    """Looks proposals up. Threads may share one object."""

    def __init__(self, settings: ArchiveSettings, transport: Transport, layout: Layout, mission: Mission) -> None:
        self.settings = settings
        self.mission = mission
        self.transport = transport
        self.layout = layout
        self.landed = layout.raw / "abstracts.cat"
        self.version = layout.raw / "abstracts.cat.etag"
        self.singles = self._list_singles()
        self._lock = threading.Lock()
        self._bulk: BulkList | None = None
        self._is_asked = settings.from_raw

    def _list_singles(self) -> tuple[Single, ...]:
        """The sources of single proposals, in the order in which they are asked. Raises SettingsError for ADS without
        its token.
        """
        settings, both, pages = self.settings, ("title", "abstract"), self.mission.proposals
        server = settings.programs_url.rstrip("/")
        apt, listing, page = (f"{server}/{path}".format for path in (pages.apt, pages.listing, pages.page))
        singles = (
            Single(name=APT, suffix=".apt", gives=both, url=apt, get=self._get, read=parse_apt),
            # Only Hubble's programmes have text listings.
            *(
                [Single(name=LISTING, suffix=".txt", gives=both, url=listing, get=self._get, read=parse_listing)]
                if pages.listing
                else []
            ),
            Single(name=PAGE, suffix=".html", gives=("title",), url=page, get=self._get, read=parse_program_page),
        )
        if not settings.use_ads:
            return singles
        get = self._get if settings.from_raw else AdsClient(settings.ads_url, self.transport).get
        url = partial(ads_url, settings.ads_url, self.mission.ads_bibstem)
        return (*singles, Single(name=ADS, suffix=".json", gives=("abstract",), url=url, get=get, read=parse_ads))

    def fetch(self, numbers: Sequence[str]) -> tuple[list[Proposal], list[Rejection]]:
        """Proposals in the order asked, and a Rejection for each that no source has (`not_found`) or that a source
        might have, had it answered (`unanswered`). Raises ArchiveError without the bulk list, ArchiveDownError.
        """
        found: list[Proposal] = []
        rejections: list[Rejection] = []
        bulk = self._read_bulk([clean_number(number) for number in numbers])
        for number in dict.fromkeys(numbers):
            try:
                proposal = self._fetch_one(number, bulk.get(clean_number(number)))
            except ArchiveDownError:
                raise
            except ArchiveError as error:
                rejections.append(self._rejection(number, "unanswered", str(error)))
                continue
            if proposal is None:
                where = "among the landed answers" if self.settings.from_raw else "in any source"
                rejections.append(self._rejection(number, "not_found", f"proposal {number} has no title {where}"))
            else:
                found.append(proposal)
        return found, rejections

    def numbers_of_cycles(self, cycles: Sequence[int]) -> list[str]:
        """Numbers of the proposals of these cycles, ascending, by the newest bulk list. Raises SettingsError when there
        are none, ArchiveError without a list.
        """
        with self._lock:
            bulk = self._newest_bulk(None)
            cycles_of = {text.number: text.cycle for text in bulk.read(bulk.places)} if bulk else {}
        if not cycles_of:
            raise ArchiveError(
                "archive.cycles needs the bulk list of proposals, which could not be had: try again later"
            )
        wanted = set(cycles)
        found = sorted((number for number, cycle in cycles_of.items() if cycle in wanted), key=int)
        if not found:
            known = {cycle for cycle in cycles_of.values() if cycle is not None}
            span = f"{min(known)} to {max(known)}" if known else "unknown"
            raise SettingsError(f"archive.cycles: no proposal is of {sorted(wanted)}; the known cycles are {span}")
        return found

    def _fetch_one(self, number: str, bulk: ProposalText | None) -> Proposal | None:
        """One proposal of all sources that are needed; None when none has its title."""
        digits = clean_number(number)
        texts = {} if bulk is None else {BULK: bulk}
        for single in self.singles if digits else ():
            if all(any(getattr(text, field) for text in texts.values()) for field in single.gives):
                continue
            text = self._read_single(single, digits)
            if text is not None:
                texts[single.name] = text
        merged = merge(digits, texts)
        text = merged.text
        if text.title is None:
            return None
        return Proposal(
            proposal_id=proposal_id_of(self.settings.name, number),
            archive=self.settings.name,
            number=digits,
            cycle=text.cycle,
            proposal_type=text.proposal_type,
            category=text.category,
            title=text.title,
            pi=text.pi,
            abstract=text.abstract,
            source=merged.source,
            fetched_at=now_utc(),
            provenance=merged.provenance,
        )

    def _rejection(self, number: str, reason: str, detail: str) -> Rejection:
        proposal_id = proposal_id_of(self.settings.name, number)
        digest = self.settings.digest()
        return reject("proposal", proposal_id, KIND, reason=reason, detail=detail, settings_digest=digest)

    def _read_single(self, single: Single, number: str) -> ProposalText | None:
        """What a source says of one proposal: as landed, or asked for anew when that is old; None when it has none."""
        key = f"{single.name}:{number}"
        landed = self.layout.raw_response(KIND, key, single.suffix)
        note = self.layout.raw_response(KIND, key, ".about.json")

        def read(data: bytes) -> ProposalText:
            return single.read(data, number)

        is_young = self.settings.from_raw or _is_young(note, self.settings.relist_days)
        found = _ask(lambda _: landed.read_bytes(), key, read) if is_young and landed.is_file() else None
        if found is not None or self.settings.from_raw:
            return found[1] if found else None
        url = single.url(number)
        found = _ask(single.get, url, read)
        if found is None:
            return None
        write_bytes(landed, found[0])
        about = {"key": key, "url": url, "landed_at": now_utc().isoformat()}
        write_text(note, json.dumps(about, sort_keys=True) + "\n")
        return found[1]

    def _get(self, url: str) -> bytes | None:
        """An answer's bytes; None when the server says that there is none. Raises ArchiveError."""
        try:
            return self.transport.get(url).content
        except requests.HTTPError as error:
            LOG.info("%s", in_words(error, url))
            return None

    def _read_bulk(self, numbers: Sequence[str]) -> dict[str, ProposalText]:
        """What the bulk list says of these proposals, by number."""
        with self._lock:
            bulk = self._newest_bulk(numbers)
            return {text.number: text for text in bulk.read(numbers)} if bulk else {}

    def _newest_bulk(self, numbers: Sequence[str] | None) -> BulkList | None:
        """The bulk list: as landed, or once anew when it lacks one of `numbers`; None asks for the newest."""
        if self._bulk is None and self.landed.is_file():
            with self.landed.open("rb") as lines:
                self._bulk = index_bulk(self.landed, lines)
        if not self._is_asked and (numbers is None or any(number not in (self._bulk or ()) for number in numbers)):
            self._refresh_bulk()
            self._is_asked = True
        return self._bulk

    def _refresh_bulk(self) -> None:
        """Land the bulk list if the server's is another one. Where it has none, proposals are asked for one by one;
        where it fails for now, the landed list serves, and without one ArchiveError is raised.
        """
        page_url = self.settings.proposals_url or self.mission.proposals.bulk_page
        if not page_url:
            return
        try:
            found = _ask(self._get, page_url, find_bulk_link)
            if found is None:
                LOG.warning("%s links no abstracts.cat; proposals are asked for one by one", page_url)
            else:
                self._fetch_bulk(same_host(page_url, found[1]))
        except (requests.HTTPError, RefusedError) as error:
            LOG.warning("no new bulk list (%s)", in_words(error, page_url))
        except ArchiveError as error:
            if isinstance(error, ArchiveDownError) or not self._bulk:
                raise
            LOG.warning("no new bulk list (%s); the landed one serves", error)

    def _fetch_bulk(self, url: str) -> None:
        """Land the list unless it is the one that stands there."""
        known = self.version.read_text(encoding="utf-8") if self.version.is_file() and self.landed.is_file() else ""
        self.landed.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=self.landed.parent) as body:
            for _ in range(DAMAGED_TRIES):
                response = self.transport.get(url, {"If-None-Match": known} if known else {}, into=body)
                if response.status_code == requests.codes.not_modified:
                    return
                body.seek(0)
                bulk = index_bulk(self.landed, body)
                if bulk and _is_whole(body):
                    break
            if not bulk:
                raise ArchiveError(f"{url} holds no proposal: its layout may have changed")
            body.seek(0)
            with atomic_write(self.landed) as temporary, temporary.open("wb") as file:
                shutil.copyfileobj(body, file)
        write_text(self.version, response.headers.get("ETag", ""))
        self._bulk = bulk
        LOG.info("landed %s with %d proposals", self.landed.name, len(bulk))


def _ask(get: Callable[[str], bytes | None], url: str, read: Callable[[bytes], Parsed]) -> tuple[bytes, Parsed] | None:
    """An answer and what it says; None where there is none, or none that can be read, however often it is asked for."""
    for _ in range(DAMAGED_TRIES):
        data = get(url)
        if data is None:
            return None
        try:
            return data, read(data)
        except ArchiveError as error:
            LOG.info("%s: %s", url, error)
    return None


def _is_young(note: Path, max_days: float) -> bool:
    """Whether an answer landed at most `max_days` ago by the note beside it; 0 sets no limit."""
    try:
        landed_at = datetime.fromisoformat(json.loads(note.read_bytes())["landed_at"])
        return not max_days or now_utc() - landed_at <= timedelta(days=max_days)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _is_whole(bulk: IO[bytes]) -> bool:
    """Whether a bulk list ends with the dashed line that parts its records, and not within it."""
    bulk.seek(0)
    rule = next(filter(None, map(DASHED.match, bulk)), None)
    bulk.seek(max(bulk.seek(0, os.SEEK_END) - TAIL_BYTES, 0))
    return rule is not None and bulk.read().rstrip().endswith(b"\n" + rule[0])
