"""NASA ADS as a source of abstracts: it holds accepted proposals under bibcodes of the form `{year}{bibstem}{number}`.

The token comes from the environment and leaves this file only as a header to the one host of `archive.ads_url`.
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

from hubbleclip.archives.http.client import DamagedError, RefusedError, Transport, in_words
from hubbleclip.archives.stsci.parsers import ProposalText, text_of
from hubbleclip.core.errors import ArchiveError, SettingsError
from hubbleclip.core.text_cleaning import clean_number, decode

LOG = logging.getLogger(__name__)
TOKEN_VARIABLE = "ADS_API_TOKEN"  # noqa: S105 - the name of a variable
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
FIELDS = "bibcode,title,author,abstract,pub_raw"
IN_BIBCODE = re.compile(r"[a-z]+\.+prop\.*([0-9]+)")
IN_COMMENT = re.compile(r"#([0-9]+)")
IN_JOURNAL = re.compile(r"Cycle ([0-9]{1,3})")
TAGS = {"R": "bibcode", "T": "title", "A": "author", "B": "abstract", "J": "pub_raw"}


class AdsClient:
    """Asks ADS, whose troubles are not the archive's. Threads may share it."""

    def __init__(self, url: str, transport: Transport) -> None:
        self.transport = transport
        self._headers = {"Authorization": f"Bearer {_read_token(url)}"}
        self._is_stopped = False

    def get(self, url: str) -> bytes | None:
        """The answer; None once ADS does not serve in this run, which is told once. Raises SettingsError for a refused
        token.
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
            self._stop(str(in_words(error, url)))
        return None

    def _try(self, url: str) -> bytes:
        """One request. A spent quota is not asked again, however short the wait that the answer names; the token goes
        to no other host.
        """
        try:
            with self.transport.open(url, self._headers, redirect_hosts=()) as response:
                self.transport.read_whole(response)
                content = response.content
        except requests.HTTPError as error:
            status = 0 if error.response is None else error.response.status_code
            if status in {401, 403}:
                raise SettingsError(
                    f"NASA ADS refuses the token ({status}): look at the variable {TOKEN_VARIABLE}"
                ) from None
            if status == requests.codes.too_many_requests:
                raise RefusedError("the quota of the token is spent") from None
            raise
        if response.headers.get("X-RateLimit-Remaining", "").strip() == "0":
            self._stop("the quota of the token is spent")
        return content

    def _stop(self, why: str) -> None:
        if not self._is_stopped:
            LOG.warning("NASA ADS is not asked again in this run: %s", why)
        self._is_stopped = True


def _read_token(url: str) -> str:
    """The token of the environment. Raises SettingsError, which never tells it, unless it can be sent in safety."""
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise SettingsError(f"archive.use_ads needs a token: set the variable {TOKEN_VARIABLE}, or use_ads = false")
    if not re.fullmatch(r"[!-~]+", token):
        raise SettingsError(f"the variable {TOKEN_VARIABLE} holds spaces or odd characters: copy the token again")
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise SettingsError(f"archive.ads_url must begin with https://, so that the token travels unseen: {url}")
    return token


def ads_url(base: str, bibstem: str, number: str) -> str:
    """The question for one proposal; bibcodes have its number in five places, filled up with dots."""
    query = f"bibstem:{bibstem} bibcode:????{bibstem}{number:.>5}?"
    return f"{base.rstrip('/')}/v1/search/query?{urlencode({'q': query, 'fl': FIELDS, 'rows': 10})}"


def parse_ads(data: bytes, number: str) -> ProposalText:
    """What an answer says of a proposal, all None where ADS has none. Raises ArchiveError for another kind of answer.

    Read are the answers of the search, STScI's own deliveries to ADS (`programs`), and the tagged form (`%T title`).
    """
    found = [text for text in map(_text_of, _docs(decode(data).strip())) if text.number == number]
    return max(found, key=lambda text: len(text.abstract or ""), default=ProposalText(number=number))


def _docs(text: str) -> list[dict[str, Any]]:
    if text.startswith("%"):
        return [_tagged(part) for part in re.split(r"^(?=%R )", text, flags=re.MULTILINE)]
    try:
        answer = json.loads(text)
        docs = answer["programs"] if "programs" in answer else answer["response"]["docs"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ArchiveError("NASA ADS gave an answer of another form than its own") from error
    return [doc for doc in docs if isinstance(doc, dict)] if isinstance(docs, list) else []


def _tagged(text: str) -> dict[str, Any]:
    """Lines such as `%T title`; a line without tag goes on with the last."""
    parts = re.split(r"^%([A-Z]) ", text, flags=re.MULTILINE)
    return {TAGS[tag]: value.strip() for tag, value in zip(parts[1::2], parts[2::2], strict=True) if tag in TAGS}


def _text_of(doc: dict[str, Any]) -> ProposalText:
    """Lists beside one another, such as authors and their affiliations, may not fit: only the first author is taken."""

    def told(*keys: str) -> str:
        values = (doc.get(key) for key in keys)
        firsts = (value[0] if isinstance(value, list) and value else value for value in values)
        return next((value for value in firsts if isinstance(value, str)), "")

    numbers = (
        IN_BIBCODE.search(told("bibcode", "bibstem")),
        IN_COMMENT.search(told("comment")),
        IN_COMMENT.search(told("pub_raw")),
    )
    cycle = IN_JOURNAL.search(told("pub_raw", "journalCode"))
    last, _, first = told("author", "authorNames").partition(";")[0].partition(",")
    return text_of(
        {
            "number": clean_number(next((match[1] for match in numbers if match), "")),
            "title": told("title"),
            "abstract": told("abstract"),
            "pi": f"{first} {last}",
            "cycle": cycle[1] if cycle else "",
        }
    )
