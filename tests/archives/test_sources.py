"""Sources of files: tried in order, one file at a time; one that is down is left out, unless it is the last."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import FETCH, archive_at
from PIL import Image
from s3_servers import running_moto

from hubbleclip.archives.hst import HstArchive
from hubbleclip.archives.sources import SOURCES
from hubbleclip.errors import ArchiveDownError, DownloadError
from hubbleclip.images.png import decode_png
from hubbleclip.images.tiles import tile_file
from hubbleclip.records import Product
from hubbleclip.settings import FetchSettings, TileSettings

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def cloud() -> Iterator[tuple[str, Callable[..., None]]]:
    with running_moto() as found:
        yield found


@pytest.fixture
def products(archive: HstArchive) -> list[Product]:
    observations = next(iter(archive.query_observations(0.0)))
    return [item for item in archive.list_products(observations)[0] if not item.file_name.startswith("hst_")]


def sources_of(mast_url: str, s3_url: str, root: Path, *names: str) -> HstArchive:
    fetch = FETCH.model_copy(update={"sources": names, "s3_endpoint": s3_url, "attempts": 2, "breaker_failures": 3})
    return archive_at(mast_url, root, fetch)


def put_copy(cloud: tuple[str, Callable[..., None]], archive: HstArchive, product: Product) -> bytes:
    """Put what MAST gives for a product into the cloud."""
    body = archive.layout.absolute(archive.fetch_product(product).path or "").read_bytes()
    name = product.uri.rpartition("/")[2].lower()
    cloud[1](f"{name[:4]}/{name[:9]}/{name}", body)
    return body


def test_the_first_source_that_has_a_file_delivers_it(cloud, simulator: str, archive, products, tmp_path: Path) -> None:
    copied, other = products[:2]
    body = put_copy(cloud, archive, copied)
    both = sources_of(simulator, cloud[0], tmp_path / "both", "s3", "mast")
    found = [both.fetch_product(copied), both.fetch_product(other)]
    assert [item.source for item in found] == ["s3", "mast"]
    assert both.layout.absolute(found[0].path or "").read_bytes() == body
    assert found[0].fetched_version == copied.archive_version


def test_both_sources_settle_a_file_at_the_same_place(cloud, simulator: str, archive, products, tmp_path: Path) -> None:
    put_copy(cloud, archive, products[0])
    one, two = (sources_of(simulator, cloud[0], tmp_path, name).fetch_product(products[0]) for name in ("s3", "mast"))
    assert (one.path, one.sha256, one.size_bytes) == (two.path, two.sha256, two.size_bytes)


def test_a_damaged_copy_is_fetched_from_the_archive(cloud, simulator: str, archive, products, tmp_path: Path) -> None:
    product = products[2]
    body = put_copy(cloud, archive, product)
    name = product.uri.rpartition("/")[2].lower()
    cloud[1](f"{name[:4]}/{name[:9]}/{name}", body[:-2880])
    found = sources_of(simulator, cloud[0], tmp_path / "both", "s3", "mast").fetch_product(product)
    assert (found.source, found.size_bytes) == ("mast", len(body))
    assert not list((tmp_path / "both" / "products" / ".part").glob("*"))


def test_a_file_that_no_source_gives_names_every_reason(cloud, simulator: str, products, tmp_path: Path) -> None:
    lost = Product(
        uri="mast:HST/product/jzzzzzzzz_drz.fits", obs_id="o", proposal_id="simulated:1",
        file_name="jzzzzzzzz_drz.fits", kind="DRZ", size_bytes=None, choice="",
    )  # fmt: skip
    with pytest.raises(DownloadError, match=r"s3: absent: .*; mast: ") as caught:
        sources_of(simulator, cloud[0], tmp_path, "s3", "mast").fetch_product(lost)
    assert caught.value.reason != "absent"


def test_a_source_that_is_down_is_left_out_with_one_warning(
    simulator: str, products, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    both = sources_of(simulator, NOWHERE, tmp_path, "s3", "mast")
    with caplog.at_level(logging.WARNING, "hubbleclip"):
        found = [both.fetch_product(product) for product in products[:3]]
    assert [item.source for item in found] == ["mast"] * 3
    assert [r.getMessage() for r in caplog.records if "left out" in r.getMessage()] == [
        "the source s3 is left out for the rest of this run: " + str(both.files._down["s3"])
    ]


def test_the_last_source_that_is_down_means_that_the_archive_is(products, tmp_path: Path) -> None:
    both = sources_of(NOWHERE, NOWHERE, tmp_path, "s3", "mast")
    for _ in range(2):
        with pytest.raises(ArchiveDownError):
            both.fetch_product(products[0])


def test_a_single_source_that_comes_back_is_asked_again(simulator: str, products, tmp_path: Path) -> None:
    alone = sources_of(NOWHERE, NOWHERE, tmp_path, "mast")
    with pytest.raises(ArchiveDownError):
        alone.fetch_product(products[0])
    alone.mast.url = simulator
    assert alone.fetch_product(products[0]).source == "mast"


def test_a_preview_goes_the_same_road_to_tiles_of_its_own_pixels(archive: HstArchive) -> None:
    observations = next(iter(archive.query_observations(0.0)))
    rows = archive.mast.products([item.obsid for item in observations if item.obsid is not None])
    row = next(row for row in rows if str(row["productFilename"]).endswith(".jpg"))
    listed = Product(
        uri=row["dataURI"], obs_id=row["obs_id"], proposal_id="simulated:1", file_name=row["productFilename"],
        kind="preview", size_bytes=int(row["size"]), choice="",
    )  # fmt: skip
    product = archive.fetch_product(listed)
    path = archive.layout.absolute(product.path or "")
    cut = tile_file(path, product.sha256 or "", TileSettings(size_px=128), product.file_name)
    with Image.open(path) as image:
        truth = np.array(image.convert("L"))
    assert path.suffix == ".jpg" and cut.tiles
    for tile in cut.tiles:
        own = truth[tile.y0 : tile.y0 + 128, tile.x0 : tile.x0 + 128]
        np.testing.assert_array_equal(decode_png(tile.png), own)


def test_every_source_of_the_settings_is_registered() -> None:
    (names, _) = FetchSettings.model_fields["sources"].annotation.__args__
    assert set(names.__args__) == set(SOURCES)
