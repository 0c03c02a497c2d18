"""Client that fetches proposals from STScI and NASA ADS.

The bulk list is read first. If the title or the abstract of a proposal is missing in the list, STScI's pages of this
proposal are requested, then NASA ADS. Every raw response is stored as a file, so that proposals can be rebuilt without
the network (`archive.from_raw`).
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import requests

from hubbleclip.archives.base import proposal_id_of, service_url
from hubbleclip.archives.http.client import Transport, to_archive_error
from hubbleclip.archives.http.rate_limit import resolve_redirect
from hubbleclip.archives.http.responses import LIST_BYTES, RefusedError
from hubbleclip.archives.stsci import parsers
from hubbleclip.archives.stsci.ads import AdsClient, ads_url, parse_ads
from hubbleclip.archives.stsci.parsers import ProposalText, RawRecord
from hubbleclip.archives.stsci.program_listing import parse_listing
from hubbleclip.config.settings import ArchiveSettings
from hubbleclip.core.errors import ArchiveDownError, ArchiveError, SettingsError
from hubbleclip.core.io import write_bytes, write_text
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Proposal, Rejection, reject
from hubbleclip.core.text_cleaning import clean_number, decode
from hubbleclip.missions import Mission

LOG = logging.getLogger(__name__)
PROGRAMS_URL = "https://www.stsci.edu"
"""Server of single-programme pages and APT files, used for proposals that the bulk list lacks."""
ADS_URL = "https://api.adsabs.harvard.edu"
DENIED_STATUS = frozenset({401, 403})
MAX_DENIED = 5
"""Maximum number of consecutive proposals with a denied page; one more such proposal raises ArchiveDownError."""
DAMAGED_TRIES = 3
"""Number of times that a file is requested if every response is damaged, that is, cannot be parsed."""
STAGE = "proposals"
"""Name of this pipeline stage in the records of rejected proposals, and name of the folder of raw responses."""
DASHES = re.compile(rb"^-{5,}", re.MULTILINE)
BOTH = ("title", "abstract")
APT, BULK, LISTING, PAGE, ADS = "apt", "abstracts.cat", "listing", "program page", "ads"
"""Names of the sources in the provenance."""
MAX_PROVENANCE_CHARS = 120
"""Texts under the key `other` of the provenance are truncated to this number of characters; see `merge`."""


# In order of trust: the APT file has the proposers' own text. The bulk list and the listing wrap the lines of this text
# and lack some characters. The page and ADS have copies of the text.
TEXT = (APT, BULK, LISTING, PAGE, ADS)
# In order of trust: the bulk list is STScI's own record of what was granted. An APT file has the values that were
# requested, or values of a proposal template.
STATUS = (BULK, APT, LISTING, PAGE, ADS)
FIELD_SOURCES = dict.fromkeys(("title", "abstract", "pi"), TEXT) | dict.fromkeys(
    ("cycle", "proposal_type", "category"), STATUS
)
"""Sources of each field, the most trusted first."""
Parsed = TypeVar("Parsed")


class DeniedError(ArchiveError):
    """The server denies access to a page, so that it is unknown whether the proposal has a text."""


@dataclass(frozen=True, slots=True)
class ProposalEndpoint:
    """A service that returns one proposal per request.

    `provides` names the fields that the service can supply: a request is sent only if the proposal lacks one of them.
    `suffix` is the file suffix of stored responses. `url` builds the address for a proposal number. `download` returns
    the response at an address; None means that there is no response. `parse` makes a proposal text from a response and
    a number.
    """

    name: str
    suffix: str
    provides: tuple[str, ...]
    url: Callable[[str], str]
    download: Callable[[str], bytes | None]
    parse: Callable[[bytes, str], ProposalText]


def merge(number: str, texts: Mapping[str, ProposalText]) -> tuple[ProposalText, str, str]:
    """Merge the texts of one proposal: each field is from the most trusted source that has it.

    Returns the text, the source of its title, and the provenance: JSON with sorted keys, such as
    `{"cycle": {"from": "abstracts.cat", "other": {"apt": 20}}}`. `from` names the source of the merged value. If
    other sources have different values, `other` maps these sources to their values.
    """
    values: dict[str, str | int] = {}
    provenance: dict[str, dict[str, object]] = {}
    for field, sources in FIELD_SOURCES.items():
        candidates = {name: getattr(texts[name], field) for name in sources if name in texts}
        candidates = {name: value for name, value in candidates.items() if value is not None}
        if not candidates:
            continue
        source, values[field] = next(iter(candidates.items()))
        other = {name: _truncate(value) for name, value in candidates.items() if value != values[field]}
        provenance[field] = {"from": source, "other": other} if other else {"from": source}
    provenance_json = json.dumps(provenance, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    source = str(provenance.get("title", {}).get("from", ""))
    text = ProposalText(number=number, **values)  # type: ignore[arg-type]
    return text, source, provenance_json


def _truncate(value: str | int) -> str | int:
    """Truncate a text that is longer than `MAX_PROVENANCE_CHARS`; return any other value unchanged."""
    if isinstance(value, str) and len(value) > MAX_PROVENANCE_CHARS:
        return f"{value[:MAX_PROVENANCE_CHARS]}…"
    return value


class ProposalSource:
    """Source of a mission's proposals: the bulk list and the services in `endpoints`. Threads may share one object."""

    def __init__(
        self, settings: ArchiveSettings, transport: Transport, layout: Layout, mission: Mission, ads: str = ADS_URL
    ) -> None:
        self.settings = settings
        self.mission = mission
        self.transport = transport
        self.layout = layout
        self.bulk_path = layout.raw / "abstracts.cat"
        self.bulk_etag_path = layout.raw / "abstracts.cat.etag"
        self.endpoints = self._list_endpoints(ads)
        self._num_denied = 0
        self._bulk_problem = ""  # why the bulk list could not be refreshed
        self._lock = threading.Lock()
        self._bulk: dict[str, list[RawRecord]] = {}
        self._is_refreshed = settings.from_raw  # if True, the bulk list is not requested any more

    def _list_endpoints(self, ads: str) -> list[ProposalEndpoint]:
        """List the endpoints in the order in which they are queried.

        Raises SettingsError if ADS is used and there is no API token.
        """
        settings, pages, get = self.settings, self.mission.proposals, self._get
        listed = [
            (APT, ".apt", BOTH, pages.apt, parsers.parse_apt),
            (LISTING, ".txt", BOTH, pages.listing, parse_listing),
            (APT, ".apt", BOTH, pages.apt_copy, parsers.parse_apt),
            (LISTING, ".txt", BOTH, pages.listing_copy, parse_listing),
            (PAGE, ".html", ("title",), pages.page, parsers.parse_program_page),
        ]
        server = service_url(settings.mast_url, PROGRAMS_URL)
        # not every mission has all pages: for example, only Hubble's programmes have text listings
        endpoints = [
            ProposalEndpoint(name, suffix, provides, f"{server}/{path}".format, get, parse)
            for name, suffix, provides, path, parse in listed
            if path
        ]
        if settings.use_ads:
            # no token is needed if only stored responses are read
            get_ads = get if settings.from_raw else AdsClient(ads, self.transport).get
            url = partial(ads_url, ads, self.mission.ads_bibstem)
            endpoints.append(ProposalEndpoint(ADS, ".json", ("abstract",), url, get_ads, parse_ads))
        return endpoints

    def fetch(self, numbers: Sequence[str]) -> tuple[list[Proposal], list[Rejection]]:
        """Fetch proposals; see `Archive.fetch_proposals`. A proposal is rejected as `unanswered` if a source fails.

        If a server goes down, the method returns the results so far. Raises ArchiveDownError if a server is down at
        the first proposal.
        """
        proposals: list[Proposal] = []
        rejections: list[Rejection] = []
        digits = [clean_number(number) for number in numbers]
        with self._lock:
            bulk = self._newest_bulk(digits)
        for number in dict.fromkeys(numbers):
            try:
                proposal = self._fetch_one(number, bulk.get(clean_number(number)))
            except ArchiveDownError as error:  # the requests for the other proposals would fail too
                if not proposals and not rejections:
                    raise
                LOG.warning("the next run fetches the remaining proposals: %s", error)
                break
            except ArchiveError as error:
                rejections.append(self._rejection(number, "unanswered", str(error)))
                continue
            if proposal is None and self._bulk_problem:
                rejections.append(self._rejection(number, "unanswered", self._bulk_problem))
            elif proposal is None:
                where = "in the stored raw responses" if self.settings.from_raw else "in any source"
                rejections.append(self._rejection(number, "not_found", f"proposal {number} has no title {where}"))
            else:
                proposals.append(proposal)
        return proposals, rejections

    def numbers_in_cycles(self, cycles: Sequence[int]) -> list[str]:
        """Find the proposals of some observing cycles in the newest bulk list, in ascending order."""
        if not self.mission.proposals.bulk_page:
            raise SettingsError(
                f"archive.cycles: STScI publishes no list of the proposals of {self.mission.telescope} by cycle: set"
                " archive.proposal_numbers, archive.observed_from and archive.observed_to instead"
            )
        with self._lock:
            bulk = self._newest_bulk(None)
        cycle_by_number = {number: parsers.parse_records(records).cycle for number, records in bulk.items()}
        if not cycle_by_number:
            raise ArchiveError(
                "archive.cycles needs the bulk list of proposals, which could not be fetched: try again later"
            )
        wanted = set(cycles)
        # the numbers are sorted as integers, so that "9" comes before "10"
        numbers = sorted((number for number, cycle in cycle_by_number.items() if cycle in wanted), key=int)
        if not numbers:
            known = {cycle for cycle in cycle_by_number.values() if cycle is not None}
            span = f"{min(known)} to {max(known)}" if known else "unknown"
            raise SettingsError(f"archive.cycles: no proposal belongs to {sorted(wanted)}; the known cycles are {span}")
        return numbers

    def _fetch_one(self, number: str, records: Sequence[RawRecord] | None) -> Proposal | None:
        """Query the endpoints until no field is missing, and merge the texts. Returns None if no source has a title.

        Raises DeniedError if the title or the abstract is missing and the server denied access to a page. If this
        happens for more than `MAX_DENIED` consecutive proposals, ArchiveDownError is raised.
        """
        digits = clean_number(number)
        texts = {BULK: parsers.parse_records(records)} if records else {}
        denied: DeniedError | None = None
        # if the number is invalid, no endpoint is queried, because the number would become part of a URL
        for endpoint in self.endpoints if digits else ():
            if all(any(getattr(text, field) for text in texts.values()) for field in endpoint.provides):
                continue
            try:
                text = self._query_endpoint(endpoint, digits)
            except DeniedError as error:
                denied = error
                continue
            if text is not None:
                texts[endpoint.name] = text
        text, source, provenance = merge(digits, texts)
        if denied and (text.title is None or text.abstract is None):
            self._num_denied += 1
            raise ArchiveDownError(str(denied)) if self._num_denied > MAX_DENIED else denied
        if texts.keys() - {BULK}:
            self._num_denied = 0
        if text.title is None:
            return None
        proposal_id = proposal_id_of(self.settings.name, number)
        return text.to_proposal(proposal_id, self.settings.name, source, provenance)

    def _rejection(self, number: str, reason: str, detail: str) -> Rejection:
        """Create the rejection of a proposal."""
        proposal_id = proposal_id_of(self.settings.name, number)
        digest = self.settings.digest()
        return reject("proposal", proposal_id, STAGE, reason=reason, detail=detail, settings_digest=digest)

    def _query_endpoint(self, endpoint: ProposalEndpoint, number: str) -> ProposalText | None:
        """Get the text of one proposal from its stored response, or from the service if there is no recent response.

        Returns None if there is no response that can be parsed. With `archive.from_raw`, no request is sent.
        """
        key = f"{endpoint.name}:{number}"
        response_path = self.layout.raw_response(STAGE, key, endpoint.suffix)
        about_path = self.layout.raw_response(STAGE, key, ".about.json")

        def parse(data: bytes) -> ProposalText:
            return endpoint.parse(data, number)

        is_fresh = self.settings.from_raw or _is_fresh(about_path, self.settings.relist_days)
        use_stored = is_fresh and response_path.is_file()
        result = _get_parsed(lambda _: response_path.read_bytes(), key, parse) if use_stored else None
        if result is not None or self.settings.from_raw:
            return result[1] if result else None
        url = endpoint.url(number)
        result = _get_parsed(endpoint.download, url, parse)
        if result is None:
            return None
        # the file with the date is written last, because its existence marks the response as complete
        write_bytes(response_path, result[0])
        about = {"key": key, "url": url, "landed_at": datetime.now(UTC).isoformat()}
        write_text(about_path, json.dumps(about, sort_keys=True) + "\n")
        return result[1]

    def _get(self, url: str) -> bytes | None:
        """Send a GET, and return the body; None if there is no such page.

        Raises DeniedError if access is denied, and another ArchiveError for other failures.
        """
        try:
            return self.transport.get(url).content
        except requests.HTTPError as error:
            if error.response is not None and error.response.status_code in DENIED_STATUS:
                raise DeniedError(f"{to_archive_error(error, url)}") from error
            LOG.info("%s", to_archive_error(error, url))
            return None

    def _newest_bulk(self, numbers: Sequence[str] | None) -> dict[str, list[RawRecord]]:
        """Return the records of the bulk list by proposal number.

        If `numbers` is None or contains a number that is not in the stored list, the list is first refreshed, but only
        once per object.
        """
        if not self._bulk and self.bulk_path.is_file():
            self._bulk = parsers.index_abstracts_cat(decode(self.bulk_path.read_bytes()))
        if not self._is_refreshed and (numbers is None or any(number not in self._bulk for number in numbers)):
            self._refresh_bulk()
            self._is_refreshed = True
        return self._bulk

    def _refresh_bulk(self) -> None:
        """Download the bulk list from the server and store it, unless the stored list is up to date.

        If this fails, a warning is logged, and the stored list is used. If there is no stored list, proposals are
        requested one by one.
        """
        if not self.mission.proposals.bulk_page:
            return
        url = service_url(self.settings.mast_url, self.mission.proposals.bulk_page)
        try:
            result = _get_parsed(self._get, url, parsers.find_bulk_link)
            if result is None:
                LOG.warning("%s has no link to abstracts.cat; proposals are requested one by one", url)
            else:
                url = resolve_redirect(url, result[1])
                self._fetch_bulk(url)
        except ArchiveDownError:
            raise
        except (requests.HTTPError, RefusedError, ArchiveError) as error:
            problem = error if isinstance(error, ArchiveError) else to_archive_error(error, url)
            self._bulk_problem = f"the bulk list was not refreshed ({problem})"
            instead = "the stored one is used" if self._bulk else "proposals are requested one by one"
            LOG.warning("%s; %s", self._bulk_problem, instead)

    def _fetch_bulk(self, url: str) -> None:
        """Download the bulk list and store it, unless it has the same ETag as the stored list."""
        is_stored = self.bulk_etag_path.is_file() and self.bulk_path.is_file()
        etag = self.bulk_etag_path.read_text(encoding="utf-8") if is_stored else ""
        for _ in range(DAMAGED_TRIES):
            response = self.transport.get(url, {"If-None-Match": etag} if etag else {}, LIST_BYTES)
            if response.status_code == requests.codes.not_modified:
                return
            bulk = parsers.index_abstracts_cat(decode(response.content))
            if bulk and _is_complete(response.content):
                break
        # after the last try, a list that has records is used even if it seems incomplete
        if not bulk:
            raise ArchiveError(f"no proposal was found in {url}: the layout of the file may have changed")
        write_bytes(self.bulk_path, response.content)
        write_text(self.bulk_etag_path, response.headers.get("ETag", ""))
        self._bulk = bulk
        LOG.info("stored %s with %d proposals", self.bulk_path.name, len(bulk))


