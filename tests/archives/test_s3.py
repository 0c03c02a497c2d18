"""Sources of files: the public copy and the archive, tried in order, one file at a time."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from stages import product

from hubbleclip.archives.http.client import Transport
from hubbleclip.archives.mast.client import MastClient
from hubbleclip.archives.mast.product_sources import SOURCES, FileSources
from hubbleclip.config.settings import FetchSettings
from hubbleclip.core.errors import ArchiveDownError, DownloadError
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product
from hubbleclip.missions.hst import HST
from hubbleclip.simulator.observations import make_proposals, observations_of, render_product
from tests.archives.conftest import SKY, sources_of
from tests.bad_server import FITS, BadServer, Respond, give

NAME = "j8pu0y010_drc.fits"


def product_of(name: str = NAME, size_bytes: int | None = None, uri: str | None = None) -> Product:
    return product("o", uri=uri or f"mast:HST/product/{name}", file_name=name, size_bytes=size_bytes)


def source_at(url: str, root: Path, mast_url: str = "http://127.0.0.1:9") -> FileSources:
    return sources_of(mast_url, url, root, "s3", timeout_s=5, attempts=4)


def test_a_file_of_another_mission_is_absent_without_a_request(tmp_path: Path) -> None:
    with BadServer(give(FITS)) as server, pytest.raises(DownloadError, match="missing"):
        source_at(server.url, tmp_path).deliver(product_of(uri="mast:JWST/product/a.fits"))
    assert server.seen == []


@pytest.mark.parametrize(
    "path",
    [
        *("/hst/public/../../x", "/hst/public/a/./x", "/hst/public/x?a", "/hst/public/a b", "/jwst/public/x", "x"),
        *(b"{}", b"null", b"<html>"),
    ],
)
def test_a_path_of_mast_that_leads_out_of_the_missions_folder_is_not_requested(
    tmp_path: Path, path: str | bytes
) -> None:
    product = product_of("hst_a.fits")
    answer = path if isinstance(path, bytes) else json.dumps({product.uri: {"path": path}}).encode()
    with BadServer(give(answer)) as mast, BadServer(give(FITS)) as server:
        with pytest.raises(DownloadError, match="missing"):
            source_at(server.url, tmp_path, mast.url).deliver(product)
        assert server.seen == []


NOWHERE = "http://127.0.0.1:9"
DRZ = "hst/public/j8ck/j8ck01040/j8ck01041_drz.fits"
FLT = "hst/public/j8ck/j8ck01abq/j8ck01abq_flt.fits"


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("HST/product/j8ck01abq_flt.fits", FLT, [FLT]),
        ("HST/product/J8CK01ABQ_FLT.FITS", "hst/public/new/a.fits", [FLT, "hst/public/new/a.fits"]),
        ("HST/product/hst_1_drc.fits", "hst/public/x/y.fits", ["hst/public/x/y.fits"]),
        ("HST/product/j8ck01041_drz.fits", DRZ, [DRZ]),
        ("JWST/product/j8ck01abq_flt.fits", FLT, []),
    ],
)
def test_the_address_by_name_comes_first_then_that_of_mast(
    scripted, tmp_path: Path, name: str, path: str, expected: list[str]
) -> None:
    mast = scripted(give(json.dumps({f"mast:{name}": {"path": f"/{path}"}}).encode()))
    source = source_at("http://bucket", tmp_path, mast.url).sources["s3"]
    found = [url.removeprefix("http://bucket/stpubdata/") for url in source.addresses(f"mast:{name}", "J8CK01040")]
    assert found == expected


def fetched(sources: FileSources, product: Product) -> Product:
    return sources.deliver(product).product


@pytest.fixture(scope="module")
def files() -> list[tuple[Product, bytes]]:
    """Simulated files, and what they hold."""
    observations = [item for proposal in make_proposals(SKY) for item in observations_of(SKY, proposal)]
    found = {one.uri: (item, one) for item in observations for one in item.products if one.uri.endswith("_drz.fits")}
    return [
        (
            product(item.obs_id, uri=one.uri, file_name=one.file_name, size_bytes=one.size_bytes),
            render_product(SKY, item, one),
        )
        for item, one in list(found.values())[:3]
    ]


def test_a_file_that_no_source_has_names_every_reason(scripted, tmp_path: Path) -> None:
    lost, bucket = product_of("jzzzzzzzz_drz.fits"), scripted(give(b"", 404)).url
    for status, reason, said in ((404, "missing", "missing"), (403, "denied", "denied"), (500, "connection", "127")):
        sources = sources_of(
            scripted(give(b"", status)).url, bucket, tmp_path, "s3", "mast", breaker_failures=1, breaker_s=0
        )
        with pytest.raises(DownloadError, match=rf"^{reason}: s3: missing: .*; mast: {said}"):
            fetched(sources, lost)


@pytest.mark.parametrize(
    ("response", "num_asked"), [(None, 0), (give(b"", 500), 3), (give(b"", 503, Retry_After="3600"), 1)]
)
def test_a_source_that_is_down_or_asks_for_a_long_pause_is_left_out_with_one_warning(
    simulator: str, files, tmp_path: Path, caplog: pytest.LogCaptureFixture, response: Respond | None, num_asked: int
) -> None:
    with BadServer(response or give(b"")) as server, caplog.at_level(logging.WARNING, "hubbleclip"):
        url = server.url if response else NOWHERE
        both = sources_of(simulator, url, tmp_path, "s3", "mast", breaker_failures=3, breaker_s=0)
        found = [fetched(both, product) for product, _ in files]
    assert ([item.source for item in found], len(server.seen)) == (["mast"] * 3, num_asked)
    warnings = [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
    assert warnings == [f"the source s3 is skipped for the rest of this run: {both._down['s3']}"]


def test_the_last_source_that_is_down_means_that_the_archive_is(scripted, files, tmp_path: Path) -> None:
    urls = [scripted(give(b"", 500)).url for _ in range(2)]
    both = sources_of(*urls, tmp_path, "s3", "mast", breaker_failures=1, breaker_s=0)
    for _ in range(2):
        with pytest.raises(ArchiveDownError):
            fetched(both, files[0][0])


def test_the_address_of_mast_is_tried_if_there_is_no_file_at_that_by_name(scripted, tmp_path: Path) -> None:
    lost = product_of("j8ck01abq_flt.fits")
    mast = scripted(give(json.dumps({lost.uri: {"path": "/hst/public/new/a.fits"}}).encode()))
    bucket = scripted(give(b"", 404), give(FITS))
    assert (fetched(source_at(bucket.url, tmp_path, mast.url), lost).source, len(bucket.seen)) == ("s3", 2)


def test_a_source_is_waited_for_when_all_behind_it_are_down(
    scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubbleclip.archives.http.client.FIRST_CONTACT_S", 0.1)
    bucket, limits = (
        scripted(give(b"", 404), *[give(b"", 503)] * 5, give(FITS)),
        {"breaker_failures": 1, "breaker_s": 0, "outage_s": 60.0},
    )
    both = sources_of(NOWHERE, bucket.url, tmp_path, "s3", "mast", **limits)
    with pytest.raises(DownloadError, match="cannot reach"):
        fetched(both, product_of())
    assert fetched(both, product_of()).source == "s3"


def test_a_single_source_that_comes_back_is_asked_again(simulator: str, files, tmp_path: Path) -> None:
    alone = sources_of(NOWHERE, NOWHERE, tmp_path, "mast")
    with pytest.raises(ArchiveDownError):
        fetched(alone, files[0][0])
    alone.sources["mast"].url = simulator
    assert fetched(alone, files[0][0]).source == "mast"


def test_every_source_of_the_settings_is_registered() -> None:
    (names, _) = FetchSettings.model_fields["sources"].annotation.__args__
    assert set(names.__args__) == set(SOURCES)


MAST_URL, BUCKET_URL = "https://mast.stsci.edu", "https://stpubdata.s3.amazonaws.com/hst/public"


@pytest.mark.parametrize(
    ("region", "chosen", "urls"),
    [
        ("us-east-1", {}, [BUCKET_URL, MAST_URL]),
        ("eu-west-1", {}, [MAST_URL]),
        ("us-east-1", {"sources": ("mast",)}, [MAST_URL]),
    ],
)
def test_the_bucket_comes_first_in_its_own_region_unless_sources_are_set(
    region: str, chosen: dict[str, Any], urls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", region)
    mast = MastClient(MAST_URL, Transport(FetchSettings(**chosen)))
    found = FileSources(Layout(tmp_path), mast, HST.bucket)
    assert [source.url for source in found.sources.values()] == urls
