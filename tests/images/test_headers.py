"""What an image takes from the headers of its file, and how stored values become pixels."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from synthetic_fits import starry_sky, wcs_header, write_drz

from hubbleclip.core.errors import ImageError
from hubbleclip.images.normalize import flux_per_unit
from hubbleclip.images.reader import read_science_images
from hubbleclip.missions.hst import CAMERAS

DATA = starry_sky((70, 64), num_stars=4)


def read(path, max_pixels=10**7):
    (image,) = read_science_images(path, max_pixels)
    return image


def test_the_header_of_the_extension_has_priority_over_the_primary_one(tmp_path):
    path = write_drz(tmp_path / "a.fits", DATA, primary={"BUNIT": "COUNTS", "EXPTIME": 100.0, "TARGNAME": "FIRST"})
    fits.setval(path, "EXPTIME", value=50.0, ext=1)
    image = read(path)
    assert (image.unit, image.exposure_s, image.target) == ("ELECTRONS/S", 50.0, "FIRST")


def test_the_calibration_and_the_aim_are_those_of_the_header(tmp_path):
    cards = {"CCDGAIN": 1.5, "PHOTFLAM": 2e-19, "PHOTPLAM": 6000.0, "RA_TARG": 150.1, "DEC_TARG": 2.2}
    image = read(write_drz(tmp_path / "a.fits", DATA, primary=cards))
    assert image.gain == 1.5
    assert image.flux_density == pytest.approx(2e-19 * 6000.0**2 / 2.99792458e18 * 1e23)  # c in Angstrom/s, erg to Jy
    assert image.aims_deg[0] == (150.1, 2.2)
    for unit, seconds in ("SECOND", 1.0), ("SEC", 1.0), ("S", 1.0), ("", 100.0):
        fits.setval(tmp_path / "a.fits", "BUNIT", value=f"COUNTS/{unit}" if unit else "DN", ext=1)
        assert flux_per_unit(read(tmp_path / "a.fits")) == pytest.approx(1.5 / seconds / 0.05**2, rel=1e-4)


@pytest.mark.parametrize("camera", ["ACS/WFC", "WFC3/UVIS", "WFC3/IR", "ACS/SBC"])
def test_rays_are_looked_for_in_ccds_alone_with_the_contrast_of_the_camera(tmp_path, camera):
    image = read(write_drz(tmp_path / "a.fits", DATA, tuple(camera.split("/")), {"NDRIZIM": 0}))
    assert image.may_have_cosmic_rays == (camera in {"ACS/WFC", "WFC3/UVIS"})
    assert image.star_contrast == CAMERAS[camera].star_contrast


def test_bits_of_the_quality_are_bad_by_camera(tmp_path):
    quality = np.zeros(DATA.shape, np.int16)
    for bit in range(15):
        quality[3, 2 * bit] = 1 << bit
    for camera in ("ACS/WFC", "WFC3/UVIS", "WFC3/IR"):
        image = read(write_drz(tmp_path / "a.fits", DATA, tuple(camera.split("/")), DQ=quality))
        bad = {int(quality[y, x]) for y, x in np.argwhere(~image.valid_yx)}
        assert bad == set(CAMERAS[camera].bad_flags)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.int32])
@pytest.mark.parametrize(("scale", "zero"), [(2.0, 0.0), (1.0, 100.0), (-0.1, 33.3)])
def test_stored_values_are_scaled_by_both_cards(tmp_path, dtype, scale, zero):
    stored = (np.arange(130 * 50).reshape(130, 50) % 3001).astype(dtype)
    fits.PrimaryHDU(stored).writeto(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", mode="update", do_not_scale_image_data=True) as hdus:
        hdus[0].header["BSCALE"], hdus[0].header["BZERO"] = scale, zero
    expected = (stored.astype(np.float64) * scale + zero).astype(np.float32)
    np.testing.assert_array_equal(read(tmp_path / "a.fits").data_yx, expected)


def test_a_blank_value_masks_whole_numbers_alone(tmp_path):
    stored = np.arange(80 * 70).reshape(80, 70) % 9 + 1
    for dtype, num_masked in ((np.int16, np.count_nonzero(stored == 5)), (np.float32, 0)):
        fits.PrimaryHDU(stored.astype(dtype)).writeto(tmp_path / "a.fits", overwrite=True)
        fits.setval(tmp_path / "a.fits", "BLANK", value=5)
        image = read(tmp_path / "a.fits")
        assert np.count_nonzero(~image.valid_yx) == num_masked
        assert (image.data_yx[~image.valid_yx] == 5).all()


def test_the_largest_number_of_pixels_is_read(tmp_path):
    path = write_drz(tmp_path / "a.fits", DATA)
    assert read(path, DATA.size).data_yx.shape == DATA.shape
    with pytest.raises(ImageError, match="too_large: the header declares 4480 pixels, more than 4479"):
        read(path, DATA.size - 1)


def test_images_that_are_not_read_are_listed_with_the_first_image_alone(tmp_path):
    ramp = [fits.PrimaryHDU(header=fits.Header({"TELESCOP": "HST", "INSTRUME": "WFC3", "DETECTOR": "UVIS"}))]
    ramp += [fits.ImageHDU(DATA, wcs_header(DATA.shape), name="SCI", ver=k) for k in (1, 2)]
    ramp.append(fits.ImageHDU(np.ones((3, 80, 80), np.float32), name="SCI", ver=3))
    fits.HDUList(ramp).writeto(tmp_path / "a_flt.fits")
    first, second = read_science_images(tmp_path / "a_flt.fits", 10**7)
    assert [one.reason for one in first.unused] == ["not_an_image"] and second.unused == ()
