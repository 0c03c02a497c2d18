"""The HTTP API: searches, tiles, exports and errors."""

import io
import json
from dataclasses import asdict
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest
from astropy import units
from astropy.io.votable import parse
from astropy.io.votable.ucd import check_ucd
from astropy.table import Table
from search_site import IDS
from starlette.testclient import TestClient
from web_search import client_of, service_of

from hubbleclip.search.engine import Search
from hubbleclip.search.export import COLUMNS, FORMATS
from hubbleclip.search.params import SearchParams
from hubbleclip.search.records import plain
from hubbleclip.search.server.search_service import WorkQueue

MODEL = "hubbleclip-tiny"


def ids_of(response) -> list[str]:
    assert response.status_code == 200, response.text
    return [hit["tile_id"] for hit in response.json()["hits"]]


def test_a_text_search_gives_hits_with_score_ranks_and_facts(client: TestClient) -> None:
    found = client.get("/api/v1/search", params={"q": "spiral galaxy", "k": 3}).json()
    assert len(found["hits"]) == 3
    first = found["hits"][0]
    assert first["words_rank"] == 1
    assert 1 <= first["model_rank"] <= 48
    assert [hit["score"] for hit in found["hits"]] == sorted((hit["score"] for hit in found["hits"]), reverse=True)
    assert found["has_more"]
    assert (found["num_admitted"], found["num_hits"], found["is_counted"], found["notes"]) == (48, 8, True, [])
    assert found["understood"] == {"q": ["spiral galaxy"], "k": ["3"]}
    assert found["index"]["is_simulated"] is True
    assert found["index"]["model"] == MODEL
    assert found["index"]["promoted_at"] == "2024-01-02T00:00:00Z"
    assert client.get(first["picture"]).headers["content-type"] == "image/png"
    assert client.get(first["page"]).status_code == 200


def test_a_picture_finds_its_tile(client: TestClient, search: Search, png: bytes) -> None:
    form = {"mode": ["model"], "k": ["3"], "instrument": ["WFC3/UVIS", "WFC3/IR"]}
    response = client.post("/api/v1/search", files={"picture": png}, data=form)
    assert ids_of(response)[0] == IDS[0]
    assert client.post("/api/v1/search", files={"picture": png}, data={"kk": "3"}).status_code == 422
    understood = response.json()["understood"]
    (digest,) = understood.pop("image")
    assert understood == form
    against = client.get(f"/api/v1/search?mode=model&k=48&group=none&image={digest}^-1").json()["hits"]
    assert {hit["tile_id"]: hit["score"] for hit in against}[IDS[0]] == pytest.approx(-1, abs=1e-3)


def test_terms_with_weights_are_posted_as_json(client: TestClient, search: Search) -> None:
    body = {"like": [IDS[0]], "q": ["spiral galaxy^-0.5"], "group": "none", "k": 5, "instrument": ["WFC3/UVIS"]}
    found = client.post("/api/v1/search", json=body).json()
    assert len(found["hits"]) == 5
    assert found == client.get("/api/v1/search", params=body).json()


def test_a_posted_term_cannot_name_a_file(client: TestClient) -> None:
    for kind in ("image", "file"):
        response = client.post("/api/v1/search", json={kind: ["/etc/passwd"]})
        assert response.status_code == 422
    assert client.get("/api/v1/search", params={"image": "../../etc/passwd"}).status_code == 422
    assert client.get("/api/v1/search", params={"image": "0" * 32}).status_code == 422


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"k": "1001", "format": "images"}, "k"),
        ({"page": "500", "k": "200"}, "10,000"),
        ({"like": "no such"}, "like"),
        ({"exposure_s_min": "nan"}, "exposure_s_min"),
        ({"radius": "1e9", "place": "1 1"}, "radius"),
        ({"instrument": ["x"] * 101}, "100"),
        ({"box": "a,b,c,d"}, "ra_min"),
        ({"observed_from": "2013"}, "2009-05-24"),
        ({"q": "a^999"}, "-100 to 100"),
        ({"filters": "F814W"}, "`filter`"),
        ({"exposure_s_max": ""}, "exposure_s_max"),
        ({"exposure_min": "1"}, "`exposure_s_min`"),
    ],
)
def test_a_wrong_parameter_is_named_in_one_line(parameters: dict, word: str, client: TestClient) -> None:
    response = client.get("/api/v1/search", params=parameters)
    assert response.status_code in (400, 422)
    assert word in response.json()["detail"]
    assert "\n" not in response.json()["detail"]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("no JSON", "Invalid JSON"),
        ({"observed_to": 0}, "2009-05-24"),
        ({"moving": 0}, "true"),
        ({"split": "test"}, "split"),
        ({"q": ""}, "q"),
        ({"exposure_s_min": "1"}, "write a number"),
        ({"cycle": ["20"]}, "write a number"),
        ({"k": True}, "write a number"),
        ({"moving": "true"}, "write true or false"),
        ({"mode": ""}, "mode"),
        ({"filters": []}, "there is no such parameter"),
        ({"place": []}, "place"),
        ({"q": ["a"] * 17}, "at most 16 terms"),
        ({"q": ["M31"], "like": ["a b"]}, "like"),
    ],
)
def test_a_wrong_body_is_refused(body: dict | str, fault: str, client: TestClient) -> None:
    response = client.post("/api/v1/search", content=body if isinstance(body, str) else json.dumps(body))
    assert response.status_code == 422
    assert fault in response.json()["detail"]


