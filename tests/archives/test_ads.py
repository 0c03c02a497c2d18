"""NASA ADS as a source of abstracts, simulated by a small server; and which hosts get its token."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubbleclip.archives.stsci.ads import AdsClient, ads_url, parse_ads
from hubbleclip.core.errors import ArchiveError, SettingsError
from hubbleclip.missions.hst import HST
from tests.archives.conftest import LIMITS, make_transport
from tests.bad_server import BadServer, Respond, give

TOKEN = "secret-ads-token-1234"
DOC = {
    "bibcode": "2019hst..prop15677M",
    "title": ["Spectroscopy &amp; Imaging of σ Ori"],
    "author": ["Mutchler, Max", "Britt, C."],
    "abstract": "10<SUP>6</SUP> stars.",
    "pub_raw": "HST Proposal. Cycle 26, ID. #15677",
}


def response_of(*docs: object) -> bytes:
    body = {"responseHeader": {"status": 0}, "response": {"numFound": len(docs), "docs": docs}}
    return json.dumps(body, ensure_ascii=False).encode()


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADS_API_TOKEN", TOKEN)


@pytest.fixture
def ads(scripted) -> Callable[..., tuple[AdsClient, str, BadServer]]:
    """A client, the query for 15677, and its server, which gives `responses` in turn."""

    def make(*responses: Respond) -> tuple[AdsClient, str, BadServer]:
        server = scripted(*responses)
        return AdsClient(server.url, make_transport()), ads_url(server.url, HST.ads_bibstem, "15677"), server

    return make


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"[]", b"{}", b'{"response": 3}', b"[" * 100_000, b"\xff", b"9" * 5000]
)
def test_an_invalid_response_is_a_typed_error(data: bytes) -> None:
    with pytest.raises(ArchiveError, match="unknown format"):
        parse_ads(data, "1")


VALUES = st.none() | st.text(max_size=9) | st.integers() | st.lists(st.text(max_size=9) | st.none(), max_size=2)


@given(st.dictionaries(st.sampled_from([*DOC, "comment", "authorNames", "journalCode"]), VALUES))
def test_odd_fields_break_nothing(doc: dict[str, object]) -> None:
    assert parse_ads(response_of(DOC | doc, None, 3, doc), "15677").number == "15677"


def test_an_exhausted_quota_stops_the_queries_with_one_warning(ads, caplog: pytest.LogCaptureFixture) -> None:
    client, url, server = ads(give(b"", 429, Retry_After="60"))
    assert [client.get(url), client.get(url)] == [None, None]
    assert len(server.seen) == len(caplog.records) == 1
    assert "quota" in caplog.text


def test_the_last_request_of_a_quota_is_used_and_no_more(ads, caplog: pytest.LogCaptureFixture) -> None:
    client, url, server = ads(give(response_of(DOC), 200, X_RateLimit_Remaining="0"))
    assert client.get(url)
    assert client.get(url) is None
    assert len(server.seen) == len(caplog.records) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_an_invalid_token_is_an_error_that_names_the_variable(ads, status: int) -> None:
    client, url, _ = ads(give(b"{}", status))
    with pytest.raises(SettingsError, match="ADS_API_TOKEN"):
        client.get(url)


def test_a_temporary_fault_is_retried_and_a_lasting_one_disables_only_ads(
    ads, caplog: pytest.LogCaptureFixture
) -> None:
    client, url, _ = ads(give(b"", 503), give(response_of(DOC)))
    assert client.get(url)
    client, url, server = ads(give(b"", 500))
    assert [client.get(url), client.get(url)] == [None, None]
    assert len(server.seen) == LIMITS.attempts
    assert caplog.text.count("not queried again") == 1


def test_the_token_goes_to_no_other_host_though_downloads_may_be_redirected_there(ads) -> None:
    _, _, other = ads(give(response_of(DOC)))
    _, url, server = ads(give(b"", 302, Location=other.url))
    client = AdsClient(url, make_transport(redirect_hosts=(other.host,)))
    assert client.get(url) is None
    assert (len(server.seen), len(other.seen)) == (1, 0)


def test_the_token_is_in_no_message(ads, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    texts = []
    for response in (give(response_of(DOC)), give(b"", 401), give(b"", 429), give(b"", 404), give(b"", 500)):
        client, url, _ = ads(response)
        try:
            client.get(url)
        except SettingsError as error:
            texts.append(str(error))
        texts += [repr(client), str(client), url]
    assert TOKEN not in " ".join([*texts, caplog.text])


@pytest.mark.parametrize("value", ["", "  ", "two words", "line\nbreak", "ümlaut"])
def test_a_token_that_cannot_be_sent_is_an_error_of_one_line_without_the_token(value: str, monkeypatch) -> None:
    monkeypatch.setenv("ADS_API_TOKEN", value)
    with pytest.raises(SettingsError, match="ADS_API_TOKEN") as caught:
        AdsClient("https://ads", make_transport())
    assert "\n" not in str(caught.value)
    assert not value.strip() or value not in str(caught.value)


def test_the_token_is_not_sent_unencrypted() -> None:
    with pytest.raises(SettingsError, match="https"):
        AdsClient("http://api.example.org", make_transport())
