"""Which source is queried for which proposal, which raw responses are stored, and that they suffice."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
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


def test_proposals_that_the_bulk_list_has_whole_need_no_request_of_their_own(tmp_path: Path) -> None:
    with BadServer(table=PAGES) as server:
        found, rejections = source_at(server.url, tmp_path).fetch(["3", "1", "3"])
        assert [(item.number, item.abstract, item.source) for item in found] == [
            ("3", "Third.", "abstracts.cat"),
            ("1", "First.", "abstracts.cat"),
        ]
        assert not rejections
        assert server.paths == ["/hst/proposal_abstracts.html", "/hst/abstracts.cat"]


def test_a_single_request_fills_what_the_bulk_list_lacks_and_the_provenance_says_so(tmp_path: Path) -> None:
    with BadServer(table=PAGES) as server:
        (found,), _ = source_at(server.url, tmp_path).fetch(["2"])
        assert server.paths[-1] == f"{APT_PATH}2/"
    assert (found.abstract, found.source, found.title, found.pi) == ("Second.", "apt", "T 2 of APT", "A. Sea")
    assert json.loads(found.provenance or "") == {
        "abstract": {"from": "apt"},
        "cycle": {"from": "apt"},
        "pi": {"from": "abstracts.cat"},
        "proposal_type": {"from": "abstracts.cat"},
        "title": {"from": "apt", "other": {"abstracts.cat": "T 2"}},
    }


def test_listing_and_page_follow_where_the_apt_file_is_not_enough(tmp_path: Path) -> None:
    with BadServer(table=PAGES) as server:
        (five, six), rejections = source_at(server.url, tmp_path).fetch(["5", "6"])
        assert [path.rpartition("hst-program-info")[2] for path in server.paths[2:]] == [
            "/download/hst/apt/5/",
            "/download/hst/list/5/",
            "/download/hst/apt/6/",
            "/download/hst/list/6/",
            "/hst/phase2-public/6.apt",
            "/hst/phase2-public/6.pro",
            "/program/?program=6",
        ]
    assert (five.title, five.abstract) == ("T 5 of APT", "Fifth.")
    assert (six.title, six.abstract, six.source) == ("Six", None, "program page")
    assert not rejections


def test_the_second_addresses_follow_and_a_mission_without_a_list_has_no_cycles(tmp_path: Path) -> None:
    pages = {"/hst/phase2-public/7.apt": apt(7, "Seventh."), "/hst/phase2-public/8.pro": PAGES[f"{LIST_PATH}5/"]}
    with BadServer(table=PAGES | pages) as server:
        found, _ = source_at(server.url, tmp_path).fetch(["7", "8"])
        assert [(item.abstract, item.source) for item in found] == [("Seventh.", "apt"), ("Fifth.", "listing")]
    source = ProposalSource(ArchiveSettings(name="jwst"), make_transport(), Layout(tmp_path), JWST)
    with pytest.raises(SettingsError, match=r"publishes no list .* of JWST by cycle: set archive\.proposal_numbers"):
        source.numbers_in_cycles([1])


def test_a_proposal_that_no_source_has_is_not_found(tmp_path: Path) -> None:
    with BadServer(table=PAGES) as server:
        found, rejections = source_at(server.url, tmp_path).fetch(["77", "../etc"])
        assert not any("etc" in path for path in server.paths)
    assert not found
    assert [(item.entity_id, item.reason) for item in rejections] == [
        ("hst:77", "not_found"),
        ("hst:../etc", "not_found"),
    ]


def test_a_source_that_fails_for_now_leaves_the_proposal_for_a_later_run(tmp_path: Path) -> None:
    with BadServer(table=PAGES | {f"{APT_PATH}2/": give(b"", 503)}) as server:
        found, rejections = source_at(server.url, tmp_path).fetch(["2", "1"])
    assert [item.number for item in found] == ["1"]
    assert [item.reason for item in rejections] == ["unanswered"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_denies_access_says_nothing_about_proposals_and_soon_counts_as_down(
    tmp_path: Path, status: int
) -> None:
    with BadServer(table={"/hst-program-info/": give(b"", status), **PAGES}) as server:
        source = source_at(server.url, tmp_path)
        found, rejections = source.fetch(["1", *map(str, range(81, 91))])
        assert ([item.number for item in found], {item.reason for item in rejections}) == (["1"], {"unanswered"})
        assert len(rejections) == 5, "the others were not requested, and stay pending"
        assert not any(f"{APT_PATH}87" in path for path in server.paths)
        with pytest.raises(ArchiveDownError, match=f"responded with {status}"):
            source.fetch(["91"])


def test_the_other_sources_serve_a_proposal_whose_page_is_denied(tmp_path: Path) -> None:
    copies = {f"/hst/phase2-public/{number}.apt": apt(number, "Whole.") for number in range(81, 91)}
    with BadServer(table={"/hst-program-info/": give(b"", 403), **copies, **PAGES}) as server:
        found, rejections = source_at(server.url, tmp_path).fetch(["2", *map(str, range(81, 91))])
    assert [(item.title, item.source) for item in found] == [(f"T {n} of APT", "apt") for n in range(81, 91)]
    assert [(item.entity_id, item.reason) for item in rejections] == [("hst:2", "unanswered")], "it has no abstract yet"


def test_stored_responses_give_the_same_records_without_the_network(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ADS_API_TOKEN", TOKEN)
    numbers = ["1", "2", "3", "5", "6", "77"]
    with BadServer(table=PAGES) as server:
        found, missing = source_at(server.url, tmp_path, use_ads=True).fetch(numbers)
    monkeypatch.delenv("ADS_API_TOKEN")
    offline = source_at("http://127.0.0.1:1", tmp_path, from_raw=True, use_ads=True)
    again, still_missing = offline.fetch(numbers)
    assert [replace(item, fetched_at=None) for item in again] == [replace(item, fetched_at=None) for item in found]
    assert [item.entity_id for item in still_missing] == [item.entity_id for item in missing] == ["hst:77"]
    assert found[-1].abstract == "Sixth of ADS."
    assert offline.numbers_in_cycles([20]) == ["3"]
    assert TOKEN not in "".join(path.read_text() for path in (tmp_path / "raw").rglob("*") if path.is_file())


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


def test_a_stored_response_is_reused_until_it_is_old_and_a_404_is_not_stored(tmp_path: Path) -> None:
    with BadServer(table=PAGES) as server:
        for _ in range(2):
            source_at(server.url, tmp_path).fetch(["2", "77"])
        paths = server.paths
        assert (paths.count(f"{APT_PATH}2/"), paths.count(f"{APT_PATH}77/")) == (1, 2)
        note = Layout(tmp_path).raw_response("proposals", "apt:2", ".about.json")
        about = json.loads(note.read_text())
        assert (about["key"], about["url"]) == ("apt:2", f"{server.url}{APT_PATH}2/")
        note.write_text(json.dumps(about | {"landed_at": (datetime.now(UTC) - timedelta(days=31)).isoformat()}))
        source_at(server.url, tmp_path, relist_days=0).fetch(["2"])
        assert server.paths.count(f"{APT_PATH}2/") == 1
        source_at(server.url, tmp_path).fetch(["2"])
        assert server.paths.count(f"{APT_PATH}2/") == 2


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
        found, _ = source_at(server.url, tmp_path).fetch(["1", "9"])
        assert [item.source for item in found] == ["abstracts.cat", "apt"]
        found, rejections = source_at(server.url, tmp_path / "new").fetch(["1", "9"])
        assert ([item.source for item in found], rejections[0].reason) == (["apt"], "unanswered")
        assert "bulk list was not refreshed" in rejections[0].detail


def test_numbers_of_cycles_are_those_of_the_newest_list(tmp_path: Path) -> None:
    with BadServer(table=PAGES) as server:
        assert source_at(server.url, tmp_path).numbers_in_cycles((19, 20)) == ["1", "3"]
    with BadServer(table=PAGES | {"/hst/abstracts.cat": give(b"", 304)}) as server:
        assert source_at(server.url, tmp_path).numbers_in_cycles([20]) == ["3"]
        assert server.seen[-1]["If-None-Match"] == '"1"'
    newer = bulk((1, "19", "First."), (10, "20", "Tenth."), (9, "20", "Ninth."))
    with BadServer(table=PAGES | {"/hst/abstracts.cat": give(newer)}) as server:
        source = source_at(server.url, tmp_path)
        assert source.numbers_in_cycles([20]) == ["9", "10"]
        assert source.numbers_in_cycles([19]) == ["1"]
        assert len(server.seen) == 2


def test_cycles_that_no_proposal_has_are_a_settings_error(tmp_path: Path) -> None:
    with BadServer(table=PAGES) as server, pytest.raises(SettingsError, match=r"archive\.cycles.*99.*19 to 20"):
        source_at(server.url, tmp_path).numbers_in_cycles([99])
    with pytest.raises(ArchiveError, match=r"archive\.cycles needs"):
        source_at("http://127.0.0.1:1", tmp_path / "none", from_raw=True).numbers_in_cycles([20])
