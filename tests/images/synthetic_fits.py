"""Synthetic FITS files: a WCS with roll, and pixels whose values are all different."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hubbleclip.core.errors import ImageError
from hubbleclip.images.reader import read_science_images


def refused_if(is_refused, match=""):
    """A context that must raise an ImageError of this text, or none."""
    return pytest.raises(ImageError, match=match) if is_refused else nullcontext()


def wcs_header(shape_yx, scale_arcsec=0.05, roll_deg=30.0):
    height, width = shape_yx
    roll, scale = np.deg2rad(roll_deg), scale_arcsec / 3600
    cards = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": 150.1,
        "CRVAL2": 2.2,
        "CRPIX1": width / 2 + 0.5,
        "CRPIX2": height / 2 + 0.5,
        "CD1_1": -scale * np.cos(roll),
        "CD1_2": scale * np.sin(roll),
        "CD2_1": scale * np.sin(roll),
        "CD2_2": scale * np.cos(roll),
        "RADESYS": "ICRS",
    }
    return fits.Header(cards.items())


def with_sip(header):
    """The header with a distortion of the second order."""
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    header.update({"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 8e-6, "B_0_2": -5e-6, "A_1_1": 3e-6, "B_1_1": 2e-6})
    return header


def starry_sky(shape_yx, seed=1, num_stars=150, fwhm_px=2.2):
    """Noise of sigma 1 about a sky of 5, with Moffat stars."""
    rng = np.random.default_rng(seed)
    data = rng.normal(5, 1, shape_yx).astype(np.float32)
    y, x = np.mgrid[-12:13, -12:13]
    for _ in range(num_stars):
        cy, cx = (int(rng.integers(13, side - 13)) for side in shape_yx)
        dy, dx = rng.uniform(-0.5, 0.5, 2)
        psf = (1 + ((y - dy) ** 2 + (x - dx) ** 2) / (0.9 * fwhm_px) ** 2) ** -2.5
        data[cy - 12 : cy + 13, cx - 12 : cx + 13] += 10 ** rng.uniform(1.5, 4) * psf
    return data


def write_drz(path: Path, data, instrument=("WFC3", "UVIS"), primary=None, **extensions):
    header = fits.Header(
        {
            "TELESCOP": "HST",
            "INSTRUME": instrument[0],
            "DETECTOR": instrument[1],
            "FILTER": "F606W",
            "TARGNAME": "TEST",
            "EXPTIME": 100.0,
            "NDRIZIM": 4,
            "FILETYPE": "SCI",
        }
        | (primary or {})
    )
    science = wcs_header(data.shape[-2:])
    science["BUNIT"] = "ELECTRONS/S"
    hdus = [fits.PrimaryHDU(header=header), fits.ImageHDU(data, science, name="SCI", ver=1)]
    hdus += [fits.ImageHDU(values, name=name, ver=1) for name, values in extensions.items()]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def write_compressed(path: Path, data, **options):
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data, name="SCI", **options)]).writeto(path, overwrite=True)
    return path


def read_drz(folder: Path, data, **options):
    (image,) = read_science_images(write_drz(folder / "a.fits", data, **options), 10**7)
    return image
