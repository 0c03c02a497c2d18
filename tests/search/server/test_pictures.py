"""Pictures and cut-outs of tiles: outside the queue of the searches, with their positions, by ranges of a file at MAST."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image
from pyavm import AVM
from search_site import IDS, SIZE_PX
from starlette.testclient import TestClient
from web_search import client_of, service_of

from hubbleclip.archives.mast.remote_file import BLOCK_BYTES, open_remote
from hubbleclip.cli.serving import MAX_CUTOUT_BYTES
from hubbleclip.config.settings import FetchSettings
from hubbleclip.core.errors import DownloadError, ImageError, NotFoundError
from hubbleclip.images.wcs import parse_wcs
from hubbleclip.search.engine import Search
from hubbleclip.search.server.pictures import cut_out, cut_tile, thumbnail
from hubbleclip.search.server.search_service import WorkQueue
from tests.bad_server import BadServer, give, give_range

NAMES = ("image.png", "thumbnail.jpg")


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_not_sent_twice(name: str, client: TestClient) -> None:
    url = f"/api/v1/tiles/{IDS[0]}/{name}"
    first = client.get(url)
    assert "immutable" in first.headers["cache-control"]
    again = client.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert all(again.headers[name] == first.headers[name] for name in ("etag", "cache-control"))
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
            kind, limit = {"png": ("image/png", 1e-9), "jpg": ("image/jpeg", 3)}[form]
            assert answer.headers["content-type"] == picture.get_format_mimetype() == kind
            assert np.abs(np.asarray(picture, float) - np.asarray(stored, float)).mean() < limit


def test_a_cutout_is_of_the_file_here_or_else_the_address_of_its_archive(
    client: TestClient, search: Search, tmp_path: Path
) -> None:
    refused = client.get(f"/api/v1/tiles/{IDS[0]}/cutout.fits")
    assert refused.status_code == 404
    assert "https://mast.stsci.edu/api/v0.1/Download/file?uri=" in refused.json()["detail"]
    with client_of(service_of(search, cutouts=WorkQueue(max_waiting=0))) as busy:
        assert busy.get(f"/api/v1/tiles/{IDS[0]}/cutout.fits").status_code == 503
    path, record = tmp_path / "a_drz.fits", search.tile(IDS[0])
    path.write_bytes(fits_bytes(np.random.default_rng(1).random((SIZE_PX * 2, SIZE_PX * 2))))
    found = cut_tile(service_of(search, open_remote=None), replace(record, product=path))
    assert found == cut_out(path, record.facts)
    path.write_bytes(b"damaged")
    with pytest.raises(NotFoundError, match="the cut-out cannot be made .*: see https://mast"):
        cut_tile(service_of(search), replace(record, product=path))


def test_a_thumbnail_of_a_large_tile_is_small(tmp_path) -> None:
    Image.linear_gradient("L").resize((1024, 1024)).save(tmp_path / "a.png")
    with Image.open(io.BytesIO(thumbnail(tmp_path / "a.png"))) as small:
        assert (small.size, small.format) == ((224, 224), "JPEG")


URI = "mast:HST/product/a_drz.fits"


def header() -> fits.Header:
    """A WCS with distortion, turned by 30 degrees."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN-SIP", "DEC--TAN-SIP"], [83.8, -5.4], [200.5, 150.5]
    wcs.wcs.cd = np.array([[-0.866, 0.5], [0.5, 0.866]]) * 0.05 / 3600
    made = wcs.to_header()
    for key, value in {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-5, "B_0_2": -2e-5}.items():
        made[key] = value
    return made


def fits_bytes(data: np.ndarray) -> bytes:
    content = io.BytesIO()
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(data, header(), name="SCI")]
    hdus[1].header["BUNIT"] = "ELECTRONS/S"
    fits.HDUList(hdus).writeto(content)
    return content.getvalue()


def facts(**changes: Any) -> dict[str, Any]:
    return {"chip": 1, "y0": 40, "x0": 90, "size_px": 64, "shrink": None, "product_uri": URI} | changes


@pytest.fixture(scope="module")
def data_yx() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(300, 400)).astype(np.float32)


@pytest.mark.parametrize(
    ("changes", "side"), [({}, 64), ({"y0": -20, "x0": 380}, 64), ({"y0": 0, "x0": 0, "shrink": 4.68}, 300)]
)
def test_a_cutout_has_the_pixels_and_the_sky_of_its_file(
    changes: dict[str, Any], side: int, data_yx: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "a_drz.fits"
    path.write_bytes(fits_bytes(data_yx))
    asked = facts(**changes)
    ((cut,),) = [fits.open(io.BytesIO(cut_out(path, asked)))]
    padded = np.pad(data_yx, 500, constant_values=np.nan)
    expected = padded[asked["y0"] + 500 :, asked["x0"] + 500 :][:side, :side]
    np.testing.assert_array_equal(cut.data, expected)
    x, y = np.array([0, side - 1.0, 10]), np.array([5, side - 1.0, 0])
    whole, part = WCS(fits.open(path)[1].header), WCS(cut.header)
    found = part.pixel_to_world(x, y).separation(whole.pixel_to_world(x + asked["x0"], y + asked["y0"]))
    assert found.mas.max() < 1e-3
    assert cut.header["BUNIT"] == "ELECTRONS/S"
    assert URI in str(cut.header["HISTORY"])


def test_a_plane_of_a_cube_of_integers_is_cut(tmp_path: Path) -> None:
    cube = np.arange(2 * 80 * 90, dtype=np.int16).reshape(2, 80, 90)
    (tmp_path / "a_c0f.fits").write_bytes(fits_bytes(cube))
    (cut,) = fits.open(io.BytesIO(cut_out(tmp_path / "a_c0f.fits", facts(chip=1001, y0=10, x0=70))))
    np.testing.assert_array_equal(cut.data[:, :20], cube[1, 10:74, 70:])
    assert not cut.data[:, 20:].any()


def test_a_cutout_too_large_for_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="5000 x 5000"):
        cut_out(tmp_path / "missing.fits", facts(size_px=5000))


def remote(server: BadServer, max_bytes: int = MAX_CUTOUT_BYTES):
    return open_remote(FetchSettings(requests_per_s=1000), server.url, URI, max_bytes)


@pytest.mark.parametrize(("width", "num"), [(4211, 175), (5955, 260)], ids=["ACS/WFC", "turned north up"])
def test_a_cutout_by_ranges_is_that_of_the_whole_file_and_reads_a_part_of_it(width: int, num: int) -> None:
    large = np.arange(1200 * width, dtype=np.float32).reshape(1200, width)
    body = fits_bytes(large)
    with BadServer(give_range(body)) as server:
        content = cut_out(remote(server), facts(y0=600, x0=700, size_px=512))
        spans = [request["Range"].removeprefix("bytes=").split("-") for request in server.seen]
        assert sum(int(last) - int(first) + 1 for first, last in spans) <= MAX_CUTOUT_BYTES < 512 * 4 * width
        assert len(spans) <= num
        (cut,) = fits.open(io.BytesIO(content))
        np.testing.assert_array_equal(cut.data, large[600:1112, 700:1212])
        with pytest.raises(DownloadError, match="more bytes than allowed"):
            cut_out(remote(server, 2 * BLOCK_BYTES), facts(y0=0, x0=0, size_px=1000))


@pytest.mark.parametrize(("respond", "word"), [(give(b"x"), "no ranges"), (give(b"", 404), "404")])
def test_a_server_without_ranges_or_the_file_is_one_line(respond, word: str) -> None:
    with BadServer(respond) as server, pytest.raises(DownloadError, match=word):
        remote(server)
