"""What an image takes from the headers of its file, and how stored values become pixels."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from astropy.io import fits
from synthetic_fits import refused_if, starry_sky, wcs_header, write_compressed, write_drz

from hubbleclip.core.errors import ImageError
from hubbleclip.fits.instruments import star_contrast
from hubbleclip.images import reader
from hubbleclip.images.reader import read_science_images
from hubbleclip.missions.hst import CAMERAS

DATA = starry_sky((70, 64), num_stars=4)


def read(path, max_pixels=10**7):
    (image,) = read_science_images(path, max_pixels)
    return image


def test_the_header_of_the_extension_has_priority_over_the_primary_one(tmp_path):
    cards = {"BUNIT": "COUNTS", "EXPTIME": 100.0, "TARGNAME": "FIRST", "CCDGAIN": 1.5}
    cards |= {"PHOTFLAM": 2e-19, "PHOTPLAM": 6000.0, "RA_TARG": 150.1, "DEC_TARG": 2.2}
    path = write_drz(tmp_path / "a.fits", DATA, primary=cards)
    fits.setval(path, "EXPTIME", value=50.0, ext=1)
    image = read(path)
    assert (image.unit, image.exposure_s, image.target, image.gain) == ("ELECTRONS/S", 50.0, "FIRST", 1.5)
    assert image.flux_density == pytest.approx(2e-19 * 6000.0**2 / 2.99792458e18 * 1e23)  # c in Angstrom/s, erg to Jy
    assert image.aims_deg[0] == (150.1, 2.2)


@pytest.mark.parametrize("camera", ["ACS/WFC", "WFC3/UVIS", "WFC3/IR", "ACS/SBC"])
def test_rays_are_looked_for_in_ccds_alone_with_the_contrast_of_the_camera(tmp_path, camera):
    image = read(write_drz(tmp_path / "a.fits", DATA, tuple(camera.split("/")), {"NDRIZIM": 0}))
    assert image.may_have_cosmic_rays == (camera in {"ACS/WFC", "WFC3/UVIS"})
    assert image.star_contrast == star_contrast("F606W", camera)


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


def test_pixels_of_a_raw_frame_at_the_end_of_the_converter_are_saturated(tmp_path):
    counts = np.clip(DATA, 0, 60_000).astype(np.uint16)
    counts[3, 5], counts[9, 2] = 65_535, 65_534
    assert read(write_drz(tmp_path / "a_raw.fits", counts)).saturated.tolist() == [3 * 64 + 5]


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


@pytest.mark.parametrize("blank", ["", "   ", fits.card.Undefined()])
def test_a_blank_value_of_the_extension_is_taken_from_the_primary_header(tmp_path, blank):
    path = write_drz(tmp_path / "a.fits", DATA, primary={"BUNIT": "COUNTS"})
    for key in ("BUNIT", "FILTER", "TARGNAME"):
        fits.setval(path, key, value=blank, ext=1)
    image = read(path)
    assert (image.unit, image.filter, image.target) == ("COUNTS", "F606W", "TEST")


def test_values_are_texts_without_the_blanks_around_them_and_absent_ones_are_none(tmp_path):
    path = write_drz(tmp_path / "a.fits", DATA, primary={"TARGNAME": " M 31"})
    fits.setval(path, "BUNIT", value=" DN ", ext=1)
    assert (read(path).unit, read(path).target) == ("DN", "M 31")
    fits.setval(path, "BUNIT", value=7, ext=1)
    fits.setval(path, "TARGNAME", value=31, ext=0)
    assert (read(path).unit, read(path).target) == (None, "31")
    fits.PrimaryHDU(DATA).writeto(tmp_path / "b.fits")
    image = read(tmp_path / "b.fits")
    absent = ["unit", "instrument", "filter", "target", "exposure_s", "gain", "flux_density", "wcs", "stretch"]
    assert {name: getattr(image, name) for name in absent} == dict.fromkeys(absent)
    assert (image.aims_deg, image.shrink) == ((), 1.0)


def test_a_file_may_lack_the_padding_after_its_last_pixel_and_no_pixel(tmp_path):
    whole = write_drz(tmp_path / "a.fits", DATA).read_bytes()
    with fits.open(tmp_path / "a.fits") as hdus:
        end = hdus[1].fileinfo()["datLoc"] + DATA.nbytes
    assert end < len(whole)
    (tmp_path / "b.fits").write_bytes(whole[:end])
    np.testing.assert_array_equal(read(tmp_path / "b.fits").data_yx, DATA)
    packed = write_compressed(tmp_path / "c.fits", DATA.astype(np.int32)).read_bytes()
    (tmp_path / "c.fits").write_bytes(packed[:-1])
    np.testing.assert_array_equal(read(tmp_path / "c.fits").data_yx, DATA.astype(np.int32))
    (tmp_path / "b.fits").write_bytes(whole[: end - 1])
    with pytest.raises(ImageError, match="truncated: the file ends within the pixels of extension 1"):
        read(tmp_path / "b.fits")


@pytest.mark.parametrize("name", ["DQ", "WHT", "SCI"])
def test_a_file_that_ends_within_its_quality_its_weight_or_its_second_image_is_truncated(tmp_path, name):
    others = dict.fromkeys(("DQ", name), np.ones(DATA.shape, np.int16))
    (tmp_path / "b.fits").write_bytes(write_drz(tmp_path / "a.fits", DATA, **others).read_bytes()[:-2880])
    with pytest.raises(ImageError, match=f"truncated: the file ends within the pixels of extension {1 + len(others)}"):
        read(tmp_path / "b.fits")


@pytest.mark.parametrize(("num_more", "is_read"), [(0, True), (1, False)])
def test_a_gzip_file_may_unpack_to_16_bytes_per_pixel_of_the_settings(tmp_path, num_more, is_read):
    plain = write_drz(tmp_path / "a.fits", DATA).read_bytes()
    max_pixels = 5000
    (tmp_path / "b.fits.gz").write_bytes(gzip.compress(plain.ljust(16 * max_pixels + num_more, b"\0")))
    with refused_if(not is_read, r"too_large: .* unpack to over 80000, more than an image of tiles.max_pixels"):
        np.testing.assert_array_equal(read(tmp_path / "b.fits.gz", max_pixels).data_yx, DATA)


@pytest.mark.parametrize(("num_more", "is_read"), [(0, True), (1, False)])
def test_a_gzip_file_may_unpack_to_the_ratio_or_to_what_is_always_allowed(tmp_path, monkeypatch, num_more, is_read):
    plain = write_drz(tmp_path / "a.fits", np.ones((70, 64), np.float32)).read_bytes()
    packed = gzip.compress(plain, 9)
    for always, ratio in ((len(plain) - num_more, 1), (1, (len(plain) - num_more) / len(packed))):
        monkeypatch.setattr(reader, "ALWAYS_UNPACKED_BYTES", always)
        monkeypatch.setattr(reader, "MAX_UNPACKED_RATIO", ratio)
        (tmp_path / "b.fits.gz").write_bytes(packed)
        with refused_if(not is_read, "too_large: .* bytes of gzip"):
            read(tmp_path / "b.fits.gz")


@pytest.mark.parametrize(
    ("cards", "is_combined"),
    [
        ({"NCOMBINE": 2}, True),
        ({"NCOMBINE": 1}, False),
        ({"NCOMBINE": "2"}, False),
        ({"CRCORR": "COMPLETE"}, True),
        ({"CRCORR": "PERFORM"}, False),
        ({"NDRIZIM": 1}, False),
        ({"NDRIZIM": "2"}, False),
        ({"NDRIZIM": 2, "D001DATA": "A_FLC.FITS[SCI,1]", "D002DATA": "A_FLC.FITS[SCI,2]"}, False),
        ({"NDRIZIM": 3, "D001DATA": "a.fits[sci,1]", "D002DATA": "b.fits[sci,1]", "D003DATA": "a.fits[sci,2]"}, False),
        ({"NDRIZIM": 12, "D001DATA": "a.fits[sci,1]", "D012DATA": "b.fits[sci,12]"}, True),
        ({"NDRIZIM": 2, "D001DATA": "a_sci1.fits", "D002DATA": "a_sci2.fits"}, False),
        ({"NDRIZIM": 2, "D001DATA": "a_sci1_x.fits", "D002DATA": "a_sci2_x.fits"}, True),
    ],
)
def test_an_image_is_combined_if_the_first_and_the_last_input_are_of_two_exposures(tmp_path, cards, is_combined):
    image = read(write_drz(tmp_path / "a.fits", DATA, ("ACS", "WFC"), {"NDRIZIM": 0} | cards))
    assert image.may_have_cosmic_rays == (not is_combined)


@pytest.mark.parametrize(
    ("num_drizzled", "extensions", "is_drizzled"), [(1, "", True), (0, "WHT", True), (0, "DQ", False)]
)
def test_an_image_with_drizzled_inputs_or_a_weight_is_drizzled(tmp_path, num_drizzled, extensions, is_drizzled):
    others = {extensions: np.ones(DATA.shape, np.int16)} if extensions else {}
    image = read(write_drz(tmp_path / "a.fits", DATA, primary={"NDRIZIM": num_drizzled}, **others))
    assert image.is_drizzled == is_drizzled


def test_a_page_of_a_mapped_plane_begins_anywhere(tmp_path):
    cube = np.random.default_rng(0).normal(5, 1, (4, 61, 67)).astype(np.float32)
    header = fits.Header({"TELESCOP": "HST", "INSTRUME": "WFPC2"})
    fits.PrimaryHDU(cube, header).writeto(tmp_path / "a.fits")
    images = read_science_images(tmp_path / "a.fits", 10**7)
    for image, plane in zip(images, cube, strict=True):
        np.testing.assert_array_equal(image.data_yx, plane)
        image.release_pages(30)
        image.release_pages()
        np.testing.assert_array_equal(image.data_yx, plane)


@pytest.mark.parametrize("name", ["a_wht.fits", "A_WHT.FITS", "a.1_wht.fits", "a_drz.fits"])
def test_a_weight_map_is_known_by_the_name_in_the_archive_or_else_by_that_of_the_file(tmp_path, name):
    is_weight = "wht" in name.lower()
    for path, file_name in (
        (tmp_path / name, None),
        (tmp_path / "b_drz.fits", name),
        (tmp_path / "c_wht.fits", f"{name}.gz"),
    ):
        fits.PrimaryHDU(DATA).writeto(path, overwrite=True)
        with refused_if(is_weight, "not_an_image: the file's name"):
            assert len(read_science_images(path, 10**7, file_name)) == 1


def test_a_spectrum_is_no_image(tmp_path):
    with pytest.raises(ImageError, match="not_an_image: seen through G141"):
        read(write_drz(tmp_path / "a.fits", DATA, primary={"FILTER": "G141"}))


def test_a_file_that_ends_within_what_is_no_image_has_no_image(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("a", "D", array=np.ones(3000))])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "a.fits")
    for end, reason in ((None, "no_image"), (-2880 * 3, "truncated")):
        (tmp_path / "b.fits").write_bytes((tmp_path / "a.fits").read_bytes()[:end])
        for name, why in (("b.fits", reason), ("b_wht.fits", "not_an_image")):
            with pytest.raises(ImageError, match=f"^{why}"):
                read_science_images(tmp_path / "b.fits", 10**7, name)