@pytest.mark.parametrize("parameters", [{"format": "csv"}, {"format": "images"}, {"k": 201}])
def test_a_long_answer_has_a_queue_of_its_own_and_a_full_one_says_when_to_retry(
    parameters: dict, search: Search
) -> None:
    short = ("/", "/sky", "/moc.fits", f"/tiles/{IDS[0]}", "/api/v1/search?k=200", "/api/v1/points")
    pictures = [f"/api/v1/tiles/{IDS[0]}/{name}" for name in ("image.png", "thumbnail.jpg")]
    long = ("/scs?RA=1&DEC=1&SR=1", "/sia2/query", f"/api/v1/search?{urlencode(parameters)}")
    for full in ("queue", "tables"):
        with client_of(service_of(search, **{full: WorkQueue(max_waiting=0)})) as client:
            for url in (*short, *long, *pictures):
                answer = client.get(url)
                expected = (503, "2") if url in (short if full == "queue" else long) else (200, None)
                assert (answer.status_code, answer.headers.get("retry-after")) == expected
            assert client.post("/api/v1/search", json=parameters).status_code == (200 if full == "queue" else 503)


def test_a_tile_has_all_its_facts_and_an_unknown_one_is_404(client: TestClient, search: Search) -> None:
    facts = client.get(f"/api/v1/tiles/{IDS[1]}").json()
    picture = {"picture": f"/api/v1/tiles/{IDS[1]}/image.png"}
    assert facts == {name: plain(value) for name, value in search.tile(IDS[1]).facts.items()} | picture
    assert client.get(f"/api/v1/tiles/{IDS[1][:12]}").json() == facts
    assert "several tiles begin with '0'" in client.get("/api/v1/tiles/0").json()["detail"]
    assert client.get("/api/v1/tiles/unknown").status_code == 404
    for name in ("image.png", "thumbnail.jpg"):
        assert client.get(f"/api/v1/tiles/unknown/{name}").status_code == 404
        assert client.get(f"/api/v1/tiles/..%2F..%2Fetc%2Fpasswd/{name}").status_code == 404


def export(client: TestClient, form: str, query: str = "k=48") -> bytes:
    response = client.get(f"/api/v1/search?{query}&format={form}")
    assert response.status_code == 200
    suffix = {"votable": "vot"}.get(form, form)
    assert response.headers["content-disposition"] == f'attachment; filename="hubbleclip.{suffix}"'
    return response.content


def cells(table: pd.DataFrame | Table, name: str) -> list:
    """Values of a column of an export; None where unknown."""
    if isinstance(table, Table):
        return [
            None if value is np.ma.masked or value == "" else value for value in table[name]
        ]  # a VOTable has no null text
    return [None if pd.isna(value) else value for value in table[name]]


READERS = {
    "csv": pd.read_csv,
    "parquet": pd.read_parquet,
    "votable": lambda file: Table.read(file, format="votable"),
    "ecsv": lambda file: Table.read(file, format="ascii.ecsv"),
}


