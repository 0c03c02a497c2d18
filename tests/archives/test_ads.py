"""NASA ADS as a source of abstracts, played by a small server; and where its token goes, and where not."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubbleclip.archives.http.client import Transport
from hubbleclip.archives.stsci.ads import AdsClient, ads_url, parse_ads
from hubbleclip.core.errors import ArchiveError, SettingsError
from hubbleclip.missions.hst import HST
from tests.archives.conftest import FETCH
from tests.archives.small_server import Answer, Heard, serving

TOKEN = "secret-ads-token-1234"
DOC = {
    "bibcode": "2019hst..prop15677M",
    "title": ["Spectroscopy &amp; Imaging"],
    "author": ["Mutchler, Max", "Britt, C."],
    "abstract": "10<SUP>6</SUP> stars.",
    "pub_raw": "HST Proposal. Cycle 26, ID. #15677",
}


def answer_of(*docs: object) -> bytes:
    return json.dumps({"responseHeader": {"status": 0}, "response": {"numFound": len(docs), "docs": docs}}).encode()


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADS_API_TOKEN", TOKEN)


@pytest.fixture
def ads() -> Iterator[Callable[..., tuple[AdsClient, str, list[Heard]]]]:
    """A client, the question for 15677, and what the server heard; the server gives `answers` in turn, the last ever."""
    contexts = []

    def make(*answers: Answer) -> tuple[AdsClient, str, list[Heard]]:
        context = serving(*answers)
        url, heard = context.__enter__()
        contexts.append(context)
        return AdsClient(url, Transport(FETCH)), ads_url(url, HST.ads_bibstem, "15677"), heard

    yield make
    for context in contexts:
        context.__exit__(None, None, None)


def test_the_question_names_the_bibcode_and_bears_the_token(ads) -> None:
    client, url, heard = ads(Answer(200, answer_of(DOC)))
    record = parse_ads(client.get(url) or b"", "15677")
    assert (record.title, record.pi, record.cycle, record.abstract) == (
        "Spectroscopy & Imaging", "Max Mutchler", 26, "10^6 stars.",
    )  # fmt: skip
    assert parse_qs(urlsplit(heard[0].path).query)["q"] == ["bibstem:hst..prop bibcode:????hst..prop15677?"]
    assert heard[0].headers["Authorization"] == f"Bearer {TOKEN}"


def test_a_short_number_is_filled_up_with_dots() -> None:
    assert "hst..prop.6507%3F" in ads_url("https://ads", HST.ads_bibstem, "6507")
    assert parse_ads(answer_of(DOC | {"bibcode": "1997hst..prop.6507B"}), "6507").title


def test_only_the_proposal_asked_for_is_taken() -> None:
    other = DOC | {"bibcode": "2019hst..prop15678M", "abstract": "Another, much longer abstract."}
    empty = {"bibcode": "2018hst..prop15677M"}
    assert parse_ads(answer_of(other, empty, DOC), "15677").abstract == "10^6 stars."
    assert parse_ads(answer_of(other), "15677").title is None
    assert parse_ads(answer_of(), "15677").abstract is None


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"[]", b"{}", b'{"response": 3}', b"[" * 100_000, b"\xff", b"9" * 5000]
)
def test_what_is_no_answer_is_a_typed_error(data: bytes) -> None:
    with pytest.raises(ArchiveError, match="another form"):
        parse_ads(data, "1")


VALUES = st.none() | st.text(max_size=9) | st.integers() | st.lists(st.text(max_size=9) | st.none(), max_size=2)


@given(st.dictionaries(st.sampled_from([*DOC, "comment", "authorNames", "journalCode"]), VALUES))
def test_odd_fields_break_nothing(doc: dict[str, object]) -> None:
    assert parse_ads(answer_of(DOC | doc, None, 3, doc), "15677").number == "15677"


def test_a_spent_quota_stops_the_questions_with_one_warning(ads, caplog: pytest.LogCaptureFixture) -> None:
    client, url, heard = ads(Answer(429, b"", {"Retry-After": "60"}))
    assert [client.get(url), client.get(url)] == [None, None]
    assert len(heard) == len(caplog.records) == 1
    assert "quota" in caplog.text


def test_the_last_request_of_a_quota_is_used_and_no_more(ads, caplog: pytest.LogCaptureFixture) -> None:
    client, url, heard = ads(Answer(200, answer_of(DOC), {"X-RateLimit-Remaining": "0"}))
    assert client.get(url)
    assert client.get(url) is None
    assert len(heard) == len(caplog.records) == 1


def test_a_refused_token_says_which_variable_to_look_at(ads) -> None:
    client, url, _ = ads(Answer(401, b"{}"))
    with pytest.raises(SettingsError, match="ADS_API_TOKEN"):
        client.get(url)


def test_a_passing_fault_is_outlived_and_a_lasting_one_costs_only_ads(ads, caplog: pytest.LogCaptureFixture) -> None:
    client, url, _ = ads(Answer(503, b""), Answer(200, answer_of(DOC)))
    assert client.get(url)
    client, url, heard = ads(Answer(500, b""))
    assert [client.get(url), client.get(url)] == [None, None]
    assert len(heard) == FETCH.attempts
    assert caplog.text.count("not asked again") == 1


def test_the_token_goes_to_no_other_host_though_downloads_may_be_redirected_there(ads) -> None:
    with serving(Answer(200, answer_of(DOC))) as (other, heard_there):
        client, url, heard = ads(Answer(302, b"", {"Location": other}))
        client = AdsClient(url, Transport(FETCH.model_copy(update={"redirect_hosts": (urlsplit(other).netloc,)})))
        assert client.get(url) is None
    assert (len(heard), len(heard_there)) == (1, 0)


def test_the_token_is_never_told(ads, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    texts = []
    for answer in (Answer(200, answer_of(DOC)), Answer(401, b""), Answer(429, b""), Answer(404, b""), Answer(500, b"")):
        client, url, _ = ads(answer)
        try:
            client.get(url)
        except SettingsError as error:
            texts.append(str(error))
        texts += [repr(client), str(client), url]
    assert TOKEN not in " ".join([*texts, caplog.text])


@pytest.mark.parametrize("value", ["", "  ", "two words", "line\nbreak", "ümlaut"])
def test_a_token_that_cannot_be_sent_is_one_line_that_does_not_tell_it(value: str, monkeypatch) -> None:
    monkeypatch.setenv("ADS_API_TOKEN", value)
    with pytest.raises(SettingsError, match="ADS_API_TOKEN") as caught:
        AdsClient("https://ads", Transport(FETCH))
    assert "\n" not in str(caught.value)
    assert not value.strip() or value not in str(caught.value)


def test_the_token_does_not_travel_in_the_open() -> None:
    with pytest.raises(SettingsError, match="https"):
        AdsClient("http://api.example.org", Transport(FETCH))
