"""A hostile archive: redirects to other hosts, endless bodies, decompression bombs, invalid headers."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.core.errors import DownloadError, HubbleclipError
from tests.archives.conftest import archive_at
from tests.archives.mallory import Mallory, product_of
from tests.bad_server import FITS, Respond, give


@pytest.fixture
def archive(mallory: Mallory, tmp_path: Path) -> MastArchive:
    return archive_at(mallory.url, tmp_path / "root", attempts=2)


@pytest.mark.parametrize(
    "location",
    [
        "http://localhost:{port}/x",
        "http://127.0.0.1:{port}/x",
        "http://2130706433:{port}/x",
        "http://[::ffff:127.0.0.1]:{port}/x",
        "//localhost:{port}/x",
        "http://169.254.169.254/latest/meta-data/",
        "https://example.org/x",
        "file:///etc/passwd",
        "http://user@127.0.0.1:{port}/x",
        "\\\\localhost:{port}\\x",
        "http://",
    ],
)
def test_a_redirect_to_another_host_is_refused_and_never_followed(
    mallory: Mallory, archive: MastArchive, scripted, location: str
) -> None:
    product, witness = product_of(archive), scripted(give(FITS))
    mallory.responses = [give(b"", 302, Location=location.format(port=witness.port))]
    with pytest.raises(DownloadError):
        archive.fetch_product(product)
    assert witness.seen == []


def pour(num_sent: list[int], **headers: str) -> Respond:
    """A response without end, until the client hangs up."""

    def respond(handler) -> None:
        handler.send_response(200)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        chunk = FITS + bytes(1_000_000)
        try:
            while num_sent[0] < 200_000_000:
                handler.wfile.write(chunk)
                num_sent[0] += len(chunk)
        except OSError:
            pass

    return respond


@pytest.mark.parametrize("headers", [{"Content_Length": "10000000000"}, {}, {"Content_Length": "1" * 400}])
def test_a_file_larger_than_was_listed_is_not_fetched(
    mallory: Mallory, archive: MastArchive, headers: dict[str, str], tmp_path: Path
) -> None:
    mallory.product |= {"size": len(FITS)}
    product = product_of(archive)
    num_sent = [0]
    mallory.responses = [pour(num_sent, **headers)]
    with pytest.raises(HubbleclipError):
        archive.fetch_product(product)
    assert num_sent[0] < 50_000_000
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 50_000_000


def packed_zeros(num_mb: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(
        [packer.compress(FITS), *(packer.compress(bytes(1_000_000)) for _ in range(num_mb)), packer.flush()]
    )


@pytest.mark.parametrize(("suffix", "headers"), [(".fits.gz", {}), (".fits", {"Content_Encoding": "gzip"})])
def test_a_gzip_bomb_is_not_unpacked(
    mallory: Mallory, archive: MastArchive, tmp_path: Path, suffix: str, headers: dict[str, str]
) -> None:
    mallory.product |= {"productFilename": f"ibol02010_drz{suffix}"}
    product = product_of(archive)
    mallory.responses = [give(packed_zeros(60), **headers)]
    with pytest.raises(DownloadError):
        archive.fetch_product(product)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 50_000_000


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Length": "-1"},
        {"Content_Length": "9" * 5000},
        {"ETag": '"' + "x" * 60_000 + '"'},
        {"ETag": "\x0b\x7f"},
        {"Content_Type": "\xff"},
        {"Retry_After": "1e9"},
        {"Last_Modified": "yesterday"},
        {"Content_Range": "bytes 5-1/9"},
    ],
)
def test_a_nonsensical_header_ends_in_a_file_or_a_typed_error(
    mallory: Mallory, archive: MastArchive, headers: dict[str, str]
) -> None:
    product = product_of(archive)
    mallory.responses = [give(FITS, **headers)]
    try:
        file = archive.fetch_product(product)
    except HubbleclipError:
        return
    assert file.size_bytes == len(FITS)


def test_a_partial_response_with_huge_numbers_is_a_typed_error(mallory: Mallory, archive: MastArchive) -> None:
    product = product_of(archive)
    mallory.responses = [give(FITS, 206, Content_Range=f"bytes 0-{len(FITS) - 1}/{'9' * 5000}")]
    with pytest.raises(DownloadError, match="Content-Range"):
        archive.fetch_product(product)
