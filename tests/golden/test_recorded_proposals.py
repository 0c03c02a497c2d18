"""Texts of proposals in all their forms, as each parser and the client read them, and local files, compared with recorded results."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hubbleclip.archives.json_lines import read_proposal_rows, read_proposals_file
from hubbleclip.archives.local import LocalArchive
from hubbleclip.archives.stsci.ads import ads_url, parse_ads
from hubbleclip.archives.stsci.client import ProposalSource
from hubbleclip.archives.stsci.parsers import parse_abstracts_cat, parse_apt, parse_program_page
from hubbleclip.archives.stsci.program_listing import parse_listing
from hubbleclip.config.settings import ArchiveSettings, FetchSettings
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.layout import Layout
from hubbleclip.missions import MISSIONS
from tests.archives.conftest import make_transport
from tests.archives.test_local import write_fits
from tests.archives.test_stsci_parsers import FORM, OLDER_FORM, PRINTED, RECORD
from tests.bad_server import BadServer, Respond, give
from tests.fits.test_file_facts import NEPTUNE
from tests.golden.plain import all_facts, facts, files, requests, without
from tests.made_archive import RULE

WHOLE = "Unresolved Stellar Populations and Galaxy Structure"
RECORDS = f"""{RULE}
{RECORD}
{RULE}
Prop. Type: GO
Category: {WHOLE[:50]}
ID: 7
Cycle: 4
Title: T {{7}}
PI: A. Sea
The text: it
goes on.
-------- table
 Title: more text
{RULE}
prop. type: SNAP
ID: 007
Title: Another title
PI: B. Sea

A longer abstract of the same programme, which says more than the other one does.
{RULE}
Prop. Type: GO
Title: No number

Lost.
{RULE}
Prop. Type: AR
Category: STARS
  AND MORE
