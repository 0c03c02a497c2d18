"""The local archive: a folder of FITS files, however odd."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hubbleclip.archives import open_archive
from hubbleclip.archives.local import LocalArchive
from hubbleclip.config.settings import ArchiveSettings, FetchSettings
from hubbleclip.contracts.validation import contract_violations
from hubbleclip.core.errors import DownloadError
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Observation, Product


def local(folder: Path, **settings: object) -> LocalArchive:
    values = ArchiveSettings.model_validate({"name": "local", "folder": folder, **settings})
    archive = open_archive(values, FetchSettings(), Layout(folder / "out"))
    assert isinstance(archive, LocalArchive)
    return archive


def write_fits(path: Path, value: float = 1.0, **keywords: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = fits.Header({key.replace("_of_", "-"): item for key, item in keywords.items()})
    primary = fits.PrimaryHDU(header=header)
    fits.HDUList([primary, fits.ImageHDU(np.full((4, 5), value, "f4"), name="SCI")]).writeto(path)
    return path


def observations_of(archive: LocalArchive) -> list[Observation]:
    return [item for page in archive.query_observations(0) for item in page]


def products_of(archive: LocalArchive) -> list[Product]:
    return archive.list_products(observations_of(archive))[0]


ENDLESS = b"".join(card.ljust(80) for card in (b"SIMPLE  =                    T", b"NAXIS   = 2000000000", b"END"))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"SIMPLE  =",
        b"\0" * 5760,
        b"SIMPLE  = T" + b"\xff" * 9000,
        ENDLESS.ljust(2880),
    ],
)
@pytest.mark.parametrize("name", ["odd.fits", "odd.fits.gz"])
def test_an_unreadable_file_is_still_listed_so_that_its_tiles_are_rejected(
    tmp_path: Path, data: bytes, name: str
) -> None:
    (tmp_path / name).write_bytes(data)
    archive = local(tmp_path)
    (product,) = products_of(archive)
    assert archive.fetch_product(product).product.size_bytes == len(data)
    assert archive.fetch_proposals(["odd"])[0][0].title == "odd"


def test_keywords_of_a_table_are_not_taken_for_the_images(tmp_path: Path) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("FILTER", "J", array=[1])])
    table.header["TARGNAME"] = "FROM-TABLE"
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "t.fits")
    assert observations_of(local(tmp_path))[0].target_name is None


def test_a_keyword_of_the_primary_header_comes_before_that_of_an_image(tmp_path: Path) -> None:
    primary, image = fits.PrimaryHDU(), fits.ImageHDU(np.ones((4, 4), np.float32))
    primary.header["TARGNAME"], image.header["TARGNAME"], image.header["FILTER"] = "NGC-1", "ANY", "F606W"
    fits.HDUList([primary, image]).writeto(tmp_path / "a.fits")
    (seen,) = observations_of(local(tmp_path))
    assert (seen.target_name, seen.filters) == ("NGC-1", "F606W")


def test_a_file_that_vanished_or_is_too_large_is_rejected(tmp_path: Path) -> None:
    path = write_fits(tmp_path / "a.fits")
    (tmp_path / "b.fits").write_bytes(bytes(1_000_001))
    (tmp_path / "c.fits").write_bytes(bytes(1_000_000))
    archive = local(tmp_path, max_product_mb=1)
    observations, product = observations_of(archive), products_of(archive)[0]
    path.unlink()
    products, rejections = archive.list_products(observations)
    assert [item.obs_id for item in products] == ["c.fits"]
    assert [(item.entity_id, item.reason) for item in rejections] == [("a.fits", "no_file"), ("b.fits", "too_large")]
    with pytest.raises(DownloadError, match="cannot be read"):
        archive.fetch_product(product)


def test_pictures_with_odd_numbers_as_names_find_their_own_captions(tmp_path: Path) -> None:
    names = ["²", "³", "1234567890", "1234567891", "007"]
    for name in names:
        (tmp_path / f"{name}.jpg").write_bytes(b"any")
    rows = [{"id": name, "title": f"Picture {name}", "caption": f"Text of {name}."} for name in names]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    archive = local(tmp_path, products="preview", proposals_file=tmp_path / "captions.jsonl")
    proposals, _ = archive.fetch_proposals(names)
    assert [one.abstract for one in proposals] == [f"Text of {name}." for name in names]


def test_a_rewritten_file_has_another_version(tmp_path: Path) -> None:
    (tmp_path / "visit").mkdir()
    path = write_fits(tmp_path / "visit" / "a.fits")
    first = local(tmp_path)
    (before,), (old,) = observations_of(first), products_of(first)
    path.unlink()
    write_fits(path, value=2.0)
    os.utime(path, (1e9, 1e9))
    second = local(tmp_path)
    (after,), (new,) = observations_of(second), products_of(second)
    assert before.fingerprint != after.fingerprint
    assert old.archive_version != new.archive_version
    assert not contract_violations("observation", [after])
    assert not contract_violations("product", [new])
    assert (observations_of(local(tmp_path))[0].fingerprint, products_of(local(tmp_path))) == (after.fingerprint, [new])
