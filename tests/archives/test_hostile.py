"""A hostile archive: texts that are rejected or harmless, redirects, endless bodies, bombs and invalid headers."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pytest

from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.core.errors import DownloadError, HubbleclipError
from hubbleclip.core.records import to_row
from tests.archives.conftest import archive_at, observe
from tests.archives.mallory import Mallory, product_of
from tests.bad_server import FITS, Respond, give

TEXTS = {
    "climbing": "../../../evil",
    "absolute": "/etc/cron.d/evil",
    "drive": "C:\\Windows\\evil",
    "long": "x" * 300,
    "nul": "a\0b",
    "newline": "a\nb\r\nc",
    "right to left": "evil\N{RIGHT-TO-LEFT OVERRIDE}stif",
    "full-width": "\N{FULLWIDTH FULL STOP}\N{FULLWIDTH FULL STOP}\N{FULLWIDTH SOLIDUS}evil",
    "combining": "e" + "\N{COMBINING ACUTE ACCENT}" * 50,
    "html": "<script>alert(1)</script>",
    "sql": "'; DROP TABLE product; --",
    "format": "%s%n{0}{evil}$(reboot)`reboot`",
    "control": "\x01\x1b[2J\x7f\x9b",
    "surrogate": "a\ud800b",
}
hostile = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())


@pytest.fixture
def archive(mallory: Mallory, tmp_path: Path) -> MastArchive:
    return archive_at(mallory.url, tmp_path / "root", attempts=2)


@pytest.fixture(autouse=True)
def no_file_is_written_elsewhere(tmp_path: Path) -> Iterator[None]:
    """Below the root are only names of our own, and beside it nothing."""
    yield
    assert {path.name for path in tmp_path.iterdir()} <= {"root"}
    names = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")]
    assert [name for name in names if not re.fullmatch(r"root(/[a-z0-9_.]{1,80})*", name) or ".." in name] == []


def store(*records: Any) -> None:
    """What the catalog does with records first: a table in UTF-8."""
    pa.Table.from_pylist([to_row(record) for record in records])


@pytest.mark.parametrize(
    "name",
    [*(f"{text}_drz.fits" for text in TEXTS.values()), "", None, ".", "..", ".fits", "drz.fits/", "x.exe"],
    ids=repr,
)
def test_a_file_is_stored_by_its_hash_or_rejected_whatever_its_name(
    mallory: Mallory, archive: MastArchive, name: str | None
) -> None:
    mallory.product |= {"productFilename": name}
    products, rejections = archive.list_products(observe(archive))
    assert len(products) + len(rejections) == 1
    for product in (archive.fetch_product(one).product for one in products):
        store(product)
        assert re.fullmatch(r"products/[0-9a-f]{2}/[0-9a-f]{64}\.[a-z]+", product.path or "")


@hostile
def test_a_uri_from_outside_is_requested_unchanged_or_rejected(
    mallory: Mallory, archive: MastArchive, text: str
) -> None:
    mallory.product |= {"dataURI": f"mast:HST/product/{text}/../x_drz.fits?a=b&uri=file:///etc/passwd#c"}
    products, rejections = archive.list_products(observe(archive))
    store(*products, *rejections)
    for product in products:
        try:
            archive.fetch_product(product)
        except DownloadError as error:
            assert error.reason == "refused"
        else:
            queries = [parse_qs(urlsplit(path).query) for path in mallory.paths]
            # An answer that comes late is requested again.
            assert queries and all(query == {"uri": [product.uri]} for query in queries)


@pytest.mark.parametrize(
    "uri",
    [
        *("file:///etc/passwd", "local:/etc/passwd", "http://169.254.169.254/latest/meta-data", "//h/x", "ftp://h/x"),
        *("s3://bucket/key", "data:text/plain,x", "javascript:alert(1)", "x", "MAST:x", "mast :x", " mast:x"),
    ],
)
def test_a_uri_of_another_scheme_is_refused(mallory: Mallory, archive: MastArchive, uri: str) -> None:
    mallory.product |= {"dataURI": uri}
    products, rejections = archive.list_products(observe(archive))
    assert len(products) + len(rejections) == 1
    for product in products:
        if product.uri.startswith("mast:"):
            continue
        with pytest.raises(DownloadError) as caught:
            archive.fetch_product(product)
        assert caught.value.reason == "refused"
    assert [path for path in mallory.paths if "169.254" in path or "passwd" in path] == []


@hostile
@pytest.mark.parametrize("columns", ["obs_id", "proposal_id", "target_name obs_title instrument_name filters"])
def test_an_observation_of_hostile_texts_is_stored_as_text_or_rejected(
    mallory: Mallory, archive: MastArchive, columns: str, text: str
) -> None:
    mallory.observation |= dict.fromkeys(columns.split(), text)
    if columns == "obs_id":
        mallory.product |= {"obs_id": text}
    archive.settings = archive.settings.model_copy(update={"instruments": ()})
    observations = observe(archive)
    products, rejections = archive.list_products(observations)
    store(*observations)
    store(*products)
    store(*rejections)
    assert len(products) + len(rejections) == len(observations)


@hostile
def test_a_proposal_number_from_outside_reaches_no_other_address(
    mallory: Mallory, archive: MastArchive, text: str
) -> None:
    mallory.observation |= {"proposal_id": text}
    mallory.responses = [give(b"", 404)]
    numbers = [item.proposal_id.partition(":")[2] for item in observe(archive)]
    proposals, rejections = archive.fetch_proposals(numbers)
    assert proposals == []
    store(*rejections)
    assert all(re.fullmatch(r"/hst[A-Za-z0-9/._?=-]*", path) and ".." not in path for path in mallory.paths)


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
        file = archive.fetch_product(product).product
    except HubbleclipError:
        return
    assert file.size_bytes == len(FITS)


def test_a_partial_response_with_huge_numbers_is_a_typed_error(mallory: Mallory, archive: MastArchive) -> None:
    product = product_of(archive)
    mallory.responses = [give(FITS, 206, Content_Range=f"bytes 0-{len(FITS) - 1}/{'9' * 5000}")]
    with pytest.raises(DownloadError, match="Content-Range"):
        archive.fetch_product(product)
