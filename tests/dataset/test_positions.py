"""A published dataset alone gives the position of every pixel, and the value that a grey level shows."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from sky_cases import observation, proposal
from synthetic_fits import starry_sky, write_drz
from valid_catalog import make

from hubbleclip.config.settings import ShardSettings, TileSettings
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Product, SplitAssignment
from hubbleclip.dataset.build import build_dataset
from hubbleclip.dataset.publish import publish
from hubbleclip.dataset.samples import make_sample
from hubbleclip.images.tiling import tile_file, to_tile_record

SIZE_PX = 96
SIP = {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 8e-5, "B_0_2": -5e-5, "A_1_1": 3e-5, "B_1_1": 2e-5}
"""Distortion of up to 1 px in an image of 200 px."""
SPLITS = ("train", "val", "test")


def samples_of(path: Path, name: str):
    """The samples of a FITS file, with their pictures."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    product = make(Product, uri=f"made:{name}", obs_id=name, proposal_id="made:1", sha256=sha256)
    settings = TileSettings(size_px=SIZE_PX, min_side_px=32, views=("native", "overview"))
    for index, cut in enumerate(tile_file(path, sha256, settings).tiles):
        tile = to_tile_record(cut, product, Layout(path.parent), datetime.now(UTC))
        split = SplitAssignment(tile_id=tile.tile_id, group_id="g", split=SPLITS[index % 3], reason=None)
        yield (
            make_sample(tile, observation(name, "made:1", "NGC1"), proposal("made:1"), split, {"title": "A title"}),
            cut.encoded,
        )


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The address of a published dataset, and the images of its products by address."""
    folder = tmp_path_factory.mktemp("made")
    places = {
        "made:large": write_drz(folder / "large_drz.fits", starry_sky((300, 260))),
        "made:small": write_drz(folder / "small_drz.fits", starry_sky((90, 80), num_stars=20)),
        "made:distorted": write_drz(folder / "distorted_flt.fits", starry_sky((200, 160))),
    }
    with fits.open(places["made:distorted"], mode="update") as hdus:
        hdus["SCI"].header.update({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"} | SIP)
    samples, pngs = [], {}
    for uri, path in places.items():
        for sample, png in samples_of(path, uri.partition(":")[2]):
            samples.append(replace(sample, proposal_id="made:1"))
            pngs[sample.tile_id] = png
    built = build_dataset(
        samples, pngs.__getitem__, folder / "built", ShardSettings(), contract_version="1.3.0", code_version="test"
    )
    address = publish(folder / "built" / built.dataset.digest, str(folder / "public"))
    return address, {uri: fits.getdata(path, "SCI", header=True) for uri, path in places.items()}


@pytest.mark.slow
def test_every_pixel_has_its_position_within_a_milliarcsecond(published):
    address, images = published
    rows = pq.read_table(f"{address}/manifest.parquet").to_pylist()
    assert {(row["product_uri"], row["view"]) for row in rows} >= {(uri, "native") for uri in images}
    assert {row["view"] for row in rows} == {"native", "overview"}
    assert any(row["y0"] < 0 or row["x0"] < 0 for row in rows)
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(SIZE_PX), np.arange(SIZE_PX)))
    for row in rows:
        found = WCS(fits.Header.fromstring(row["wcs"], sep="\n")).pixel_to_world(x, SIZE_PX - 1 - y)
        first_xy = [round(row[name] / row["shrink"]) for name in ("x0", "y0")]  # in pixels of the tile
        pixels_xy = (
            (first + axis + 0.5) * row["shrink"] - 0.5
            for first, axis in zip(first_xy, (x, SIZE_PX - 1 - y), strict=True)
        )
        expected = WCS(images[row["product_uri"]][1]).pixel_to_world(*pixels_xy)
        assert found.separation(expected).max() < 1 * u.mas
