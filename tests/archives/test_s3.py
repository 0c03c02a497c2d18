"""Files from the cloud's copy: found, whole, checked and gone on with, from real S3 servers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from stages import product

from hubbleclip.archives.mast.product_sources import FileSources
from hubbleclip.archives.mast.public_bucket import object_url, public_path
from hubbleclip.core.errors import DownloadError
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product
from hubbleclip.missions.hst import HST
from tests.archives.conftest import sources_of
from tests.archives.s3_servers import running_moto
from tests.bad_server import FITS, BadServer, give

NAME = "j8pu0y010_drc.fits"
KEY = f"j8pu/j8pu0y010/{NAME}"


@pytest.fixture(scope="module")
def cloud() -> Iterator[tuple[str, Callable[..., None]]]:
    with running_moto() as found:
        found[1](KEY, FITS)
        yield found


def product_of(name: str = NAME, size_bytes: int | None = None, uri: str | None = None) -> Product:
    return product("o", uri=uri or f"mast:HST/product/{name}", file_name=name, size_bytes=size_bytes)


def source_at(url: str, root: Path, mast_url: str = "http://127.0.0.1:9") -> FileSources:
    return sources_of(mast_url, url, root, "s3", timeout_s=5, attempts=4)


def located(source: FileSources, product: Product) -> Path:
    return source.layout.absolute(source.deliver(product, is_kept=True).product.path or "")


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