@pytest.mark.parametrize("form", READERS)
@pytest.mark.parametrize(("query", "num"), [("group=none&k=48", 48), ("instrument=none", 0)])
def test_every_value_of_an_export_is_that_of_the_api(query: str, num: int, form: str, client: TestClient) -> None:
    hits = client.get(f"/api/v1/search?{query}").json()["hits"]
    table = READERS[form](io.BytesIO(export(client, form, query)))
    assert (len(table), list(table.columns)) == (num, [column.name for column in COLUMNS])
    if isinstance(table, Table):
        assert (table["ra_deg"].unit, table["exposure_s"].unit) == (units.deg, units.s)
    for column in COLUMNS:
        expected = [hit.get(column.name) for hit in hits]
        assert cells(table, column.name) == expected, column.name


def test_votable_has_valid_ucds_and_names_its_model(client: TestClient) -> None:
    file = parse(io.BytesIO(export(client, "votable")), verify="exception")
    assert file.version == "1.4"
    fields = file.get_first_table().fields
    assert all(check_ucd(field.ucd, check_controlled_vocabulary=True, has_colon=False) for field in fields)
    assert {info.name: info.value for info in file.resources[0].infos}["model"] == MODEL


def test_openapi_describes_every_route(client: TestClient) -> None:
    described = client.get("/api/v1/openapi.json").json()
    assert {"/api/v1/search", "/api/v1/tiles/{tile_id}", "/scs", "/healthz", "/metrics", "/api/v1/points"} <= set(
        described["paths"]
    )
    cone = {one["name"]: one["schema"] for one in described["paths"]["/scs"]["get"]["parameters"]}
    assert cone == {name: {"type": "string"} for name in ("RA", "DEC", "SR", "VERB")}  # wrong ones are answered too
    content = described["paths"]["/api/v1/search"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}


def test_points_are_those_of_the_search(client: TestClient, search: Search) -> None:
    expected = asdict(search.points(SearchParams(instrument="ACS/WFC")))
    assert client.get("/api/v1/points?instrument=ACS/WFC").json() == expected


def test_each_address_answers_head_as_get_without_a_body(client: TestClient) -> None:
    for url in ("/", "/api/v1/search?k=1", f"/api/v1/tiles/{IDS[0]}/image.png", "/healthz", "/scs?RA=1&DEC=1&SR=1"):
        assert client.head(url).status_code == client.get(url).status_code == 200


def test_a_wrong_method_is_told_the_right_ones(client: TestClient) -> None:
    answer = client.options("/api/v1/search")
    assert (answer.status_code, set(answer.headers["allow"].split(", "))) == (405, {"GET", "POST"})


def test_texts_are_compressed_and_pictures_are_not(client: TestClient) -> None:
    assert client.get("/api/v1/search?k=24").headers["content-encoding"] == "gzip"
    assert "content-encoding" not in client.get(f"/api/v1/tiles/{IDS[0]}/image.png").headers


def test_a_text_that_begins_as_a_formula_is_text_in_csv() -> None:
    _, _, write = FORMATS["csv"]
    table = pd.read_csv(io.BytesIO(write([{"title": '=HYPERLINK("x")', "target_name": "-M 31", "ra_deg": -1.0}], {})))
    assert (table["title"][0], table["target_name"][0], table["ra_deg"][0]) == ('\'=HYPERLINK("x")', "'-M 31", -1.0)


def test_a_control_character_is_replaced_in_xml() -> None:
    _, _, write = FORMATS["votable"]
    table = Table.read(io.BytesIO(write([{"title": "a\x01b\ud800"}], {})), format="votable")
    assert table["title"][0] == "a\ufffdb\ufffd"


def test_metrics_count_by_route(client: TestClient, search: Search) -> None:
    for tile_id in (*IDS[:3], "unknown"):
        client.get(f"/api/v1/tiles/{tile_id}")
    text = client.get("/metrics").text
    assert 'hubbleclip_requests_total{route="/api/v1/tiles/{tile_id}",status="200"} 3.0' in text
    assert 'hubbleclip_requests_total{route="/api/v1/tiles/{tile_id}",status="404"} 1.0' in text
    assert 'hubbleclip_request_seconds_count{route="/api/v1/tiles/{tile_id}"} 4.0' in text
    assert "hubbleclip_searches_open 0.0" in text
    assert IDS[0] not in text
    assert json.loads(client.get("/healthz").text)["status"] == "ok"
