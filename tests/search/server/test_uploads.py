"""Uploads are checked before anything decodes them, and bounded in number and size."""

import asyncio
import gzip
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient
from web_search import client_of, service_of

from hubbleclip.search.engine import Search
from hubbleclip.search.server import uploads
from hubbleclip.search.server.uploads import UploadError, UploadStore, check_upload


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
        png_of(7_000, 7_000, 0, zlib.compress(b"")),
        png_of(40_000_000, 1, 0, zlib.compress(b"")),
        gzip.compress(b"no fits", mtime=0),
        gzip.compress(fits_file().ljust(3 * 2**20), mtime=0)[:-9],
        b"\x1f\x8bnonsense",
    ],
)
def test_everything_else_is_refused(content: bytes) -> None:
    with pytest.raises(UploadError):
        check_upload(content)


CONTENTS = [picture("PNG", (size, size)) for size in (1, 2, 3)]


@pytest.mark.parametrize(
    ("name", "limit"), [("MAX_FILES", 2), ("MAX_TOTAL_BYTES", len(CONTENTS[0]) + len(CONTENTS[2]))]
)
def test_the_oldest_uploads_are_deleted(name: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    store = UploadStore()
    first, oldest, _ = (store.add(CONTENTS[number]) for number in (0, 1, 0))
    monkeypatch.setattr(uploads, name, limit)
    newest = store.add(CONTENTS[2])
    with pytest.raises(UploadError, match="again"):
        store.path(oldest)
    kept = [store.path(digest) for digest in (first, newest)]
    assert sorted(kept[0].parent.iterdir()) == sorted(kept)
    store.close()


def test_a_compressed_file_is_bounded_by_what_it_unpacks_to(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fits_file().ljust(3 * 2**20)
    content = gzip.compress(whole, mtime=0)
    monkeypatch.setattr(uploads, "MAX_UNPACKED_BYTES", len(whole))
    assert check_upload(content) == ".fits.gz"
    monkeypatch.setattr(uploads, "MAX_UNPACKED_BYTES", len(whole) - 1)
    with pytest.raises(UploadError, match="at most"):
        check_upload(content)


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
    said = "only PNG, JPEG and FITS files can be queries"
    assert (response.status_code, response.json()["detail"]) == (422, said)
    assert "only PNG" in client.post("/", files={"picture": b"GIF89a"}).text
    assert client.post("/", data={"q": "a"}, files={"other": b"x"}).status_code == 422


def form_of(name: str) -> bytes:
    """A form with one picture, without its end."""
    head = f'--x\r\nContent-Disposition: form-data; name="picture"; filename="{name}"\r\n\r\n'
    return head.encode() + picture("PNG") + b"\r\n"


FIELD = b'--x\r\nContent-Disposition: form-data; name="q"\r\n\r\n'


@pytest.mark.parametrize(
    ("body", "kind", "is_read"),
    [
        *((form_of(name), "; boundary=x", True) for name in ("../../etc/passwd", "ä.fits", "%2e%2e%2f")),
        *((form_of("a"), kind, False) for kind in ("", "; boundary=", "; boundary=\xff")),
        (form_of("x" * 5000), "; boundary=x", False),
        (form_of("a") * 2, "; boundary=x", False),
        (form_of("a") + (FIELD + b"a\r\n") * 101, "; boundary=x", False),
        (form_of("a") + FIELD + b"q" * 2**17 + b"\r\n", "; boundary=x", False),
        (b"", "; boundary=x", False),
    ],
    ids=range(11),
)
def test_hostile_forms_are_answered_or_refused(body: bytes, kind: str, is_read: bool, client: TestClient) -> None:
    headers = {"content-type": f"multipart/form-data{kind}".encode("latin-1")}
    status = client.post("/api/v1/search?k=1", content=body + b"--x--\r\n", headers=headers).status_code
    assert status in ((200,) if is_read else (400, 422))


def test_a_file_too_many_is_asked_to_retry(search: Search) -> None:
    with client_of(service_of(search, receiving=asyncio.Semaphore(0))) as client:
        for path in ("/", "/api/v1/search"):
            response = client.post(path, files={"picture": picture("PNG")})
            assert (response.status_code, response.headers["retry-after"]) == (503, "2")


def test_the_uploads_of_a_killed_server_are_deleted_and_those_of_a_running_one_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads.tempfile, "tempdir", str(tmp_path))
    killed, running = (tmp_path / f"{uploads.PREFIX}{pid}-x" for pid in (99999999, 1))
    for folder in (killed, running):
        folder.mkdir()
    UploadStore().close()
    assert list(tmp_path.iterdir()) == [running]
