"""Where a picture is on the sky, as its XMP packet states it."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.wcs import WCS
from pyavm import AVM
from synthetic_fits import wcs_header

from hubbleclip.images.avm import with_avm
from hubbleclip.images.encode import encode_png
from hubbleclip.images.wcs import tile_geometries


def test_a_picture_states_its_object_and_the_scale_and_turn_of_its_square(tmp_path):
    (where,) = tile_geometries(WCS(wcs_header((64, 64))), [(0, 0)], 64)
    facts = {"wcs": where.wcs, "size_px": 64, "instrument": "ACS/WFC", "target_name": "M 31 & M 32"}
    (tmp_path / "a.png").write_bytes(with_avm(encode_png(np.zeros((64, 64), np.uint8)), facts))
    found = AVM.from_image(tmp_path / "a.png")
    assert (found.Instrument, found.Subject.Name) == (["ACS/WFC"], ["M 31 & M 32"])
    assert found.Spatial.Scale == pytest.approx([-0.05 / 3600, 0.05 / 3600], rel=1e-4)
    assert found.Spatial.Rotation == pytest.approx(-30, abs=0.01)  # as CROTA2: up is turned by 30 degrees to the east
    assert found.Spatial.ReferencePixel == pytest.approx([32.5, 32.5], abs=0.01)
    assert found.Spatial.ReferenceValue == pytest.approx([where.ra_deg, where.dec_deg])
