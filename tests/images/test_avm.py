"""Where a picture is on the sky, as its XMP packet states it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from astropy.wcs import WCS
from PIL import Image
from pyavm import AVM
from synthetic_fits import wcs_header

from hubbleclip.images.avm import with_avm
from hubbleclip.images.encode import encode_jpeg, encode_png
from hubbleclip.images.wcs import tile_geometries


@pytest.mark.parametrize(
    ("encode", "form", "kind"),
    [
        (encode_png, "", "PNG"),
        (encode_png, "jpg", "JPEG"),
        (encode_jpeg, "", "JPEG"),
        (encode_jpeg, "jpg", "JPEG"),
        (encode_jpeg, "png", "PNG"),
    ],
)
def test_a_picture_states_its_object_and_the_scale_and_turn_of_its_square(tmp_path, encode, form, kind):
    header, path = wcs_header((64, 64)), tmp_path / f"a.{kind.lower()}"
    (where,) = tile_geometries(WCS(header), [(0, 0)], 64)
    facts = {"wcs": where.wcs, "size_px": 64, "instrument": "ACS/WFC", "target_name": "M 31 & M 32"}
    content = encode(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))
    path.write_bytes(with_avm(content, facts, form))
    with Image.open(path) as picture, Image.open(io.BytesIO(content)) as before:
        assert picture.format == kind
        most = 40 if (before.format, kind) == ("PNG", "JPEG") else 1
        np.testing.assert_allclose(np.array(picture, int), np.array(before, int), rtol=0, atol=most)
    found = AVM.from_image(path)
    assert (found.Instrument, found.Subject.Name) == (["ACS/WFC"], ["M 31 & M 32"])
    assert found.Spatial.Scale == pytest.approx([-0.05 / 3600, 0.05 / 3600], rel=1e-4)
    assert found.Spatial.Rotation == pytest.approx(-30, abs=0.01)  # as CROTA2: up is turned by 30 degrees to the east
    assert found.Spatial.ReferencePixel == pytest.approx([32.5, 32.5], abs=0.01)
    assert found.Spatial.CDMatrix == pytest.approx([header[f"CD{i}_{j}"] for i in (1, 2) for j in (1, 2)], rel=1e-4)
    assert (found.Spatial.ReferenceDimension, found.Spatial.CoordinateFrame) == ([64, 64], "ICRS")
    assert found.Spatial.ReferenceValue == pytest.approx([where.ra_deg, where.dec_deg])
