"""Uploads are checked before anything decodes them, and bounded in number."""

import asyncio
import gzip
import io
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient
from web_search import png_of, service_of

from hubbleclip.search.engine import Search
from hubbleclip.search.server import uploads
from hubbleclip.search.server.application import create_app
from hubbleclip.search.server.security import Access
from hubbleclip.search.server.uploads import UploadError, UploadStore, check_upload


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
        b"<svg/>",
        b"\x89PNG\r\n\x1a\n",
        picture("PNG")[:40],
        b"\xff\xd8\xff",
        picture("BMP"),
        png_of(60_000, 60_000, 0, zlib.compress(b"")),
        png_of(40_000_000, 1, 0, zlib.compress(b"")),
        gzip.compress(b"no fits", mtime=0),
        gzip.compress(fits_file(), mtime=0)[:-9],
        b"\x1f\x8bnonsense",
        b"\x7fELF",
        b"%PDF-1.4",
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
    for seed in range(15):
        rng, body = random.Random(seed), bytearray(form_of(NAMES[seed % len(NAMES)]) + b"--x--\r\n")
        for _ in range(1 + seed // 3):
            start = rng.randrange(min(len(body), 200))
            body[start : start + rng.randint(0, 8)] = rng.randbytes(rng.randint(0, 8))
        yield bytes(body), good
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
    app = create_app(service_of(search, receiving=asyncio.Semaphore(0)), Access())
    with TestClient(app, base_url="http://localhost") as client:
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
