"""A session with the search of a made sky: pages, API, tables, Virtual Observatory and tools, each answer as data.

No model is involved, so that scores are the same on every machine.
"""

import asyncio
import io
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import pandas as pd
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import parse
from bs4 import BeautifulSoup, NavigableString
from mcp import Client
from PIL import Image
from search_sky import IDS as T
from search_sky import png_of
from starlette.testclient import TestClient

from hubbleclip.search.agents import make_agent_server
from hubbleclip.search.engine import Search
from hubbleclip.search.server.application import create_app
from hubbleclip.search.server.search_service import SearchService
from hubbleclip.search.server.security import Access

ID = re.compile(r"\b([abc][0-9a-f])\1{3,15}\b")
"""The id of a tile, whole or shortened."""
HEADERS = (
    "content-type",
    "content-disposition",
    "location",
    "hx-push-url",
    "vary",
    "cache-control",
    "allow",
    "retry-after",
    "set-cookie",
)
ATTRIBUTES = ("href", "src", "alt", "action", "value", "title", "aria-label", "checked", "selected", "start")
ATTRIBUTES += ("cx", "cy", "x", "y", "fill-opacity", "data-share", "data-query", "data-hits", "data-picture", "hx-get")
FORMS = ("csv", "ecsv", "votable", "parquet")
FILTERS = (
    "instrument=ACS/WFC&filter=F999&cycle=15&split=train&pi=nova&proposal=10001&observed_from=2003-01-01&detector=wfc"
    "&observed_to=2009-01-01&exposure_s_min=1&exposure_s_max=2e3&moving=false&place=M51&radius=3&category=galaxies"
)
SESSION: dict[str, list[str]] = {
    "texts": [
        "/?q=spiral+arms",
        "/?q=spiral&group=none&k=3&page=2",
        "/?q=spiral+dust&group=sky&mode=model",
        "/?q=dust&mode=words&q=gas%5E2&not=cluster",
        "/?q=xyzzy&mode=words",
        "/?q=spirel+galaxy+disk&q=spirel%5E2",
        "/?q=M51+F814W+2003+NOT+dust",
        "/?q=spirel&fitler=F606W&refs=1&utm_source=mail",
        "/?q=galaxy&not=&mode=both&group=proposal&place=&radius=6&moving=",
        "HX /?q=M51+F814W+gas&place=&mode=words&k=2",
        *("/?q=dust&place=&k=2&page=2", "/?fitler=F606W&place=&instrument=none"),
        *(f"/?group=none&k=8&page={page}" for page in (3, 4)),
    ],
    "places": [
        "/?place=120+10&radius=30",
        "/?place=M51&sort=distance&group=none&q=galaxy",
        "/?place=nowhere",
        "HX /?place=nowhere",
        "/?sort=distance",
        "/?sort=date&group=none&k=20",
        "/?sort=exposure&group=none&k=20",
        "/?sort=random&seed=3&group=none&k=5",
        "/?box=350,1,-5,5&group=none",
    ],
    "likeness": [
        f"/?like={T[5]}&unlike={T[0]}%5E0.5&selection=",
        "/?abstract_of=10001&group=none&exposure_s_max=400",
        "/?abstract_of=10003&k=2",
        "/?abstract_of=99",
        f"/?{FILTERS}&box=200,210,40,50&pixel_scale_arcsec_min=0.01&pixel_scale_arcsec_max=2&group=none",
        f"/?image={'f' * 32}",
        f"/api/v1/points?image={'f' * 32}",
    ],
    "forms": ["/", f"/?q=spiral&{FILTERS}"],
    "beginnings": ["/", "/?selection=arcs"],
    "tile_pages": [
        *(f"/tiles/{T[number]}" for number in (0, 7, 9, 12, 15)),
        f"/tiles/{T[17][:9]}",
        f"/tiles/{T[5]}?q=globular%5E2&not=dust&group=none",
        *(f"/tiles/{T[number]}?q=spiral&group=none&k=1" for number in (0, 2)),
        *(f"/tiles/{T[8]}?{gone}" for gone in (f"image={'f' * 32}", "selection=lost", "sort=distance")),
        "/tiles/unknown",
        "/tiles/a",
    ],
    "other_pages": [
        "/?k=0",
        "HX /?k=0",
        "HX /tiles/unknown/occlusion?q=a",
        "/nothing?q=galaxy",
        "PUT /sky",
        f"/tiles/{T[0]}/occlusion?q=spiral+arms",
        *(f"/tiles/{T[number]}/occlusion{query}" for number, query in ((0, "?q=a%5E-1"), (14, "?q=a"), (16, "?q=a"))),
        "/sky?q=spiral&group=none&k=1&page=10000",
        "/sky",
        "/map?q=spiral&instrument=ACS/WFC",
        *(f"/compare?tile={'&tile='.join(some)}" for some in ((T[0], T[6]), (T[0], T[12], T[15], T[7]))),
        f"/compare?tile={T[0]}",
        f"/compare?tile={'&tile='.join(T[:5])}",
        *("/docs", "/redoc", "/?q=dust&token=old", "/uploads/none"),
    ],
    "api": [
        "/api/v1/search?q=spiral+arms&group=none",
        "/api/v1/search?q=spiral&k=1",
        f"/api/v1/search?like={T[13]}&group=none&split=test",
        f"/api/v1/search?like={T[13][:8]}&mode=words",
        "/api/v1/search?place=83.8+-5.4+0.2&group=none",
        "/api/v1/search?moving=true&k=2",
        "/api/v1/search?category=galaxies&mode=words&q=spiral",
        "/api/v1/search?place=M51&group=none",
        "/api/v1/search?instrument=none",
        "/api/v1/search?selection=arcs",
        *(
            f"/api/v1/search?{fault}"
            for fault in ("k=1001&format=images", "page=500&k=200", "exposure_s_min=nan", "like=a")
        ),
        *(f"/api/v1/search?{fault}" for fault in ("box=0,1,2", "box=0,1,-91,0", "box=0,nan,0,1", "radius=0")),
        *(f"/api/v1/search?{fault}" for fault in ("like=no+such", "radius=1e9&place=1+1", "box=a,b,c,d")),
        *(f"/api/v1/search?{fault}" for fault in ("exposure_min=1", "exposure_s_max=", "q=a&filters=F606W")),
        *(f"/api/v1/search?{fault}" for fault in ("observed_from=2013", "q=a%5E999", f"image={'f' * 32}")),
        *("/api/v1/search?instrument=x" + "&instrument=x" * 100, "/api/v1/points?cycle="),
        *("/healthz?challenge=a", f"/healthz?challenge={'a' * 201}", "OPTIONS /api/v1/search", "/api/v1/nothing"),
        *("/api/v1/points?format=csv", "/api/v1/points?place=M51&q=spiral&mode=words", "/api/v1/points?q="),
    ],
    "exports": [
        *(f"/api/v1/search?proposal=10003&group=none&format={form}" for form in FORMS),
        *(f"/api/v1/search?instrument=none&format={form}" for form in ("csv", "votable", "parquet")),
        "/api/v1/search?proposal=jwst:1345&group=none&format=images",
        "/api/v1/search?instrument=none&k=1000&format=images",
    ],
    "tiles": [
        *(f"/api/v1/tiles/{tile_id}" for tile_id in (T[0][:5], T[12], "a", "unknown")),
        *(f"/api/v1/tiles/{T[0]}/image.png{form}" for form in ("", "?format=png", "?format=jpg", "?format=gif")),
        *(f"/api/v1/tiles/{T[number]}/thumbnail.jpg" for number in (0, 14, 16)),
        *(f"/api/v1/tiles/{one}" for one in (f"{T[0][:9]}/image.png", f"{T[16]}/image.png?format=jpg")),
        "/api/v1/tiles/..%2F..%2Fetc%2Fpasswd/image.png",
        *(f"/api/v1/tiles/{tile_id}/cutout.fits" for tile_id in (T[3], T[5], T[15], T[16], T[3][:9], "a")),
        *(f"/tiles/{tile_id}/footprint.reg" for tile_id in (T[0], T[7], T[0][:9])),
    ],
    "selections": [
        "/selections",
        "POST /selections name=arcs&action=add&tile=" + "&tile=".join(T[number] for number in (6, 0, 15)),
        "/api/v1/search?selection=arcs&group=none",
        "/api/v1/search?selection=arcs&group=none&instrument=WFPC2&q=age",
        "POST /selections name=+arcs+&action=note&note=+again+",
        "POST /selections name=arcs&action=+add&tile=" + "&tile=".join(T[:1] * 248),
        "POST /selections name=arcs&action=add&tile=" + "&tile=".join(T[:1] * 249),
        f"POST /selections name=arcs&action=remove&tile={T[0]}",
        "POST /selections name=arcs&action=add&tile=none",
        "/selections",
        "POST /selections name=arcs&action=delete",
    ],
    "cones": [
        "/scs?RA=202.47&DEC=47.195&SR=0.01&VERB=1",
        "/scs?ra=0&dec=0&sr=180",
        "/scs?RA=83.8&DEC=-5.4&SR=1&verb=3",
        "/scs?RA=202.47&DEC=47.195&SR=0",
        "/scs",
        "/scs?RA=361&DEC=x&SR=1",
        "/scs?RA=nan&DEC=1&SR=181&VERB=4",
    ],
    "images": [
        f"/sia2/query?ID=ivo://hubbleclip/tile?{T[5]}",
        "/sia2/query?ID=ivo://hubbleclip/product?mast:HST/product/j05_drz.fits",
        "/sia2/query?POS=CIRCLE+202.47+47.195+0.002",
        "/sia2/query?POS=RANGE+359+360+-1+1&POS=CIRCLE+53.1+-27.8+1",
        "/sia2/query?POS=RANGE+-Inf+360+-Inf+%2BInf&FORMAT=image/png",
        "/sia2/query?POS=POLYGON+359.9+-1+0.1+-1+0+1&FORMAT=application/fits",
        "/sia2/query?POS=POLYGON+83+-6+84.5+-6+84.5+-5+83+-5&FORMAT=image/png",
        "/sia2/query?BAND=8e-7+8.2e-7&COLLECTION=HST",
        "/sia2/query?TIME=53000+53100&INSTRUMENT=ACS",
        "/sia2/query?EXPTIME=0.1+36&CALIB=3&DPTYPE=image&FACILITY=hst",
        "/sia2/query?EXPTIME=1000&EXPTIME=9.5&TIME=53000+%2BInf",
        "/sia2/query?FOV=0.008+1&TARGET=m51&maxrec=3",
        "/sia2/query?TARGET=FIELD&target=RING-1&FORMAT=image/jpeg&FORMAT=+IMAGE/PNG",
        f"/sia2/query?ID=ivo://hubbleclip/tile?{T[5]}&ID=ivo://hubbleclip/tile?{T[0]}&BAND=1e-7+1e-5&INSTRUMENT=acs/wfc",
        "/sia2/query?MAXREC=0",
        *(f"/sia2/query?POS={fault}" for fault in ("BOX+1+2+3+4", "CIRCLE+1+2", "CIRCLE+1+2+3+4", "CIRCLE+1+2+x")),
        *(f"/sia2/query?POS=POLYGON+{fault}" for fault in ("0+95+10+95+5+96", "0+0+inf+0+1+1", "1+1+2+2+3+1+9")),
        *(f"/sia2/query?{fault}" for fault in ("TIME=a", "BAND=", "MAXREC=-1", "MAXREC=inf", "COLOUR=1")),
        "/sia2/capabilities",
    ],
}
"""Requests by file of their answers."""
PARTS = dict.fromkeys(("texts", "places", "likeness"), "title, #results")
PARTS |= {"forms": ".banner, .filters, footer", "beginnings": "ol, .chips, .welcome"}
PARTS["other_pages"] = "title, main, .fault, #overlay"
"""Parts of pages that are compared; of the others, these are title and content."""
ODD = "'NaN'::DOUBLE AS a, NULL AS b, TIMESTAMP '2009-05-24 01:02:03.5' AS c"
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("search", {"q": ["spiral arms"], "k": 2, "group": "none"}),
    ("search", {"place": "nowhere"}),
    ("search", {"fitler": ["F606W"]}),
    ("search", {"k": 51}),
    ("search", {"group": "none"}),
    ("tile", {"tile_id": T[12]}),
    ("tile", {"tile_id": "a"}),
    ("explain", {"tile_id": T[0]}),
    ("sql", {"query": f"SELECT proposal_id, count(*) AS num, {ODD} FROM tile GROUP BY ALL ORDER BY 1"}),
    ("sql", {"query": "SELECT range AS n FROM range(201)"}),
    ("sql", {"query": "SELECT 1 AS n FROM range(200)"}),
    ("search", {"k": 50, "group": "none", "instrument": ["FGS"]}),
    *(("search", {"qqq": 1, "fitler": 2}), ("tile", {"zzz": "a"}), ("explain", {})),
]


