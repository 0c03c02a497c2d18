"""Which source is queried for which proposal, which raw responses are stored, and that they suffice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hubbleclip.archives.stsci.client import ProposalSource
from hubbleclip.config.settings import ArchiveSettings
from hubbleclip.core.errors import ArchiveDownError, ArchiveError, SettingsError
from hubbleclip.core.layout import Layout
from hubbleclip.missions.hst import HST
from hubbleclip.missions.jwst import JWST
from tests.archives.conftest import make_transport
from tests.bad_server import BadServer, Respond, give
from tests.made_archive import RULE

APT_PATH, LIST_PATH = "/hst-program-info/download/hst/apt/", "/hst-program-info/download/hst/list/"
PAGE_PATH = "/hst-program-info/program/?program="
TOKEN = "secret-ads-token-1234"


def bulk(*records: tuple[int, str, str]) -> bytes:
    """A list of records of number, cycle, abstract."""
    texts = (f"{RULE}\nProp. Type: GO\nID: {n}\nCycle: {c}\nTitle: T {n}\nPI: A. Sea\n\n{a}\n\n" for n, c, a in records)
    return ("".join(texts) + RULE + "\n").encode()


def apt(number: int, abstract: str, cycle: int = 20) -> Respond:
    return give(
        f'<HSTProposal Phase2ID="{number}"><ProposalInformation Cycle="{cycle}"><Title>T {number} of APT</Title>'
        f"<Abstract>{abstract}</Abstract></ProposalInformation></HSTProposal>".encode()
    )


LIST = bulk((1, "19", "First."), (2, "", ""), (3, "20", "Third."))
PAGES = {
    "/hst/proposal_abstracts.html": give(b'<a href="/hst/abstracts.cat">all</a>'),
    "/hst/abstracts.cat": give(LIST, ETag='"1"'),
    f"{APT_PATH}2/": apt(2, "Second."),
    f"{APT_PATH}5/": apt(5, ""),
    f"{LIST_PATH}5/": give(f"Title\nFive\n{RULE}\nAbstract\nFifth.\n{RULE}\n".encode()),
    f"{PAGE_PATH}6": give(b"<b>Title:</b> Six<br>"),
    "/v1/search/query": give(
        json.dumps(
            {"response": {"docs": [{"bibcode": "1997hst..prop....6B", "title": ["S"], "abstract": "Sixth of ADS."}]}}
        ).encode()
    ),
}


def source_at(url: str, root: Path, **settings: object) -> ProposalSource:
    values = {"mast_url": url, **settings}
    return ProposalSource(ArchiveSettings.model_validate(values), make_transport(), Layout(root), HST, url)


def test_a_mission_without_a_list_has_no_cycles(tmp_path: Path) -> None:
    source = ProposalSource(ArchiveSettings(name="jwst"), make_transport(), Layout(tmp_path), JWST)
    with pytest.raises(SettingsError, match=r"publishes no list .* of JWST by cycle: set archive\.proposal_numbers"):
        source.numbers_in_cycles([1])


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_denies_access_says_nothing_about_proposals_and_soon_counts_as_down(
    tmp_path: Path, status: int
) -> None:
    pages = {f"{APT_PATH}83/": apt(83, "Known."), "/hst-program-info/": give(b"", status)}
    with BadServer(table=pages | PAGES) as server:
        source = source_at(server.url, tmp_path)
        found, rejections = source.fetch([*map(str, range(81, 87)), "1", *map(str, range(87, 91))])
        assert ([item.number for item in found], {item.reason for item in rejections}) == (["83", "1"], {"unanswered"})
        denied = [81, 82, *range(84, 89)]
        assert [item.entity_id for item in rejections] == [f"hst:{n}" for n in denied], (
            "90 is not asked for, and stays pending"
        )
        assert not any(f"{APT_PATH}90" in path for path in server.paths)
        with pytest.raises(ArchiveDownError, match=f"responded with {status}"):
            source.fetch(["91"])


def test_ads_is_queried_only_if_enabled_and_only_for_a_missing_abstract(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ADS_API_TOKEN", TOKEN)
    with BadServer(table=PAGES) as server:
        source_at(server.url, tmp_path / "a").fetch(["6"])
        assert not any("/v1/" in path for path in server.paths)
        source_at(server.url, tmp_path / "b", use_ads=True).fetch(["1", "2", "5", "6"])
        assert sum("/v1/" in path for path in server.paths) == 1


def test_ads_without_a_token_is_a_settings_error(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("ADS_API_TOKEN", raising=False)
    with pytest.raises(SettingsError, match="ADS_API_TOKEN"):
        source_at("http://127.0.0.1:1", tmp_path, use_ads=True)


def test_a_web_page_instead_of_a_list_or_a_file_is_requested_again(tmp_path: Path) -> None:
    html = give(b"<html>maintenance</html>")
    responses = [
        html,
        PAGES["/hst/proposal_abstracts.html"],
        html,
        PAGES["/hst/abstracts.cat"],
        html,
        PAGES[f"{APT_PATH}2/"],
    ]
    with BadServer(*responses) as server:
        (found,), _ = source_at(server.url, tmp_path).fetch(["2"])
    assert found.abstract == "Second."


@pytest.mark.parametrize(("last", "num_tries"), [(LIST, 2), (LIST[:-20], 3)])
def test_an_incomplete_list_is_requested_again_and_used_at_last(tmp_path: Path, last: bytes, num_tries: int) -> None:
    with BadServer(PAGES["/hst/proposal_abstracts.html"], give(LIST[:-20]), give(last)) as server:
        assert source_at(server.url, tmp_path).numbers_in_cycles([19, 20]) == ["1", "3"]
        assert server.paths == ["/hst/proposal_abstracts.html", *["/hst/abstracts.cat"] * num_tries]


def test_the_stored_list_is_used_while_the_server_fails(tmp_path: Path) -> None:
    with BadServer(table=PAGES) as server:
        source_at(server.url, tmp_path).fetch(["1"])
    with BadServer(table={"/hst/proposal_abstracts.html": give(b"", 500), f"{APT_PATH}9/": apt(9, "Ninth.")}) as server:
        found, rejections = source_at(server.url, tmp_path).fetch(["1", "9", "8"])
        assert ([item.source for item in found], rejections[0].reason) == (["abstracts.cat", "apt"], "unanswered")
        found, rejections = source_at(server.url, tmp_path / "new").fetch(["1", "9"])
        assert ([item.source for item in found], rejections[0].reason) == (["apt"], "unanswered")
        assert "bulk list was not refreshed" in rejections[0].detail


def test_numbers_of_cycles_are_those_of_the_newest_list(tmp_path: Path) -> None:
    with BadServer(table=PAGES) as server:
        assert source_at(server.url, tmp_path).numbers_in_cycles((19, 20)) == ["1", "3"]
    with BadServer(table=PAGES | {"/hst/abstracts.cat": give(b"", 304)}) as server:
        assert source_at(server.url, tmp_path).numbers_in_cycles([20]) == ["3"]
        assert server.seen[-1]["If-None-Match"] == '"1"'
    Layout(tmp_path).raw.joinpath("abstracts.cat").unlink()
    with BadServer(table=PAGES) as server:
        assert source_at(server.url, tmp_path).numbers_in_cycles([19]) == ["1"]
        assert "If-None-Match" not in server.seen[-1]
    newer = bulk((1, "19", "First."), (10, "20", "Tenth."), (9, "20", "Ninth."))
    for sent in ('"1"', None):  # a list without an ETag leaves none of an older list
        with BadServer(table=PAGES | {"/hst/abstracts.cat": give(newer)}) as server:
            source = source_at(server.url, tmp_path)
            assert source.numbers_in_cycles([20]) == ["9", "10"]
            assert source.numbers_in_cycles([19]) == ["1"]
            assert (len(server.seen), server.seen[-1].get("If-None-Match")) == (2, sent)


def test_cycles_that_no_proposal_has_are_a_settings_error(tmp_path: Path) -> None:
    with BadServer(table=PAGES) as server, pytest.raises(SettingsError, match=r"archive\.cycles.*99.*19 to 20"):
        source_at(server.url, tmp_path).numbers_in_cycles([99])
    with pytest.raises(ArchiveError, match=r"archive\.cycles needs"):
        source_at("http://127.0.0.1:1", tmp_path / "none", from_raw=True).numbers_in_cycles([20])
