"""The HTTP API: searches, tiles, exports and errors."""

import io
import json
from unittest.mock import Mock
from urllib.parse import urlencode

import pytest
from astropy.io.votable import parse
from astropy.io.votable.ucd import check_ucd
from search_site import IDS
from starlette.testclient import TestClient
from web_search import client_of, service_of

from hubbleclip.search.engine import Search
from hubbleclip.search.server.search_service import WorkQueue


def ids_of(response) -> list[str]:
    assert response.status_code == 200, response.text
    return [hit["tile_id"] for hit in response.json()["hits"]]


def test_a_picture_finds_its_tile(client: TestClient, search: Search, png: bytes) -> None:
    form = {"mode": ["model"], "k": ["3"], "instrument": ["WFC3/UVIS", "WFC3/IR"]}
    response = client.post("/api/v1/search", files={"picture": png}, data=form)
    assert ids_of(response)[0] == IDS[31]
    assert client.post("/api/v1/search", files={"picture": png}, data={"kk": "3"}).status_code == 422
    understood = response.json()["understood"]
    (digest,) = understood.pop("image")
    assert understood == form
    against = client.get(f"/api/v1/search?mode=model&k=48&group=none&image={digest}^-1").json()["hits"]
    assert {hit["tile_id"]: hit["score"] for hit in against}[IDS[31]] == pytest.approx(-1, abs=1e-3)


def test_terms_with_weights_are_posted_as_json(client: TestClient, search: Search) -> None:
    body = {"like": [IDS[0]], "q": ["spiral galaxy^-0.5"], "group": "none", "k": 5, "filter": ["F606W"], "pi": ""}
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
        ({"place": None}, "place"),
        ({"cycle": [""]}, "cycle"),
        ({"q": ["a"] * 17}, "at most 16 terms"),
        ({"q": ["M31"], "like": ["a b"]}, "like"),
    ],
)
def test_a_wrong_body_is_refused(body: dict | str, fault: str, client: TestClient) -> None:
    response = client.post("/api/v1/search", content=body if isinstance(body, str) else json.dumps(body))
    assert response.status_code == 422
    assert fault in response.json()["detail"]


def test_a_long_answer_has_a_queue_of_its_own_and_a_full_one_says_when_to_retry(search: Search) -> None:
    whole: list[dict[str, object]] = [{"format": "csv"}, {"format": "images"}, {"k": 201}]
    short = ("/", "/sky", "/moc.fits", f"/tiles/{IDS[0]}", "/api/v1/search?k=200", "/api/v1/points")
    pictures = [f"/api/v1/tiles/{IDS[0]}/{name}" for name in ("image.png", "thumbnail.jpg")]
    long = ("/scs?RA=1&DEC=1&SR=1", "/sia2/query", *(f"/api/v1/search?{urlencode(one)}" for one in whole))
    for full in ("queue", "tables"):
        with client_of(service_of(search, **{full: WorkQueue(max_waiting=0)})) as client:
            for url in (*short, *long, *pictures):
                answer = client.get(url)
                expected = (503, "2") if url in (short if full == "queue" else long) else (200, None)
                assert (answer.status_code, answer.headers.get("retry-after")) == expected
            for one in whole:
                assert client.post("/api/v1/search", json=one).status_code == (200 if full == "queue" else 503)


def test_votable_has_valid_ucds_and_names_its_model(client: TestClient) -> None:
    file = parse(io.BytesIO(client.get("/api/v1/search?format=votable").content), verify="exception")
    assert file.version == "1.4"
    fields = file.get_first_table().fields
    assert all(check_ucd(field.ucd, check_controlled_vocabulary=True, has_colon=False) for field in fields)
    assert {info.name: info.value for info in file.resources[0].infos}["model"].endswith("/small-model")


def test_each_address_answers_head_as_get_without_a_body(client: TestClient) -> None:
    for url in ("/", "/api/v1/search?k=1", f"/api/v1/tiles/{IDS[0]}/image.png", "/healthz", "/scs?RA=1&DEC=1&SR=1"):
        assert client.head(url).status_code == client.get(url).status_code == 200


def test_texts_are_compressed_and_pictures_are_not(client: TestClient) -> None:
    assert client.get("/api/v1/search?k=24").headers["content-encoding"] == "gzip"
    assert "content-encoding" not in client.get(f"/api/v1/tiles/{IDS[0]}/image.png").headers


def test_metrics_count_by_route(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(service_of(search))
    for path in (*(f"api/v1/tiles/{tile_id}" for tile_id in (*IDS[:3], "unknown")), "nothing"):
        client.get(f"/{path}")
    text = client.get("/metrics").text
    assert 'hubbleclip_requests_total{route="/api/v1/tiles/{tile_id}",status="200"} 3.0' in text
    assert 'hubbleclip_requests_total{route="/api/v1/tiles/{tile_id}",status="404"} 1.0' in text
    assert 'hubbleclip_request_seconds_count{route="/api/v1/tiles/{tile_id}"} 4.0' in text
    assert 'hubbleclip_requests_total{route="other",status="404"} 1.0' in text
    assert "hubbleclip_searches_open 0.0" in text
    assert IDS[0] not in text
    monkeypatch.setattr(search, "run", Mock(side_effect=RuntimeError("odd")))
    assert TestClient(client.app, client.base_url, False).get("/api/v1/search?q=a").status_code == 500
    assert 'hubbleclip_requests_total{route="/api/v1/search",status="500"} 1.0' in client.get("/metrics").text
    assert json.loads(client.get("/healthz").text)["status"] == "ok"