def _get_parsed(
    get: Callable[[str], bytes | None], url: str, parse: Callable[[bytes], Parsed]
) -> tuple[bytes, Parsed] | None:
    """Get a response with `get` and parse it; try up to `DAMAGED_TRIES` times until it can be parsed.

    Returns the response and the parsed value; None if there is no response, or no response that can be parsed.
    """
    for _ in range(DAMAGED_TRIES):
        data = get(url)
        if data is None:
            return None
        try:
            return data, parse(data)
        except ArchiveError as error:
            LOG.info("%s: %s", url, error)
    return None


def _is_fresh(about_path: Path, max_days: float) -> bool:
    """Check whether a stored response is at most `max_days` old, by the date in the JSON file `about_path`.

    If `max_days` is 0, there is no limit. A response without a valid date is not fresh.
    """
    try:
        stored_at = datetime.fromisoformat(json.loads(about_path.read_bytes())["landed_at"])
        return not max_days or datetime.now(UTC) - stored_at <= timedelta(days=max_days)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _is_complete(bulk: bytes) -> bool:
    """Check whether a bulk list is complete: its last line must be equal to its first dashed line."""
    dashed_line = DASHES.search(bulk)
    return dashed_line is not None and bulk.rstrip().endswith(b"\n" + dashed_line[0])
