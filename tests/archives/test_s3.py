"""Sources of files: the cloud's copy, from real S3 servers, and the archive, tried in order, one file at a time."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stages import product

from hubbleclip.archives.mast.client import MastClient
from hubbleclip.archives.mast.product_sources import SOURCES, FileSources, object_url, public_path
from hubbleclip.config.settings import FetchSettings
from hubbleclip.core.errors import ArchiveDownError, DownloadError
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product
from hubbleclip.missions.hst import HST
from hubbleclip.simulator.observations import make_proposals, observations_of, render_product
from tests.archives.conftest import SKY, make_transport, sources_of
from tests.archives.s3_servers import running_moto
from tests.bad_server import FITS, BadServer, Respond, give

NAME = "j8pu0y010_drc.fits"
KEY = f"j8pu/j8pu0y010/{NAME}"


@pytest.fixture(scope="module")
def cloud() -> Iterator[tuple[str, Callable[..., None]]]:
    with running_moto() as found:
        yield found


def product_of(name: str = NAME, size_bytes: int | None = None, uri: str | None = None) -> Product:
    return product("o", uri=uri or f"mast:HST/product/{name}", file_name=name, size_bytes=size_bytes)


def source_at(url: str, root: Path, mast_url: str = "http://127.0.0.1:9") -> FileSources:
    return sources_of(mast_url, url, root, "s3", timeout_s=5, attempts=4)


def located(source: FileSources, product: Product) -> Path:
    return source.layout.absolute(fetched(source, product).path or "")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (NAME, KEY),
        ("u9o40504m_c3m.fits", "u9o4/u9o40504m/u9o40504m_c3m.fits"),
        ("ib6w62tyq_flt.jpg", "ib6w/ib6w62tyq/ib6w62tyq_flt.jpg"),
        ("f05i0201m_a1f.fits.gz", "f05i/f05i0201m/f05i0201m_a1f.fits.gz"),
        ("hst_11613_63_wfc3_ir_total_ib6w63_drz.fits", None),
        ("../../etc/passwd", None),
        ("j8pu0y010_drc.fits?x", None),
    ],
)
def test_the_name_of_an_exposure_tells_its_place(name: str, path: str | None) -> None:
    assert public_path(name, HST.bucket) == path


def test_a_product_of_an_association_is_in_the_associations_folder_and_mast_is_not_asked(cloud, tmp_path: Path) -> None:
    cloud[1]("j8ck/j8ck01040/j8ck01041_drz.fits", FITS)
    product = replace(product_of("j8ck01041_drz.fits"), obs_id="J8CK01040")
    with BadServer(give(b"{}")) as mast:
        path = located(source_at(cloud[0], tmp_path, mast.url), product)
    assert (path.read_bytes(), path) == (FITS, Layout(tmp_path).product(sha256_bytes(FITS), "j8ck01041_drz.fits"))
    assert mast.seen == []


@pytest.mark.parametrize("name", ["hst_11613_63_wfc3_ir_total_ib6w63_drz.fits", "j8pu0y0zq_flc.fits"])
def test_what_the_name_does_not_tell_is_asked_of_mast(cloud, tmp_path: Path, name: str) -> None:
    cloud[1](f"ib6w/odd/{name}", FITS)
    body = f'{{"mast:HST/product/{name}": {{"path": "/hst/public/ib6w/odd/{name}"}}}}'.encode()
    with BadServer(give(body)) as mast:
        path = located(source_at(cloud[0], tmp_path, mast.url), product_of(name))
    assert path.read_bytes() == FITS
    assert mast.paths == [f"/api/v0.1/path_lookup/?uri=mast%3AHST%2Fproduct%2F{name}"]


def test_an_object_that_is_missing_or_not_public_is_absent(cloud, tmp_path: Path) -> None:
    cloud[1]("j8pu/j8pu0y030/j8pu0y030_drc.fits", FITS, acl="private")
    for name in ("j8pu0y020_drc.fits", "j8pu0y030_drc.fits"):
        with pytest.raises(DownloadError, match=rf"missing: .*{name} is not in s3://stpubdata/hst/public"):
            source_at(cloud[0], tmp_path).deliver(product_of(name))


def test_a_file_of_another_mission_is_absent_without_a_request(tmp_path: Path) -> None:
    with BadServer(give(FITS)) as server, pytest.raises(DownloadError, match="missing"):
        source_at(server.url, tmp_path).deliver(product_of(uri="mast:JWST/product/a.fits"))
    assert server.seen == []


@pytest.mark.parametrize(
    ("root", "endpoint", "url"),
    [
        ("s3://stpubdata/hst/public", "", "https://stpubdata.s3.amazonaws.com/hst/public"),
        ("s3://stpubdata", "", "https://stpubdata.s3.amazonaws.com"),
        ("s3://stpubdata/hst/public/", "http://127.0.0.1:9/", "http://127.0.0.1:9/stpubdata/hst/public"),
    ],
)
def test_a_bucket_is_read_at_its_own_host_or_below_another_server(root: str, endpoint: str, url: str) -> None:
    assert object_url(root, endpoint) == url


@pytest.mark.parametrize(
    "path",
    [
        *("/hst/public/../../x", "/hst/public/a/./x", "/hst/public/x?a", "/jwst/public/x", "x"),
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


def fetched(sources: FileSources, product: Product) -> Product:
    return sources.deliver(product, is_kept=True).product


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


def put_copy(cloud: tuple[str, Callable[..., None]], product: Product, body: bytes) -> None:
    name = product.uri.rpartition("/")[2].lower()
    cloud[1](f"{name[:4]}/{name[:9]}/{name}", body)


def test_the_first_source_that_has_a_file_delivers_it(cloud, simulator: str, files, tmp_path: Path) -> None:
    (copied, body), (other, _) = files[:2]
    put_copy(cloud, copied, body)
    both = sources_of(simulator, cloud[0], tmp_path, "s3", "mast")
    found = [fetched(both, copied), fetched(both, other)]
    assert [item.source for item in found] == ["s3", "mast"]
    assert both.layout.absolute(found[0].path or "").read_bytes() == body
    assert found[0].etag == hashlib.md5(body).hexdigest() and found[0].fetched_version == "v1"


def test_a_damaged_copy_is_fetched_from_the_archive(cloud, simulator: str, files, tmp_path: Path) -> None:
    product, body = files[2]
    put_copy(cloud, product, body[:-2880])
    found = fetched(sources_of(simulator, cloud[0], tmp_path, "s3", "mast"), product)
    assert (found.source, found.size_bytes) == ("mast", len(body))
    assert not list((tmp_path / "products" / ".part").rglob("*.*"))


def test_a_file_that_no_source_has_names_every_reason(cloud, simulator: str, files, tmp_path: Path) -> None:
    lost = replace(files[0][0], uri="mast:HST/product/jzzzzzzzz_drz.fits")
    with pytest.raises(DownloadError, match=r"^missing: s3: missing: .*; mast: missing: "):
        fetched(sources_of(simulator, cloud[0], tmp_path, "s3", "mast"), lost)
    with (
        BadServer(give(b"", 403)) as mast,
        pytest.raises(DownloadError, match=r"^denied: s3: missing: .*; mast: denied"),
    ):
        fetched(sources_of(mast.url, cloud[0], tmp_path, "s3", "mast"), lost)


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
    transport, fetch = make_transport(), FetchSettings(**chosen)
    found = FileSources(fetch, Layout(tmp_path), transport, MastClient(MAST_URL, transport), bucket=HST.bucket)
    assert [source.url for source in found.sources.values()] == urls
