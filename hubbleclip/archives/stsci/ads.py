"""NASA ADS as a source of abstracts: it has accepted proposals under bibcodes `{year}{bibstem}{number}{initial}`.

The API token comes from the environment and leaves this module only as a header to the host of `archive.ads_url`.
API: https://ui.adsabs.harvard.edu/help/api/
"""

from __future__ import annotations

import json
import logging
import os
import re
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests

from hubbleclip.archives.http.client import DamagedError, RefusedError, Transport, to_archive_error
from hubbleclip.archives.stsci.parsers import ProposalText, clean_proposal_text
from hubbleclip.core.errors import ArchiveError, SettingsError
from hubbleclip.core.text_cleaning import clean_number, decode

LOG = logging.getLogger(__name__)
TOKEN_VARIABLE = "ADS_API_TOKEN"  # noqa: S105 - the name of a variable, not a token
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
FIELDS = "bibcode,title,author,abstract,pub_raw"
# a bibcode, and a text such as "HST Proposal. Cycle 26, ID. #15677"
NUMBER_IN_BIBCODE = re.compile(r"[a-z]+\.+prop\.*([0-9]+)")
NUMBER_IN_TEXT = re.compile(r"#([0-9]+)")
CYCLE_IN_TEXT = re.compile(r"Cycle ([0-9]{1,3})")
TAGS = {"R": "bibcode", "T": "title", "A": "author", "B": "abstract", "J": "pub_raw"}
"""Fields of the tagged format (`%T title`) by tag."""


class AdsClient:
    """Queries ADS. Its failures never stop a run: ADS is only an additional source. Threads may share it.

    Parameters
    ----------
    url
        `archive.ads_url`; SettingsError is raised unless the token may be sent there.
    transport
        The HTTP client.

    """

    def __init__(self, url: str, transport: Transport) -> None:
        self.transport = transport
        self._headers = {"Authorization": f"Bearer {_read_token(url)}"}
        self._is_stopped = False

    def get(self, url: str) -> bytes | None:
        """Send one query.

        Parameters
        ----------
        url
            Address of the query, see `ads_url`.

        Returns
        -------
        bytes or None
            The response; None if ADS failed in this query or an earlier one, which is logged once. SettingsError is
            raised for an invalid token.

        """
        if self._is_stopped:
            return None
        try:
            for attempt in self.transport.attempts(url):
                with attempt:
                    return self._try(url)
        except ArchiveError as error:
            self._stop(str(error))
        except (requests.RequestException, RefusedError, DamagedError) as error:
            self._stop(str(to_archive_error(error, url)))
        return None

    def _try(self, url: str) -> bytes:
        """Send one request. An exhausted quota is not retried, however short the pause that Retry-After names."""
        try:
            # no redirects: the token must not reach another host
            with self.transport.open(url, self._headers, redirect_hosts=()) as response:
                self.transport.read_body(response)
                content = response.content
        except requests.HTTPError as error:
            status = 0 if error.response is None else error.response.status_code
            if status in {401, 403}:
                # "from None": the traceback of the cause could show the request with its token
                raise SettingsError(
                    f"NASA ADS rejects the token ({status}): check the variable {TOKEN_VARIABLE}"
                ) from None
            if status == requests.codes.too_many_requests:
                raise RefusedError("the quota of the token is exhausted") from None
            raise
        # the response that exhausts the quota is still valid
        if response.headers.get("X-RateLimit-Remaining", "").strip() == "0":
            self._stop("the quota of the token is exhausted")
        return content

    def _stop(self, reason: str) -> None:
        """Send no more queries in this run; warn once."""
        if not self._is_stopped:
            LOG.warning("NASA ADS is not queried again in this run: %s", reason)
        self._is_stopped = True


def _read_token(url: str) -> str:
    """Read the token from the environment. Raises SettingsError, without the token, if it cannot be sent safely."""
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise SettingsError(f"archive.use_ads needs a token: set the variable {TOKEN_VARIABLE}, or use_ads = false")
    if not re.fullmatch(r"[!-~]+", token):
        raise SettingsError(f"the variable {TOKEN_VARIABLE} holds spaces or odd characters: copy the token again")
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise SettingsError(f"archive.ads_url must begin with https://, so that the token is encrypted: {url}")
    return token


def ads_url(base: str, bibstem: str, number: str) -> str:
    """Build the query for one proposal.

    Parameters
    ----------
    base
        `archive.ads_url`.
    bibstem
        Journal and volume of the mission's proposals, nine characters.
    number
        Proposal number.

    Returns
    -------
    str
        Address of the query.

    """
    # bibcodes have the number right-aligned in five characters, padded with dots; year and initial are unknown
    query = f"bibstem:{bibstem} bibcode:????{bibstem}{number:.>5}?"
    return f"{base.rstrip('/')}/v1/search/query?{urlencode({'q': query, 'fl': FIELDS, 'rows': 10})}"


def parse_ads(data: bytes, number: str) -> ProposalText:
    """Parse a response of ADS.

    Parameters
    ----------
    data
        Response of the search API, STScI's own delivery to ADS (JSON with `programs`), or the tagged format
        (`%T title`).
    number
        Proposal number.

    Returns
    -------
    ProposalText
        The record with the longest abstract; all fields None if ADS has none.

    Raises
    ------
    ArchiveError
        If the response has none of these formats.

    """
    texts = [text for text in map(_to_text, _documents(decode(data).strip())) if text.number == number]
    return max(texts, key=lambda text: len(text.abstract or ""), default=ProposalText(number=number))


def _documents(text: str) -> list[dict[str, Any]]:
    """Extract the records from a response of any of the three formats. Raises ArchiveError."""
    if text.startswith("%"):
        return [_parse_tagged(part) for part in re.split(r"^(?=%R )", text, flags=re.MULTILINE)]
    try:
        response = json.loads(text)
        docs = response["programs"] if "programs" in response else response["response"]["docs"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ArchiveError("the response of NASA ADS has an unknown format") from error
    return [doc for doc in docs if isinstance(doc, dict)] if isinstance(docs, list) else []


def _parse_tagged(text: str) -> dict[str, Any]:
    """Parse lines such as `%T title`; a line without a tag continues the previous one."""
    parts = re.split(r"^%([A-Z]) ", text, flags=re.MULTILINE)
    # re.split gives: text before the first tag, tag, value, tag, value, ...
    return {TAGS[tag]: value.strip() for tag, value in zip(parts[1::2], parts[2::2], strict=True) if tag in TAGS}


def _to_text(doc: dict[str, Any]) -> ProposalText:
    """Convert a record. The PI is the first author: lists of authors and affiliations may differ in length."""

    def first_text(*keys: str) -> str:
        """Return the first text under these keys; of a list the first element counts."""
        values = (doc.get(key) for key in keys)
        firsts = (value[0] if isinstance(value, list) and value else value for value in values)
        return next((value for value in firsts if isinstance(value, str)), "")

    numbers = (
        NUMBER_IN_BIBCODE.search(first_text("bibcode", "bibstem")),
        NUMBER_IN_TEXT.search(first_text("comment")),
        NUMBER_IN_TEXT.search(first_text("pub_raw")),
    )
    cycle = CYCLE_IN_TEXT.search(first_text("pub_raw", "journalCode"))
    last_name, _, first_name = first_text("author", "authorNames").partition(";")[0].partition(",")
    return clean_proposal_text(
        {
            "number": clean_number(next((match[1] for match in numbers if match), "")),
            "title": first_text("title"),
            "abstract": first_text("abstract"),
            "pi": f"{first_name} {last_name}",
            "cycle": cycle[1] if cycle else "",
        }
    )
