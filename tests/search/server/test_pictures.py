"""Pictures of tiles: outside the queue of the searches, small where a page shows many, and kept by the browser."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from astropy.io import fits
from bs4 import BeautifulSoup
from PIL import Image
from pyavm import AVM
from search_site import IDS, NUM_TILES, SIZE_PX
from starlette.testclient import TestClient
from web_search import service_of

from hubbleclip.images.wcs import parse_wcs
from hubbleclip.search.engine import Search
from hubbleclip.search.server.application import create_app
from hubbleclip.search.server.pictures import thumbnail
from hubbleclip.search.server.search_service import WorkQueue
from hubbleclip.search.server.security import Access

NAMES = ("image.png", "thumbnail.jpg")


def test_pictures_come_while_the_queue_is_full(search: Search) -> None:
    app = create_app(service_of(search, queue=WorkQueue(max_waiting=0)), Access())
    with TestClient(app, base_url="http://localhost:8765") as client, ThreadPoolExecutor(16) as threads:
        assert client.get("/api/v1/search").status_code == 503
        urls = [f"/api/v1/tiles/{tile_id}/{name}" for tile_id in IDS for name in NAMES]
        assert [answer.status_code for answer in threads.map(client.get, urls)] == [200] * 2 * NUM_TILES


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_not_sent_twice(name: str, client: TestClient) -> None:
    url = f"/api/v1/tiles/{IDS[0]}/{name}"
    first = client.get(url)
    assert "immutable" in first.headers["cache-control"]
    again = client.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert client.get(url.replace(IDS[0], IDS[1]), headers={"If-None-Match": first.headers["etag"]}).status_code == 200


@pytest.mark.parametrize("form", ["png", "jpg"])
def test_a_picture_that_leaves_knows_its_position(form: str, client: TestClient, search: Search, tmp_path) -> None:
    for tile_id in IDS[:6]:  # each is turned by another angle
        answer = client.get(f"/api/v1/tiles/{tile_id}/image.png?format={form}")
        assert f"{tile_id}.{form}" in answer.headers["content-disposition"]
        path = tmp_path / f"tile.{form}"
        path.write_bytes(answer.content)
        found, expected = AVM.from_image(path).to_wcs(), parse_wcs(search.tile(tile_id).facts["wcs"])
        sides = [0, 0, SIZE_PX, SIZE_PX], [0, SIZE_PX, 0, SIZE_PX]
        assert found.pixel_to_world(*sides).separation(expected.pixel_to_world(*sides)).arcsec.max() < 1e-3
        with Image.open(path) as picture, Image.open(search.picture(tile_id)) as stored:
            assert np.abs(np.asarray(picture, float) - np.asarray(stored, float)).mean() < (
                3 if form == "jpg" else 1e-9
            )


def test_a_cutout_is_of_the_archive_where_it_may_be_asked_or_else_its_address(
    client: TestClient, search: Search
) -> None:
    url = f"/api/v1/tiles/{IDS[0]}/cutout.fits"
    refused = client.get(url)
    assert refused.status_code == 404
    assert "https://mast.stsci.edu/api/v0.1/Download/file?uri=" in refused.json()["detail"]
    data_yx, asked = np.random.default_rng(1).random((SIZE_PX * 2, SIZE_PX * 2)), []

    def open_remote(uri: str) -> io.BytesIO:
        asked.append(uri)
        content = io.BytesIO()
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data_yx, name="SCI")]).writeto(content)
        content.seek(0)
        return content

    app = create_app(service_of(search, open_remote=open_remote), Access())
    with TestClient(app, base_url="http://localhost") as other:
        answer = other.get(url)
    (cut,) = fits.open(io.BytesIO(answer.content))
    assert cut.shape == (SIZE_PX, SIZE_PX)
    assert np.isin(cut.data[np.isfinite(cut.data)], data_yx).all()
    assert asked == [search.tile(IDS[0]).facts["product_uri"]]


def test_a_page_of_hits_has_thumbnails(client: TestClient) -> None:
    page = BeautifulSoup(client.get("/?group=none").text, "html.parser")
    urls = [picture["src"] for picture in page.select(".picture img")]
    assert len(urls) == 24
    assert all(url.endswith(".jpg") for url in urls)
    assert Image.open(io.BytesIO(client.get(urls[0]).content)).format == "JPEG"


def test_a_thumbnail_of_a_large_tile_is_small(tmp_path) -> None:
    Image.linear_gradient("L").resize((1024, 1024)).save(tmp_path / "a.png")
    assert Image.open(io.BytesIO(thumbnail(tmp_path / "a.png"))).size == (224, 224)
