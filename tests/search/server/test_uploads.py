"""Uploads are checked before anything decodes them, and bounded in number; memory is bounded."""

import asyncio
import gzip
import io
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient
from web_search import client_of, served, service_of

from hubbleclip.config.settings import Settings
from hubbleclip.search.engine import Search
from hubbleclip.search.server import uploads
from hubbleclip.search.server.uploads import MAX_PIXELS, UploadError, UploadStore, check_upload


def png_of(width: int, height: int, color_type: int, rows: bytes) -> bytes:
    """A PNG with the given compressed rows, whatever its header says."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def picture(form: str, size: tuple[int, int] = (8, 8)) -> bytes:
    content = io.BytesIO()
    Image.new("L", size, 7).save(content, form)
    return content.getvalue()


def fits_file() -> bytes:
    content = io.BytesIO()
    fits.PrimaryHDU(np.zeros((4, 4), np.float32)).writeto(content)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        (picture("PNG"), ".png"),
        (picture("JPEG"), ".jpg"),
        (fits_file(), ".fits"),
        (gzip.compress(fits_file(), mtime=0), ".fits.gz"),
    ],
)
def test_pictures_and_fits_are_known_by_their_content(content: bytes, suffix: str) -> None:
    assert check_upload(content) == suffix
    store = UploadStore()
    path = store.path(store.add(content))
    assert path.name.endswith(suffix)
    assert path.read_bytes() == content
    store.close()
    assert not path.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n",
        picture("PNG")[:40],
        b"\xff\xd8\xff",
        picture("BMP"),
        png_of(60_000, 60_000, 0, zlib.compress(b"")),
        png_of(40_000_000, 1, 0, zlib.compress(b"")),
        gzip.compress(b"no fits", mtime=0),
        gzip.compress(fits_file(), mtime=0)[:-9],
        b"\x1f\x8bnonsense",
    ],
)
def test_everything_else_is_refused(content: bytes) -> None:
    with pytest.raises(UploadError):
        check_upload(content)


CONTENTS = [picture("PNG", (size, size)) for size in (1, 2, 3)]


@pytest.mark.parametrize(
    ("name", "limit"), [("MAX_FILES", 2), ("MAX_TOTAL_BYTES", len(CONTENTS[1]) + len(CONTENTS[2]))]
)
def test_the_oldest_uploads_are_deleted(name: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, name, limit)
    store = UploadStore()
    digests = [store.add(content) for content in CONTENTS]
    with pytest.raises(UploadError, match="again"):
        store.path(digests[0])
    assert [store.path(digest).is_file() for digest in digests[1:]] == [True, True]
    store.close()


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\x1f\x8b\x08", picture("PNG")[:33]]),
)
def test_no_bytes_raise_another_error(rest: bytes, start: bytes) -> None:
    try:
        check_upload(start + rest)
    except UploadError as error:
        assert "\n" not in str(error)


def test_a_refused_upload_is_one_line_for_programs_and_people(client: TestClient, tmp_path: Path) -> None:
    response = client.post("/api/v1/search", files={"picture": b"GIF89a"})
    assert (response.status_code, response.json()["detail"]) == (
        422,
        "only PNG, JPEG and FITS files can be searched with",
    )
    assert "only PNG" in client.post("/", files={"picture": b"GIF89a"}).text
    assert client.post("/", data={"q": "a"}, files={"other": b"x"}).status_code == 422
    assert client.post("/", files=[("picture", b"a"), ("picture", b"b")]).status_code in (400, 422)


NAMES = ("", "../../etc/passwd", "a\0.png", "x" * 5000, "ä.fits", 'a"; name="q', "%2e%2e%2f")
KINDS = ("", "; boundary=", "; boundary=\xff", '; boundary="x', "; boundary=x; charset=utf-7")


def form_of(name: str) -> bytes:
    """A form with one picture, without its end."""
    head = f'--x\r\nContent-Disposition: form-data; name="picture"; filename="{name}"\r\n\r\n'
    return head.encode() + picture("PNG") + b"\r\n"


def hostile_forms() -> Iterator[tuple[bytes, str]]:
    """Forms with hostile file names, of other types, damaged, and of many parts."""
    good = "; boundary=x"
    yield from ((form_of(name) + b"--x--\r\n", good) for name in NAMES)
    yield from ((form_of("a") + b"--x--\r\n", kind) for kind in KINDS)
    yield from ((form_of("a")[:-size] + b"--x--\r\n", good) for size in (2, 60, 100))
    field = b'--x\r\nContent-Disposition: form-data; name="q"\r\n\r\n'
    for many in (form_of("a") * 500, (field + b"a\r\n") * 500 + form_of("a"), field + b"q" * 2**20):
        yield many + b"--x--\r\n", good
    yield b"", good


def test_hostile_forms_are_answered_or_refused(client: TestClient) -> None:
    found = {}
    for number, (body, kind) in enumerate(hostile_forms()):
        headers = {"content-type": f"multipart/form-data{kind}".encode("latin-1")}
        found[number] = client.post("/api/v1/search?k=1", content=body, headers=headers).status_code
    assert set(found.values()) <= {200, 400, 413, 422}, found
    assert found[1] == 200, found


def test_a_file_too_many_is_asked_to_retry(search: Search) -> None:
    with client_of(service_of(search, receiving=asyncio.Semaphore(0))) as client:
        for path in ("/", "/api/v1/search"):
            response = client.post(path, files={"picture": picture("PNG")})
            assert (response.status_code, response.headers["retry-after"]) == (503, "2")


def test_the_uploads_of_a_killed_server_are_deleted_and_those_of_a_running_one_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads.tempfile, "tempdir", str(tmp_path))
    running = UploadStore()
    killed = tmp_path / f"{uploads.PREFIX}99999999-x"
    killed.mkdir()
    UploadStore().close()
    assert not killed.exists()
    assert running.path(running.add(picture("PNG"))).is_file()
    running.close()


PEAK_MB, CASE_S = 1500, 60


def bombs() -> dict[str, bytes]:
    """Small files that are large when they are decoded."""
    zeros = zlib.compress(bytes(200 * 2**20), 9)
    huge = fits.Header({"SIMPLE": True, "BITPIX": -64, "NAXIS": 2, "NAXIS1": 100_000, "NAXIS2": 100_000})
    compressed = fits.CompImageHDU(np.zeros((2000, 2000), np.float32), compression_type="GZIP_1", quantize_level=0)
    content = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), compressed]).writeto(content)
    side = int(MAX_PIXELS**0.5)
    return {
        "pixels": png_of(60_000, 60_000, 0, zlib.compress(b"")),
        "largest": png_of(side, side, 6, zeros),
        "more data than pixels": png_of(8, 8, 0, zeros),
        "long row": png_of(2**31 - 1, 1, 0, zeros),
        "gzip": gzip.compress(b"SIMPLE  =" + bytes(600 * 2**20), 9),
        "gzip in gzip": gzip.compress(gzip.compress(bytes(2**20))),
        "header of a huge FITS": huge.tostring().encode() + bytes(2880),
        "compressed FITS": content.getvalue(),
        "compressed FITS that says more": content.getvalue().replace(
            b"ZNAXIS1 =                 2000", b"ZNAXIS1 =            200000000"
        ),
    }


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_bombs_are_refused_in_bounded_memory(site: Settings) -> None:
    cases = bombs() | {"small": png_of(8, 8, 0, zlib.compress(bytes(72)))}
    with served(site) as (server, process):
        url = f"http://127.0.0.1:{server.port}/api/v1/search?k=1"
        found = {
            name: requests.post(url, files={"picture": content}, timeout=CASE_S).status_code
            for name, content in cases.items()
        }
        peak_kb = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())[1]
    assert set(found.values()) <= {200, 400, 413, 422}, found
    assert found["pixels"] == found["long row"] == found["gzip"] == 422
    assert found["small"] == 200
    assert int(peak_kb) / 1024 < PEAK_MB
