"""Tiles stored as JPEG."""

from __future__ import annotations

import dataclasses
import io
import tarfile

import numpy as np
from PIL import Image
from synthetic_fits import starry_sky, write_drz

from hubbleclip.config.settings import TileSettings
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.records import Sample
from hubbleclip.dataset.reader import SplitTiles
from hubbleclip.dataset.shard_writer import write_tar
from hubbleclip.images.encode import encode_jpeg
from hubbleclip.images.tiling import tile_file

SHA = "ab" * 32


def test_a_jpeg_tile_shows_what_the_png_does_and_is_smaller(tmp_path):
    path = write_drz(tmp_path / "a.fits", starry_sky((512, 512)))
    png, jpeg = (tile_file(path, SHA, TileSettings(format=kind)).tiles[0] for kind in ("png", "jpeg"))
    differ = np.abs(np.array(png.picture).astype(int) - np.array(jpeg.picture))
    assert differ.max() <= 12 and len(jpeg.encoded) < 0.8 * len(png.encoded)
    assert (jpeg.tile_id != png.tile_id, jpeg.png_sha256) == (True, sha256_bytes(jpeg.encoded))
    assert (png.suffix, jpeg.suffix) == (".png", ".jpg")


def test_a_jpeg_has_a_quality_of_95():
    levels, buffer = np.random.default_rng(0).integers(0, 255, (40, 50), np.uint8), io.BytesIO()
    Image.fromarray(levels).save(buffer, "JPEG", quality=95)
    assert encode_jpeg(levels) == buffer.getvalue()


def test_a_jpeg_or_colour_tile_is_packed_and_read_as_grey(tmp_path):
    pictures = {"a" * 32: jpeg_bytes("L", "JPEG"), "b" * 32: jpeg_bytes("RGB", "PNG")}
    rows = [make_sample(tile_id, sha256_bytes(data)) for tile_id, data in pictures.items()]
    tar = write_tar(tmp_path / "train-000000.tar", rows, pictures.__getitem__)
    with tarfile.open(tmp_path / "train-000000.tar") as written:
        assert [name.split(".")[1] for name in written.getnames()] == ["json", "jpg", "txt", "json", "png", "txt"]
    spans = [(str(tmp_path / "train-000000.tar"), *extent) for extent in tar.extents.values()]
    tiles = SplitTiles(place=str(tmp_path), rows=rows, spans=spans, group_n=np.zeros(2, np.int64))
    assert tiles.read_all_tiles(32).shape == (2, 32, 32)


def jpeg_bytes(mode, kind):
    buffer = io.BytesIO()
    Image.fromarray(np.full((32, 32), 90, np.uint8)).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def make_sample(tile_id, sha256):
    values = {"tile_id": tile_id, "png_sha256": sha256, "split": "train", "captions": ["a galaxy"]}
    empty = dict.fromkeys(field.name for field in dataclasses.fields(Sample))
    return Sample(**empty | values | {"caption_kinds": ["title"]})
