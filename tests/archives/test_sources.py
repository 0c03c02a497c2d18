"""Sources of files: tried in order, one file at a time; one that is down is left out, unless it is the last."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stages import product

from hubbleclip.archives.mast.client import MastClient
from hubbleclip.archives.mast.product_sources import SOURCES, FileSources
from hubbleclip.config.settings import FetchSettings
from hubbleclip.core.errors import ArchiveDownError, DownloadError
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product
from hubbleclip.missions.hst import HST
from hubbleclip.simulator.observations import make_proposals, observations_of, render_product
from tests.archives.conftest import SKY, make_transport, sources_of
from tests.archives.s3_servers import running_moto
from tests.bad_server import BadServer, Respond, give

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def cloud() -> Iterator[tuple[str, Callable[..., None]]]:
    with running_moto() as found:
        yield found


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


@pytest.mark.slow
def test_the_last_source_that_is_down_means_that_the_archive_is(files, tmp_path: Path) -> None:
    both = sources_of(NOWHERE, NOWHERE, tmp_path, "s3", "mast")
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


@pytest.mark.parametrize(
    ("region", "chosen", "names"),
    [("us-east-1", {}, ["s3", "mast"]), ("eu-west-1", {}, ["mast"]), ("us-east-1", {"sources": ("mast",)}, ["mast"])],
)
def test_the_bucket_comes_first_in_its_own_region_unless_sources_are_set(
    region: str, chosen: dict[str, Any], names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", region)
    transport, fetch = make_transport(), FetchSettings(**chosen)
    mast = MastClient(NOWHERE, transport)
    assert list(FileSources(fetch, Layout(tmp_path), transport, mast, bucket=HST.bucket).sources) == names
