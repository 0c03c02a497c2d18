"""Small uploads that are large when they are decoded: a real server refuses them, and its memory is bounded."""

import gzip
import http.client
import io
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from real_server import served
from web_search import png_of

from hubbleclip.config.settings import Settings
from hubbleclip.search.server.uploads import MAX_PIXELS

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]
PEAK_MB, CASE_S = 1500, 60
FORM = "multipart/form-data; boundary=----x"


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


def form_of(content: bytes) -> bytes:
    head = b'------x\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'
    return head + content + b"\r\n------x--\r\n"


@pytest.fixture(scope="module")
def port(site: Settings) -> Iterator[tuple[int, int]]:
    with served(site) as (found, process):
        yield found.port, process.pid
        assert process.poll() is None


def peak_mb(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def post(port: int, body: bytes) -> int:
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CASE_S)
    connection.request("POST", "/api/v1/search?k=1", body, {"Content-Type": FORM})
    status = connection.getresponse().status
    connection.close()
    assert time.monotonic() - began < CASE_S
    return status


def test_bombs_are_refused_in_bounded_memory(port: tuple[int, int]) -> None:
    number, pid = port
    found = {name: post(number, form_of(content)) for name, content in bombs().items()}
    assert set(found.values()) <= {200, 400, 413, 422}, found
    assert found["pixels"] == found["long row"] == found["gzip"] == 422
    assert peak_mb(pid) < PEAK_MB
    assert post(number, form_of(png_of(8, 8, 0, zlib.compress(bytes(72))))) == 200