def open_remote(uri: str) -> io.BytesIO:
    """The file of a tile in the archive, a cube for one of them; another is missing."""
    if "j16" in uri:
        raise OSError("it is gone")
    content, header = io.BytesIO(), fits.Header({"BUNIT": "COUNTS"})
    data = 1.0 * pd.Series(range(40 * 50)).to_numpy().reshape(40, 50)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data, header)]).writeto(content)
    content.seek(0)
    return content


def explain(tile_id: str) -> dict[str, Any]:
    return {"tile_id": tile_id, "abstract": "text", "row": 3, "none": None, "nan": float("nan")}


@pytest.fixture(scope="module")
def client(search: Search) -> Iterator[TestClient]:
    service = SearchService(search=search, explain=explain, open_remote=open_remote)
    with TestClient(
        create_app(service, Access(), "secret"), base_url="http://localhost:8765", follow_redirects=False
    ) as client:
        yield client


def short(value: Any) -> Any:
    """Shorten ids of tiles, and round scores."""
    if isinstance(value, dict):
        hit = [value[name] for name in ("tile_id", "score", "model_rank", "words_rank", "num_folded") if name in value]
        return short(hit) if len(hit) == 5 and "page" in value else {key: short(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [short(one) for one in value]
    if isinstance(value, str):
        text = ID.sub(r"t\1", value)
        return f"{float(text):.2f}" if re.fullmatch(r"-?\d\.\d{3,4}", text) else text
    return float(f"{value:.6g}") if isinstance(value, float) else value


def page_facts(html: str, css: str) -> list[str]:
    """Texts and attributes of the parts of a page in the order in which they first appear."""
    found: list[str] = []
    for part in BeautifulSoup(html, "html.parser").select(css):
        for one in (part, *part.descendants):
            if isinstance(one, NavigableString):
                found += [" ".join(one.split())] if one.strip() else []
            else:
                kept = ATTRIBUTES if one.get("name") != "seed" else ()  # drawn for each page
                found += [f"{name}={one[name]}" for name in kept if name in one.attrs]
                found += one.get("class", []) if one.name in ("path", "tr", "rect") else []
    return list(dict.fromkeys(found))


def table_facts(content: bytes) -> dict[str, Any]:
    """Notes, columns and rows of a VOTable."""
    file = parse(io.BytesIO(content), verify="ignore")
    resource = file.resources[0]
    found: dict[str, Any] = {"infos": {one.name: [one.value, one.content] for one in (*file.infos, *resource.infos)}}
    for table in resource.tables:
        if len(table.array):
            rows = [list(map(str, row))[: None if len(table.array) < 4 else 8] for row in table.array]
            return {"status": found["infos"].get("QUERY_STATUS"), "rows": rows}
        found["fields"] = [
            f"{one.name} {one.datatype} {one.arraysize} {one.unit} {one.ucd} {one.utype}" for one in table.fields
        ]
    return found


def body_of(content: bytes, kind: str, css: str, query: str) -> Any:
    if kind == "application/json":
        return json.loads(content)
    if kind == "text/html":
        return [text.replace(query, "...") for text in page_facts(content.decode(), css)]
    if kind in ("text/xml", "application/x-votable+xml") and b"<VOTABLE" in content:
        return table_facts(content)
    if kind.startswith("image/"):
        with Image.open(io.BytesIO(content)) as picture:
            tables = getattr(picture, "quantization", {})  # those of JPEG tell its quality
            return [picture.format, picture.size, sorted(picture.info), [sum(table) for table in tables.values()]]
    if kind == "application/fits":
        with fits.open(io.BytesIO(content)) as hdus:
            return [hdus[0].shape, float(hdus[0].data[0, 0]), [f"{card}".strip() for card in hdus[0].header.cards[5:]]]
    if kind == "application/vnd.apache.parquet":
        table = pd.read_parquet(io.BytesIO(content))
        pictures = [(one["path"], one["bytes"] is None) for one in table.get("image", [])]
        rows = table.drop(columns=["image", "feature"], errors="ignore").to_json(orient="split", index=False)
        return [pictures, json.loads(rows), *sorted(map(str, pq.read_schema(io.BytesIO(content)).metadata))]
    return content.decode().splitlines()


def answer(client: TestClient, line: str, css: str) -> list[Any]:
    """Status, headers and content of an answer."""
    method, _, rest = line.rpartition(" /")
    url, _, form = rest.removeprefix("/").partition(" ")
    data: dict[str, Any] = {}
    for name, value in parse_qsl(form, keep_blank_values=True):
        data.setdefault(name, []).append(value)
    headers = {"hx-request": "true"} if method == "HX" else {}
    found = client.request("GET" if method in ("", "HX") else method, f"/{url}", data=data or None, headers=headers)
    kind = found.headers.get("content-type", "").partition(";")[0]
    kept = {name: found.headers[name] for name in HEADERS if name in found.headers}
    query = url.partition("?")[2] or "no query"
    return short([found.status_code, kept, body_of(found.content, kind, css, query) if found.content else None])


@pytest.mark.parametrize("name", SESSION)
def test_answers_are_those_recorded(name: str, client: TestClient, compare_recorded: Callable[..., None]) -> None:
    css = PARTS.get(name, "title, main")
    found = {f"{number:02} {short(line)[:250]}": answer(client, line, css) for number, line in enumerate(SESSION[name])}
    compare_recorded(f"search_{name}.json", found)


def test_the_search_by_a_picture_is_that_recorded(client: TestClient, compare_recorded: Callable[..., None]) -> None:
    found: dict[str, Any] = {}
    form = {"mode": "model", "k": "3", "q": ["gas", "ring"], "image": "f" * 32}
    for number, path in ((9, "/api/v1/search"), (15, "/")):
        got = client.post(path, files={"picture": png_of(number)}, data=form)
        found[path] = [got.status_code, got.headers.get("location"), json.loads(got.content or "{}")]
    compare_recorded("search_uploads.json", short(found))


def test_tools_for_agents_are_those_recorded(search: Search, compare_recorded: Callable[..., None]) -> None:
    called: list[str] = []

    def noted(function: Callable[..., Any], *arguments: Any, queue: str = "") -> Any:
        called.append(queue or function.__name__)
        return function(*arguments)

    async def talk() -> dict[str, Any]:
        opened, of_sql = partial(noted, lambda: search, queue="opened"), partial(noted, queue="sql")
        server = make_agent_server(opened, search._layout, explain, run=noted, run_sql=of_sql)
        async with Client(server) as agent:
            tools = {
                one.name: [one.description, one.annotations.read_only_hint, sorted(one.input_schema["properties"])]
                for one in (await agent.list_tools()).tools
            }
            found = [(name, arguments, await agent.call_tool(name, arguments)) for name, arguments in CALLS]
        return (
            tools
            | {"called": called}
            | {
                f"{name} {arguments}": one.structured_content or one.content[0].text.split("\n")[0]
                for name, arguments, one in found
            }
        )

    compare_recorded("search_tools.json", short(asyncio.run(talk())))


def test_what_the_api_describes_is_that_recorded(client: TestClient, compare_recorded: Callable[..., None]) -> None:
    paths = client.get("/api/v1/openapi.json").json()["paths"]
    found: dict[str, Any] = {
        f"{method} {path}": [
            sorted(one["name"] for one in of.get("parameters", [])),
            sorted(of["responses"]),
            of.get("summary"),
            sorted(of.get("requestBody", {}).get("content", [])),
        ]
        for path, methods in paths.items()
        for method, of in methods.items()
    }
    found |= {"headers": dict(client.get("/healthz").headers)}
    compare_recorded("search_openapi.json", found)