ID: 8
Cycle: 4N
Title:
PI: Dr. C. Sea
{RULE}
"""
APT = '<HSTProposal Phase2ID="{0}"><ProposalInformation {1}>{2}</ProposalInformation></HSTProposal>'
PI = '<PrincipalInvestigator FirstName="Ada" MiddleInitial="M." LastName="Byron" Suffix="Jr."/>'
JWST = """<JwstProposal xmlns="http://www.stsci.edu/JWST/APT"><ProposalInformation><ProposalID>12</ProposalID><Title>Cold
dust</Title><Cycle>2</Cycle><ScientificCategory>Galaxies</ScientificCategory><ProposalCategory><GO/><DD/></ProposalCategory>
<PrincipalInvestigator><InvestigatorAddress><FirstName>Ada</FirstName><LastName>Byron</LastName></InvestigatorAddress>
</PrincipalInvestigator><Abstract>We observe <b>dust</b>.</Abstract></ProposalInformation></JwstProposal>"""


def packed(**members: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("_", "."), text)
    return content.getvalue()


def doc(**changes: Any) -> dict[str, Any]:
    return {
        "bibcode": "2019hst..prop...12M",
        "title": ["Imaging &amp; σ Ori"],
        "author": ["Mutchler, Max", "Britt, C."],
        "abstract": "10<SUP>6</SUP> stars.",
        "pub_raw": "HST Proposal. Cycle 26, ID. #12",
    } | changes


def answer(*docs: Any) -> bytes:
    return json.dumps({"response": {"docs": docs}}, ensure_ascii=False).encode()


HEAD, GO = '<?xml version="1.0" encoding="UTF-8"?>', 'Cycle="16" Category="GO/PAR" ScientificCategory="STARS"'
BARE = "<ProposalInformation><Title>Caf\xe9 \x07</Title><ProposalID>12</ProposalID></ProposalInformation>"
FIVE = (
    f"Title\nFive\n  lines\n{RULE}\nCycle       Type\n  7           GO\n{RULE}\nAbstract\nFifth.\n{RULE}\nCycle\n 9\n"
)
TEXTS: dict[Callable[[bytes, str], Any], dict[str, str | bytes]] = {
    parse_apt: {
        "apt": APT.format("012", GO, f"{PI}<Title>T</Title><Abstract>A b\nc.</Abstract>"),
        "apt, bare": BARE,
        "apt, other encoding": f"{HEAD}<HSTProposal>{BARE}</HSTProposal>",
        "apt of another": APT.format("13", "", ""),
        "apt without number": APT.format("?", "", "<Title>T</Title>"),
        "apt without information": "<HSTProposal/>",
        "apt, no XML": "<html",
        "apt of JWST": packed(manifest_txt="x", a_xml=JWST, b_xml=JWST.replace("Cold", "Hot")),
        "apt of JWST of another": packed(a_xml=JWST.replace(">12<", ">13<")),
        "apt of JWST, no XML": packed(a_txt=JWST),
        "apt of JWST, cut": packed(a_xml=JWST)[:80],
    },
    parse_program_page: {
        "page": "<!-- <b>Title:</b> no --><b>Title:</b> The &amp; Sky<br><b>Cycle:</b> 21<p><b>PI: </b>Dr. A. B. Sea</p>x",
        "page, table": "<tr><th>Title</th>\n<td>The <i>Sky</i></td></tr><th>PI</th><td>A. Sea</td><th>Prop. Type</th>\nGO",
        "page, twice": "<dt>Title</dt><dd>One</dd><dt>Title</dt><dd>Two</dd><dt>Category</dt><dd>Stars < 5</dd>",
        "page without title": "<b>Cycle:</b> 21<br>",
    },
    parse_listing: {
        "printed": PRINTED,
        "printed without numbers": FIVE,
        "form": FORM,
        "older form": OLDER_FORM,
        "listing without title": "coverpage:\n pi_lname: LAST\n",
    },
    parse_ads: {
        "ads": answer(doc()),
        "ads of several": answer(
            doc(abstract="Short."),
            None,
            doc(bibcode="", title="One"),
            doc(bibcode="2019hst..prop...13M", abstract="x" * 99),
        ),
        "ads, odd": answer(doc(title=None, author=[], abstract=["A", "B"], pub_raw=["Cycle 7"])),
        "ads of none": answer(),
        "ads, other form": '{"response": 3}',
    },
}


def test_texts_are_read_as_recorded(compare_recorded: Callable[..., None]) -> None:
    found: dict[str, Any] = {f"list {one.number}": facts(one) for one in parse_abstracts_cat(RECORDS)}
    found["ADS"] = [ads_url("https://ads/", MISSIONS["hst"].ads_bibstem, number) for number in ("7", "12345", "123456")]
    for parse, texts in TEXTS.items():
        for name, text in texts.items():
            data = text if isinstance(text, bytes) else text.encode("cp1252")
            try:
                found[name] = facts(parse(data, "5054" if parse is parse_listing else "12"))
            except HubbleclipError as error:
                found[name] = str(error)
    compare_recorded("proposal_texts.json", found)


LISTED = ((1, 19, "One", "First."), (2, "", "2", ""), (3, 20, "3", "x " * 99), (30, 20, "", "y"), (13, 9, "13", ""))
BULK = f"{RULE}\n" + "".join(
    f"Prop. Type: GO\nID: {n}\nCycle: {cycle}\nTitle: {title}\nPI: A. Sea\n\n{text}\n{RULE}\n"
    for n, cycle, title, text in LISTED
)


def apt(number: int, title: str, abstract: str = "", **more: str) -> Respond:
    texts = f"<Title>{title}</Title><Abstract>{abstract}</Abstract>"
    return give(APT.format(number, more.get("cycle", ""), PI * bool(more) + texts).encode())


def listing(title: str, abstract: str) -> Respond:
    return give(f"Title\n{title}\n{RULE}\nAbstract\n{abstract}\n{RULE}\n".encode())


INFO, COPIES = "/hst-program-info", "/hst/phase2-public"
APTS, LISTINGS, PAGE = f"{INFO}/download/hst/apt", f"{INFO}/download/hst/list", f"{INFO}/program/?program="
PAGES = {
    "/hst/proposal_abstracts.html": give(b'<a href="x"></a><a href="abstracts.cat?v=1">all</a>'),
    "/hst/abstracts.cat": give(BULK.encode(), ETag='"1"'),
    f"{APTS}/2/": apt(2, "Two of σ Ori", "Second.", cycle='Cycle="20"'),
    f"{APTS}/5/": apt(5, "Five"),
    f"{LISTINGS}/5/": listing("Five, listed", "Fifth."),
    f"{APTS}/6/": give(b"<html>"),
    **{f"{PAGE}{n}": give(f"<b>Title:</b> Page {n}<br>".encode()) for n in (6, 8)},
    f"{APTS}/9/": give(b"", 503),
    **dict.fromkeys((f"{APTS}/10/", f"{LISTINGS}/10/"), give(b"", 403)),
    f"{COPIES}/10.apt": apt(10, "Ten", "Tenth."),
    **{f"{APTS}/{n}/": give(b"", 401) for n in (11, 13)},
    f"{COPIES}/12.pro": listing("Twelve", "Twelfth."),
    "/v1/search/query": give(answer(doc(bibcode="1997hst..prop....6B", abstract="Sixth of ADS."))),
}
NUMBERS = ("3", "1", "2", "5", "6", "8", "9", "10", "11", "12", "13", "077", "../etc", "2")


def test_proposals_of_a_night_are_those_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compare_recorded: Callable[..., None]
) -> None:
    monkeypatch.setenv("ADS_API_TOKEN", "token")
    found: dict[str, Any] = {}
    with BadServer(table=PAGES) as server:

        def source(**changes: Any) -> ProposalSource:
            settings = ArchiveSettings.model_validate({"mast_url": server.url, "use_ads": True} | changes)
            return ProposalSource(settings, make_transport(attempts=2), Layout(tmp_path), MISSIONS["hst"], server.url)

        def add(name: str, asked: ProposalSource, numbers: tuple[str, ...] = NUMBERS) -> None:
            proposals, rejections = asked.fetch(numbers)
            found[f"{name}: requests"] = requests(server)
            found[name] = [*all_facts(proposals), *({**one, "settings_digest": ""} for one in all_facts(rejections))]

        add("first", source())
        found["files"] = files(tmp_path)
        assert not any(b"token" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        add("again", source())
        found["cycles"] = [source().numbers_in_cycles(cycles) for cycles in ([20], [19, 20])]
        found["cycles: requests"] = requests(server)
        with monkeypatch.context() as patch:
            patch.delenv("ADS_API_TOKEN")
            add("from raw", source(from_raw=True))
        for number, days in (("2", 1.5), ("5", 0.9)):
            about = Layout(tmp_path).raw_response("proposals", f"apt:{number}", ".about.json")
            landed = {"landed_at": (datetime.now(UTC) - timedelta(days=days)).isoformat()}
            about.write_text(json.dumps(json.loads(about.read_text()) | landed))
        add("after a day", source(relist_days=1), ("2", "5"))
        add("without limit", source(relist_days=0), ("2", "5"))
        Layout(tmp_path).raw_response("proposals", "apt:2", ".apt").write_bytes(b"<html>")
        add("damaged", source(), ("2",))
        found = without(found, (server.url, "URL"), (server.host, "HOST"))
    compare_recorded("proposals.json", found)


ROWS = (
    {"mission": "JWST", "proposal_id": "13937", "title": "Not this", "abstract": "wrong"},
    {
        "mission": "hst",
        "proposal_id": "hst:013937",
        "abstract": "Maps {of} Neptune.",
        "cycle": 22,
        "pi": ["A. Simon"],
        "category": "X",
    },
    {"mission": "HST", "number": 13937, "title": "Later"},
    {"id": "007", "number": None, "proposal_id": "", "caption": "A caption.", "proposal_type": "GO"},
    {"title": "Without number"},
    {"abstract": " ".join(f"Word{n}" for n in range(14))},
    {"number": "GO-12", "abstract": "Twelve.", "title": ""},
)
TABLES = {
    "a.csv": "filepath,title\nimages/a.jpg,A star.\n007.jpg,A moon.\n",
    "b.csv": "id,caption,filepath,title\nx,A caption.,d/a.jpg,Title\n,,b.jpg,Only a title\n",
    "c.tsv": "\ufefffilepath\ttitle\td\na.jpg\tOne\t1\na.jpg\tTwo\t2\n",
    "d.csv": "filepath,title\nd1/a.jpg,A star.\nd2/a.jpg,A moon.\n",
    "e.csv": "filepath;title\n",
    "f.jsonl": '{"id": 1}\n\n{"id": \n',
    "g.jsonl": "[1]\n",
}


def test_a_local_folder_is_read_as_recorded(tmp_path: Path, compare_recorded: Callable[..., None]) -> None:
    found: dict[str, Any] = {}
    write_fits(tmp_path / "sub/icpf27:deq_drz.fits", **NEPTUNE)
    for number in range(4):
        write_fits(tmp_path / f"{number}_flt.FITS", number, PROPOSID=5, FILTER="F606W")
    write_fits(tmp_path / "own.fit", TELESCOP="JWST", PROGRAM="13937", TITLE="x")
    (tmp_path / "odd.fits.gz").write_bytes(b"odd")
    (tmp_path / "large.fits").write_bytes(bytes(1_000_001))
    for name, content in {
        **dict.fromkeys(("b.fits.fz", "c.fits.bz2", "d.tar", "e.TGZ"), b"any"),
        **dict.fromkeys(("f.dat", "g.jpg"), (tmp_path / "own.fit").read_bytes()),
        **dict.fromkeys(("h.jpeg", "i.png"), b"\xff\xd8\xff"),
        "notes.txt": b"Notes.",
        ".hidden.fits": b"",
        "out/j.fits": b"",
        "sub/.k/l.fits": b"",
        "m": b"\x89PNG",
        "o": b"",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "proposals.jsonl").write_text("\n".join(map(json.dumps, ROWS)) + "\n\n")
    for name, changes in {
        "files": {"max_products_per_proposal": 2, "max_product_mb": 1},
        "previews": {"products": "preview"},
        "own rows": {"proposals_file": tmp_path / "notes.txt"},
    }.items():
        settings = ArchiveSettings.model_validate({"name": "local", "folder": tmp_path, **changes})
        archive = LocalArchive(settings, FetchSettings(), Layout(tmp_path / "out"))
        pages = list(archive.query_observations(0.0))
        observations = [one for page in pages for one in page]
        known = {"1_flt.FITS", "gone.fits"} if "max_product_mb" in changes else set()
        products, rejections = archive.list_products(observations, {"local:5": frozenset(known)})
        found[f"{name}: observations"] = [facts(one) | {"fingerprint": ""} for one in observations]
        found[f"{name}: rejections"] = [
            [one.entity, one.entity_id, one.stage, one.reason, one.detail, one.settings_digest == settings.digest()]
            for one in [*(one for page in pages for one in page.rejections), *rejections]
        ]
        found[f"{name}: products"] = [
            facts(archive.fetch_product(one).product) | {"archive_version": "", "fetched_version": "", "sha256": ""}
            for one in products
        ]
        if name != "own rows":
            numbers = [one.proposal_id.partition(":")[2] for one in observations]
            proposals, missing = archive.fetch_proposals([*numbers, "404"])
            found[f"{name}: proposals"] = [
                all_facts(proposals),
                [[one.entity_id, one.reason, one.detail] for one in missing],
            ]
    for name, text in TABLES.items():
        (tmp_path / name).write_text(text)
    for name in ("proposals.jsonl", *TABLES):
        try:
            rows = read_proposal_rows(tmp_path / name).items()
            found[name] = (
                [[*key, facts(one)] for key, one in rows],
                all_facts(read_proposals_file(tmp_path / name, "own")),
            )
        except HubbleclipError as error:
            found[name] = str(error)
    compare_recorded("local.json", without(found, (str(tmp_path.resolve()), "FOLDER"), (str(tmp_path), "FOLDER")))
