"""Client for NASA ADS, a source of proposal abstracts.

ADS lists each accepted proposal under a bibcode `{year}{bibstem}{number}{initial}`; the initial is the first author's.
The API token is read from an environment variable, and is sent only to the host of ADS, in a request header. The API
is documented at https://ui.adsabs.harvard.edu/help/api/
"""

from __future__ import annotations

import logging
import os
import re
from functools import partial
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests

from hubbleclip.archives.http.client import LOOPBACK, Transport, to_archive_error
from hubbleclip.archives.http.responses import RefusedError, ResponseError, parse_json
from hubbleclip.archives.stsci.parsers import ProposalText, clean_proposal_text
from hubbleclip.core.errors import ArchiveError, SettingsError
from hubbleclip.core.text_cleaning import decode

LOG = logging.getLogger(__name__)
TOKEN_VARIABLE = "ADS_API_TOKEN"  # noqa: S105 - the name of a variable, not a token
FIELDS = "bibcode,title,author,abstract,pub_raw"
NUMBER_IN_BIBCODE = re.compile(r"[a-z]+\.+prop\.*([0-9]+)")
NUMBER_IN_TEXT = re.compile(r"#([0-9]+)")
CYCLE_IN_TEXT = re.compile(r"Cycle ([0-9]{1,3})")


class AdsClient:
    """Client that sends queries to ADS. Threads may share one client.

    A failure of ADS never stops a run, because ADS is only an additional source. SettingsError is raised if there is no
    valid token, or if the token would be sent unencrypted.
    """

    def __init__(self, url: str, transport: Transport) -> None:
        self.transport = transport
        self._headers = {"Authorization": f"Bearer {_read_token(url)}"}
        self._is_stopped = False

    def get(self, url: str) -> bytes | None:
        """Send one query, and return the body; None if it fails. No query is sent after the first failure."""
        if self._is_stopped:
            return None
        try:
            return self.transport.retried(url, partial(self._try, url), is_waited_for=False)
        except ArchiveError as error:
            self._stop(str(error))
        except (requests.RequestException, ResponseError) as error:
            self._stop(str(to_archive_error(error, url)))
        return None

    def _try(self, url: str) -> bytes:
        """Send one request; raise RefusedError, which ends all retries, if the token's quota is exhausted."""
        try:
            # redirects to other hosts are not followed, because the token must not reach another host
            response = self.transport.ask(url, headers=self._headers, redirect_hosts=(), is_waited_for=False)
        except requests.HTTPError as error:
            status = 0 if error.response is None else error.response.status_code
            if status in {401, 403}:
                # "from None" hides the original exception, whose traceback could show the request with its token
                raise SettingsError(
                    f"NASA ADS rejects the token ({status}): check the variable {TOKEN_VARIABLE}"
                ) from None
            if status == requests.codes.too_many_requests:
                raise RefusedError("the quota of the token is exhausted") from None
            raise
        # the quota is now used up, but this response is still valid, so only later queries are stopped
        if response.headers.get("X-RateLimit-Remaining", "").strip() == "0":
            self._stop("the quota of the token is exhausted")
        return response.content

    def _stop(self, reason: str) -> None:
        """Send no more queries in this run, and log a warning if this is the first call."""
        if not self._is_stopped:
            LOG.warning("NASA ADS is not queried again in this run: %s", reason)
        self._is_stopped = True


def _read_token(url: str) -> str:
    """Read the API token from the environment.

    Raises SettingsError if the token is missing, has invalid characters, or would be sent unencrypted. The error's
    message does not contain the token.
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise SettingsError(f"archive.use_ads is set, but there is no token: set {TOKEN_VARIABLE}, or use_ads = false")
    if not re.fullmatch(r"[!-~]+", token):
        raise SettingsError(f"the variable {TOKEN_VARIABLE} has invalid characters, such as spaces: copy it again")
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise SettingsError(f"{url} would send the token unencrypted: use https://")
    return token


def ads_url(base: str, bibstem: str, number: str) -> str:
    """Build the URL of the query for one proposal."""
    # A bibcode has the number right-aligned in five characters, padded with dots. The year and the author's initial
    # are unknown, so the query has wildcards ("?") in their place.
    query = f"bibstem:{bibstem} bibcode:????{bibstem}{number:.>5}?"
    return f"{base.rstrip('/')}/v1/search/query?{urlencode({'q': query, 'fl': FIELDS, 'rows': 10})}"


def parse_ads(data: bytes, number: str) -> ProposalText:
    """Parse the response to a query, and return the proposal's record with the longest abstract."""
    try:
        docs = parse_json(decode(data).encode())["response"]["docs"]
        texts = [_to_text(doc) for doc in docs if isinstance(doc, dict)]
    except (ValueError, LookupError, TypeError, RefusedError) as error:
        raise ArchiveError("the response of NASA ADS has an unknown format") from error
    texts = [text for text in texts if text.number == number]
    return max(texts, key=lambda text: len(text.abstract or ""), default=ProposalText(number=number))


def _to_text(doc: dict[str, Any]) -> ProposalText:
    """Convert a record of ADS to a proposal text. The first author is taken as the PI."""

    def first_text(key: str) -> str:
        value = doc.get(key)
        value = value[0] if isinstance(value, list) and value else value
        return value if isinstance(value, str) else ""

    # `pub_raw` is a text such as "HST Proposal. Cycle 26, ID. #15677"
    publication = first_text("pub_raw")
    number = NUMBER_IN_BIBCODE.search(first_text("bibcode")) or NUMBER_IN_TEXT.search(publication)
    cycle = CYCLE_IN_TEXT.search(publication)
    last_name, _, first_name = first_text("author").partition(",")
    numbers = {"number": number[1] if number else "", "cycle": cycle[1] if cycle else ""}
    texts = {"title": first_text("title"), "abstract": first_text("abstract"), "pi": f"{first_name} {last_name}"}
    return clean_proposal_text(numbers | texts)
