"""The verdict of the check on healthy and sick archives, each of which the ingest that follows proves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubbleclip.archives.check import check_archive
from hubbleclip.archives.check.listing import FILTERED
from hubbleclip.archives.check.probe import Level
from hubbleclip.archives.http.client import RequestLimits
from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.config.settings import read_settings
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.pipeline.ingest.fetch import fetch_pending
from hubbleclip.pipeline.ingest.list_products import list_pending
from hubbleclip.pipeline.ingest.run import fetch_pending_proposals, update_observations
from tests.bad_server import Respond, give
from tests.made_archive import MadeArchive, Row, hst_archive, made_pins

LIMITS = RequestLimits(attempts=3, backoff_s=0.01, breaker_failures=200, outage_s=0.0, page_rows=5)
Change = Callable[[MadeArchive], Any]
TABLE, FILES, COPIES = "/api/v0/invoke", "/api/v0.1/Download/", "/stpubdata/"
ABSTRACTS, APT, LISTING, PAGE = (
    "/hst/abstracts.cat",
    "/hst-program-info/download/hst/apt/",
    "/hst-program-info/download/hst/list/",
    "/hst-program-info/program/",
)


def gives(path: str, response: Respond) -> Change:
    """All paths with this beginning get one response."""

    def change(world: MadeArchive) -> None:
        world.table = {path: response, **{one: found for one, found in world.table.items() if not one.startswith(path)}}

    return change


def all_of(*changes: Change) -> Change:
    return lambda world: [change(world) for change in changes]


def edits(change: Callable[[Row, Row], Any], service: str = "Mast.Caom.Filtered", counts: bool = False) -> Change:
    """Edit the tables of a service: those of rows, or those of counts."""

    def edit(table: Row, query: Row) -> Row | None:
        is_count = query["params"].get("columns", "").startswith("COUNT")
        return change(table, query) if query["service"] == service and is_count == counts else None

    return lambda world: world.edits.append(edit)


def each_row(**values: Any) -> Callable[[Row, Row], None]:
    return lambda table, _: [row.update(values) for row in table["data"]]


def without_filter(name: str) -> Change:
    """Ignore a filter of the portal."""

    def change(world: MadeArchive) -> None:
        answer = world.answer

        def ignoring(query: Row) -> Row:
            params = query["params"]
            kept = [item for item in params.get("filters", []) if item["paramName"] != name]
            return answer(query | {"params": params | ({"filters": kept} if "filters" in params else {})})

        world.answer = ignoring  # type: ignore[method-assign]

    return change


def with_spectra(world: MadeArchive) -> None:
    """Add as many observations of a spectrograph as there are others."""
    for number, row in enumerate(list(world.rows), 100):
        about = {"obsid": number, "objID": number, "obs_id": f"l{row['obs_id'][1:]}", "instrument_name": "COS/FUV"}
        world.rows.append(row | about)


def files(body: Callable[[bytes], bytes]) -> Change:
    """Files are sent as a whole, changed, without their length."""

    def change(world: MadeArchive) -> None:
        file = next(iter(world.files.values()))
        data = body(file.read(0, file.size))

        def respond(handler: Any) -> None:
            handler.send_response_only(200)
            handler.end_headers()
            handler.wfile.write(data)
            handler.close_connection = True

        world.table[FILES] = respond

    return change


def once(response: Respond) -> Change:
    """The first query gets this response."""

    def change(world: MadeArchive) -> None:
        left = [response]
        respond = world.respond

        def flaky(handler: Any) -> None:
            (left.pop() if left and handler.path.startswith(TABLE) else respond)(handler)

        world.respond = flaky  # type: ignore[method-assign]

    return change


HTML, GONE, DENIED = give(b"<html>moved</html>", Content_Type="text/html"), give(b"", 404), give(b"", 403)
PRODUCTS = "Mast.Caom.Products"
HEALTHY: dict[str, Change] = {
    "healthy": lambda world: None,
    "no length, range or ETag": files(lambda data: data),
    "no ETag and no date": lambda world: world.file_headers.clear(),
    "bucket gone": gives(COPIES, GONE),
    "page of abstracts without link": gives("/hst/proposal_abstracts.html", HTML),
    "bulk list of another layout": gives(ABSTRACTS, give(b"Number: 1\n")),
    "APT files of HTML": gives(APT, HTML),
    "pages of HTML": gives(PAGE, HTML),
    "only the bulk list": all_of(gives(APT, GONE), gives(LISTING, GONE), gives(PAGE, GONE)),
    "only listings": all_of(gives(APT, GONE), gives(ABSTRACTS, GONE), gives(PAGE, GONE)),
    "a lost column of titles": gives("/portal/", give(json.dumps({name: {} for name in FILTERED}).encode())),
    "sizes unknown": edits(each_row(size=None), PRODUCTS),
    "product rows repeated": edits(
        lambda table, _: table["data"].extend(table["data"]) or table["paging"].update(rowsFiltered=len(table["data"])),
        PRODUCTS,
    ),
    "one answer of 503": once(give(b"", 503)),
    "search API gone": gives("/search/", GONE),
    "a file lost": lambda world: world.products.pop(1),
    "other titles": gives(PAGE, give(b"<b>Title:</b> Another<br>")),
}
SICK: dict[str, Change] = {
    "count differs from the rows": edits(
        lambda table, _: table["data"][0].update(Column1=table["data"][0]["Column1"] + 1), counts=True
    ),
    "no dates": edits(each_row(t_obs_release=None)),
    "filter by instrument ignored": all_of(with_spectra, without_filter("instrument_name")),
    "filter by date ignored": without_filter("t_obs_release"),
    "all abstracts denied": all_of(gives("/hst-program-info/", DENIED), gives(ABSTRACTS, DENIED)),
    "rows repeated": edits(
        lambda table, _: table["data"].extend(table["data"]) or table["paging"].update(rowsFiltered=len(table["data"]))
    ),
    "rows lost": edits(lambda table, _: table.update(data=table["data"][:-1])),
    "a lost column of dates": all_of(
        edits(each_row(t_obs_release=None)),
        gives("/portal/", give(json.dumps({name: {} for name in FILTERED - {"t_obs_release"}}).encode())),
    ),
    "no numbers": edits(each_row(obsid=None)),
    "queries of HTML": gives(TABLE, HTML),
    "queries in error": edits(lambda *_: {"status": "ERROR", "msg": "no"}),
    "no observations": lambda world: world.rows.clear(),
    "no products": lambda world: world.products.clear(),
    "products of no kind": edits(each_row(productType="INFO"), PRODUCTS),
    "files gone": gives(FILES, GONE),
    "files cut": files(lambda data: data[:-2880]),
    "sizes wrong": lambda world: [row.update(size=row["size"] + 2880) for row in world.products],
}
TOLD = {
    "a lost column of dates": "columns of queries",
    "a lost column of titles": "columns of records",
    "filter by date ignored": "counts",
    "queries of HTML": "counts",
    "a file lost": "proposal 1001",
    "sizes wrong": "file, size",
    "no length, range or ETag": "file, Range",
    "no ETag and no date": "file, version",
    "bucket gone": "public copy",
    "page of abstracts without link": "abstracts",
    "bulk list of another layout": "abstracts.cat",
    "other titles": "programme page of 1001",
    "search API gone": "search API",
}
"""The finding that names what is wrong, by state."""


def state_of(world: MadeArchive, root: Path) -> str:
    """Ingest the archive; "sound", or what the run lacks."""
    overrides = {
        "data": str(root),
        "archive": {"mast_url": world.url},
        "fetch": {"requests_per_s": 1000, "timeout_s": 5, "keep_fits": True},
    }
    settings = read_settings("hubble", overrides)
    layout = Layout(settings.root)
    archive = MastArchive(settings.archive, settings.fetch, layout, LIMITS)
    with writing_catalog(layout) as catalog:
        stage = Stage(name="ingest", settings=settings, layout=layout, catalog=catalog)
        try:
            for step in (update_observations, list_pending, fetch_pending_proposals, fetch_pending):
                step(stage, archive)
        except HubbleclipError as error:
            return f"stops: {error}"
        lacks = {
            "a watermark": "SELECT 1 FROM watermark WHERE released_mjd >= 60000",
            "an abstract": "SELECT 1 FROM proposal WHERE abstract IS NOT NULL",
            "files": "SELECT 1 FROM product HAVING count(sha256) > 0 AND count(sha256) = count(*)",
            "only its instruments": "SELECT 1 FROM observation HAVING NOT bool_or(instrument LIKE 'COS%')",
        }
        return ", ".join(name for name, sql in lacks.items() if not catalog.rows(sql)) or "sound"


@pytest.mark.slow
@pytest.mark.parametrize("name", [*HEALTHY, *SICK])
def test_the_verdict_is_what_the_ingest_that_follows_proves(name: str, tmp_path: Path) -> None:
    with hst_archive() as world:
        pins = made_pins(world)
        (HEALTHY | SICK)[name](world)
        overrides = {"archive": {"mast_url": world.url}, "fetch": {"requests_per_s": 1000, "timeout_s": 5}}
        settings = read_settings("hubble", overrides)
        report = check_archive(MastArchive(settings.archive, settings.fetch, Layout(tmp_path), LIMITS), pins)
        wrong = [one for one in report.findings if one.level is Level.STOPS]
        state = state_of(world, tmp_path / "data")
    assert name not in TOLD or TOLD[name] in {one.what for one in report.findings if one.level > Level.OK}
    assert (state == "sound", report.level < Level.STOPS) == ((name in HEALTHY,) * 2), (state, wrong)
