"""Cut the pixels of a tile out of its FITS file, as they are in the archive, with their WCS."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits as pyfits
from astropy.nddata import Cutout2D

from hubbleclip.core.errors import ImageError
from hubbleclip.fits.hdus import PLANE_STEP
from hubbleclip.images.wcs import read_wcs, tile_geometries

MAX_SIDE_PX = 4_096


def cut_out(file: Path | BinaryIO, facts: Mapping[str, Any]) -> bytes:
    """Return the part of a FITS file that a tile shows, as a FITS image; NaN beyond the edges of the image.

    `facts` has `chip`, `y0`, `x0`, `size_px`, `shrink`, and `product_uri` as in the catalog. An overview is not
    downsampled.
    """
    plane, extension = divmod(facts["chip"], PLANE_STEP)
    side, y0, x0 = round(facts["size_px"] * (facts["shrink"] or 1)), facts["y0"], facts["x0"]
    if side > MAX_SIDE_PX:
        raise ImageError("too_large", f"the tile shows {side} x {side} pixels, more than {MAX_SIDE_PX}")
    with pyfits.open(file, memmap=False) as hdus:
        hdu = hdus[extension]
        planes = (0,) * (len(hdu.shape) - 3) + (plane,) * (len(hdu.shape) > 2)
        pixels = hdu.section[planes] if planes else hdu.section
        fill = np.nan if hdu.header["BITPIX"] < 0 else 0
        centre = x0 + (side - 1) / 2, y0 + (side - 1) / 2
        data_yx = Cutout2D(pixels, centre, side, mode="partial", fill_value=fill).data
        wcs = read_wcs(hdus, extension, plane)
        (geometry,) = tile_geometries(wcs, [(y0, x0)], side) if wcs else (None,)
        unit = hdu.header.get("BUNIT")
    header = pyfits.Header.fromstring(geometry.wcs if geometry else "", sep="\n")
    if unit:
        header["BUNIT"] = unit
    header["HISTORY"] = f"cut out of {facts['product_uri']}".encode("ascii", "replace").decode()
    content = io.BytesIO()
    pyfits.PrimaryHDU(data_yx, header).writeto(content)
    return content.getvalue()
