"""Colour tiles: filters by wavelength, aligned on the sky, colours kept."""

from __future__ import annotations

import io
import sys
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from synthetic_fits import wcs_header

from hubbleclip.config.settings import TileSettings
from hubbleclip.core.errors import ImageError, SettingsError
from hubbleclip.images import rgb
from hubbleclip.images.normalize import PreparedImage
from hubbleclip.images.reader import read_science_images
from hubbleclip.images.rgb import blend, cut_colour, pick_parts
from hubbleclip.images.stretch import Stretch
from hubbleclip.images.tiling import tile_file

pytest.importorskip("reproject")
SETTINGS = TileSettings(size_px=192, min_side_px=32, views=("native",), colour=True)
SHAS = ["aa" * 32, "bb" * 32, "cc" * 32]


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(200, 1700), max_size=8))
def test_three_parts_are_spread_from_red_to_blue(wavelengths):
    parts = pick_parts(wavelengths)
    if len(set(wavelengths.values())) < 3:
        assert parts == ()
        return
    red, middle, blue = (wavelengths[part] for part in parts)
    assert red == max(wavelengths.values()) and blue == min(wavelengths.values()) and blue < middle < red


def test_green_is_the_middle_in_logarithmic_wavelength():
    assert pick_parts({"F275W": 275, "F475W": 475, "F814W": 814, "F160W": 1600}) == ("F160W", "F475W", "F275W")
    assert pick_parts({"F225W": 225, "F606W": 606, "F814W": 814, "F160W": 1600}) == ("F160W", "F606W", "F225W")
    same = {"A": 500, "B": 500, "C": 800, "D": 400}
    assert pick_parts(same) == pick_parts(dict(reversed(same.items()))) == ("C", "B", "D")


def write(
    path, roll_deg, stars, scale_arcsec=0.05, shape_yx=(200, 220), full_well=np.inf, width_arcsec=0.15, shift_xy=(0, 0)
):
    """Stars of a height each at the same places of the sky, whatever the roll, the scale and the shift of the pixels."""
    header, truth = wcs_header(shape_yx, scale_arcsec, roll_deg), WCS(wcs_header((200, 220)))
    header["CRPIX1"], header["CRPIX2"] = header["CRPIX1"] + shift_xy[0], header["CRPIX2"] + shift_xy[1]
    data = np.random.default_rng(int(roll_deg) + 3).normal(5, 1, shape_yx).astype(np.float32)
    y, x = np.mgrid[: shape_yx[0], : shape_yx[1]]
    for (x0, y0), height in stars.items():
        at_x, at_y = WCS(header).all_world2pix(*truth.all_pix2world(x0, y0, 0), 0)
        data += np.float32(height) * np.exp(
            -((x - at_x) ** 2 + (y - at_y) ** 2) / (2 * (width_arcsec / scale_arcsec) ** 2)
        ).astype(np.float32)
    data[data > full_well] = np.nan
    header["BUNIT"] = "ELECTRONS/S"
    fits.PrimaryHDU(data, header).writeto(path, overwrite=True)
    return read_science_images(path, 10**7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("colour")


@pytest.fixture(scope="module")
def parts(folder):
    red_star, blue_star, white_star = (80, 90), (120, 120), (140, 70)
    return [
        write(folder / "red.fits", 75.0, {red_star: 900, white_star: 900, blue_star: 30}),
        write(folder / "middle.fits", 30.0, {red_star: 300, white_star: 900, blue_star: 300}),
        write(folder / "blue.fits", 10.0, {red_star: 30, white_star: 900, blue_star: 900}, 0.04, (240, 260)),
    ]


def rgb_of(tile):
    return np.array(Image.open(io.BytesIO(tile.encoded)))[::-1]


def test_stars_have_their_colours_where_the_middle_image_has_them(parts):
    (tile,) = cut_colour(parts, SHAS, SETTINGS).tiles
    levels = rgb_of(tile).astype(int)
    colour_at = {
        name: levels[y - tile.y0, x - tile.x0]
        for name, (x, y) in {"red": (80, 90), "blue": (120, 120), "white": (140, 70)}.items()
    }
    assert colour_at["red"][0] > colour_at["red"][1] > colour_at["red"][2]
    assert colour_at["blue"][2] > colour_at["blue"][1] > colour_at["blue"][0]
    assert np.ptp(colour_at["white"]) < 80 and min(colour_at["white"]) > 160


def test_a_saturated_core_without_data_looks_saturated_and_is_not_valid(tmp_path):
    parts = [write(tmp_path / f"{k}.fits", 30.0, {(110, 100): 900}, full_well=500) for k in range(3)]
    (tile,) = cut_colour(parts, SHAS, SETTINGS).tiles
    means = rgb_of(tile).mean(axis=-1)
    assert means[100 - tile.y0, 110 - tile.x0] >= 0.95 * means.max()
    valid = parts[1][0].valid_yx[tile.y0 : tile.y0 + 192, tile.x0 : tile.x0 + 192]
    assert "saturated" in tile.note and tile.valid_share == valid.mean() < 1


def test_it_has_the_place_of_the_middle_native_tile_and_an_identity_of_all_three(parts, folder):
    (native,) = tile_file(folder / "middle.fits", SHAS[1], SETTINGS).tiles
    (tile,) = cut_colour(parts, SHAS, SETTINGS).tiles
    assert (tile.view, tile.y0, tile.x0, tile.geometry) == ("colour", native.y0, native.x0, native.geometry)
    all_shas = ["dd" * 32, *SHAS[1:]], SHAS[::-1], [*SHAS[:2], "dd" * 32]
    others = [cut_colour(parts, shas, SETTINGS).tiles[0] for shas in all_shas]
    assert len({native.tile_id, tile.tile_id, *(other.tile_id for other in others)}) == 5


def test_where_too_little_is_seen_in_all_three_there_is_no_tile(parts, tmp_path):
    (half,) = write(tmp_path / "half.fits", 30.0, {(180, 100): 900})
    half.valid_yx[:, :110] = False
    strict = SETTINGS.model_copy(update={"min_valid_share": 0.8})
    result = cut_colour([[half], *parts[1:]], SHAS, strict)
    assert [(one.entity_id, one.reason) for one in result.rejections] == [
        (f"{SHAS[1]}:0:colour:4:14", "too_little_valid")
    ]


def test_without_a_wcs_or_a_library_nothing_can_be_aligned(parts, monkeypatch):
    monkeypatch.setitem(sys.modules, "reproject", None)
    with pytest.raises(SettingsError, match=r"hubbleclip\[colour\]"):
        cut_colour(parts, SHAS, SETTINGS)
    with pytest.raises(ImageError, match="no_wcs"):
        cut_colour([[replace(parts[0][0], wcs=None)], *parts[1:]], SHAS, SETTINGS)


@given(st.tuples(*[st.floats(0, 5)] * 3), st.floats(0.001, 0.5))
def test_blending_keeps_the_ratios_of_the_three(heights, softening):
    levels = blend(np.array(heights, np.float32).reshape(1, 1, 3), softening)[0, 0].astype(float)
    brightest = max(heights)
    if brightest > 0.01:
        np.testing.assert_allclose(
            levels / max(levels.max(), 1), np.array(heights) / brightest, atol=0.6 / max(levels.max(), 1) + 0.01
        )


def test_each_chip_is_shown_as_if_it_were_alone_and_a_dead_one_costs_only_itself(parts):
    alive, (red, blue) = parts[1][0], parts[::2]
    dead = replace(alive, valid_yx=np.zeros_like(alive.valid_yx), chip=2)
    flat, bright = (replace(alive, data_yx=factor * alive.data_yx, chip=3) for factor in (0, 3))
    expected = [cut_colour([red, [one], blue], SHAS, SETTINGS).tiles[0].encoded for one in (alive, bright)]
    tiles = cut_colour([[replace(red[0], wcs=None), *red], [dead, alive, bright], blue], SHAS, SETTINGS).tiles
    assert [tile.encoded for tile in tiles] == expected
    for chips, reason in (([dead, flat], "all_invalid"), ([flat, dead], "no_signal")):
        with pytest.raises(ImageError, match=reason):
            cut_colour([red, chips, blue], SHAS, SETTINGS)


def write_band(path, wavelength_nm, jy, noise_jy=1e-7, seed=0):
    """A band with four stars of known f_nu in Jy, in counts of a sensitivity that differs by band; the sky too."""
    flam = 1e-19 * (wavelength_nm / 500) ** 3
    jy_per_count = flam * (10 * wavelength_nm) ** 2 * 1e23 / 2.99792458e18
    y, x = np.mgrid[:200, :220]
    data = np.random.default_rng(seed).normal(wavelength_nm / 50, noise_jy / jy_per_count, x.shape)
    for (x0, y0), flux in zip(PLACES, jy, strict=True):
        data += flux / jy_per_count * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 2 / 2.0**2)
    header = wcs_header((200, 220))
    header.update({"BUNIT": "ELECTRONS/S", "PHOTFLAM": flam, "PHOTPLAM": 10 * wavelength_nm, "EXPTIME": 100.0})
    fits.PrimaryHDU(data.astype(np.float32), header).writeto(path, overwrite=True)
    return read_science_images(path, 10**7)


PLACES = [(60, 60), (110, 60), (160, 60), (110, 140)]
RED, FLAT, BLUE = (4e-5, 2e-5, 1e-5), (2e-5, 2e-5, 2e-5), (1e-5, 2e-5, 4e-5)
SPECTRA = np.array([RED, FLAT, BLUE, FLAT]).T


@pytest.fixture(scope="module")
def calibrated(folder):
    bands = zip((814, 606, 435), SPECTRA, strict=True)
    return [write_band(folder / f"{nm}.fits", nm, jy, seed=nm) for nm, jy in bands]


def levels_at(tile, place):
    x, y = place
    return rgb_of(tile).astype(int)[y - tile.y0, x - tile.x0]


def in_total(image, exposure_s):
    """The image in electrons of the whole exposure."""
    return replace(image, data_yx=image.data_yx * np.float32(exposure_s), unit="ELECTRONS", exposure_s=exposure_s)


@pytest.mark.parametrize("exposures_s", [None, (100.0, 900.0, 300.0)], ids=["rates", "totals"])
def test_sources_of_known_spectrum_have_its_colour(calibrated, exposures_s):
    if exposures_s:
        calibrated = [[in_total(*one)] for one in zip((band for (band,) in calibrated), exposures_s, strict=True)]
    (tile,) = cut_colour(calibrated, SHAS, SETTINGS).tiles
    red, flat, blue = (levels_at(tile, place) for place in PLACES[:3])
    assert np.ptp(flat) <= 6
    np.testing.assert_allclose(red / red.max(), np.array(RED) / max(RED), atol=0.06)
    np.testing.assert_allclose(blue / blue.max(), np.array(BLUE) / max(BLUE), atol=0.06)


def test_a_sharp_star_between_the_pixels_of_the_other_bands_stays_white(tmp_path):
    shifts, places = ((0.5, 0.5), (0.0, 0.0), (-0.5, 0.5)), [(60, 60), (110, 140)]
    sharp = {"stars": dict.fromkeys(places, 400), "width_arcsec": 0.0375}
    parts = [write(tmp_path / f"{k}.fits", 30.0, **sharp, shift_xy=shift) for k, shift in enumerate(shifts)]
    (tile,) = cut_colour(parts, SHAS, SETTINGS).tiles
    peaks = np.array([levels_at(tile, place) for place in places])
    assert peaks.min() >= 0.85 * peaks.max()


def test_a_noisy_band_does_not_tint_the_sky(tmp_path):
    noises = (1e-7, 1e-7, 1e-6)
    bands = zip((814, 606, 435), SPECTRA, noises, strict=True)
    parts = [write_band(tmp_path / f"{nm}.fits", nm, jy, noise, seed=nm) for nm, jy, noise in bands]
    (tile,) = cut_colour(parts, SHAS, SETTINGS).tiles
    sky = rgb_of(tile)[:30, :30].reshape(-1, 3).astype(float)
    assert np.ptp(np.median(sky, axis=0)) <= 4


def test_bands_of_which_only_some_are_calibrated_make_no_tile(calibrated):
    raw = [[replace(band[0], flux_density=None, chip=2)] for band in calibrated]
    for band in range(3):
        with pytest.raises(ImageError, match="no_flux_scale"):
            cut_colour([*calibrated[:band], raw[band], *calibrated[band + 1 :]], SHAS, SETTINGS)
    red, green, blue = calibrated  # those of red and blue have the scale of their first image
    assert len(cut_colour([red + raw[0], raw[1] + green, blue + raw[2]], SHAS, SETTINGS).tiles) == 1


def prepared(image, sky, white, noise, softening=3.0):
    """The image with this stretch and all pixels good."""
    limits = Stretch(kind="asinh", black=sky, white=white, softening=softening, sky=sky, noise=noise)
    return PreparedImage(image, np.ones(image.data_yx.shape, bool), limits)


@pytest.mark.parametrize(
    ("unit", "exposure_s", "seconds"),
    [
        ("ELECTRONS/S", 100.0, 1),
        ("counts / sec", 100.0, 1),
        ("DN/SECOND", 100.0, 1),
        ("CPS", 100.0, 1),
        ("ELECTRONS", 100.0, 100),
        ("DN", None, 1),
    ],
)
def test_a_value_is_a_flux_per_square_arcsecond_and_per_second(calibrated, unit, exposure_s, seconds):
    image = replace(calibrated[0][0], unit=unit, exposure_s=exposure_s)
    found = rgb._flux_per_unit(prepared(image, 0, 1, 1))
    assert found == pytest.approx(image.flux_density / seconds / 0.05**2, rel=1e-4)


def test_a_pixel_is_taken_from_the_first_source_that_has_a_value(parts):
    image = replace(parts[1][0], data_yx=np.full((40, 50), 12.0, np.float32), valid_yx=np.ones((40, 50), bool))
    first, second = prepared(image, 2, 50, 1), prepared(replace(image, data_yx=image.data_yx + 8), 2, 50, 1)
    first.good_yx[:, :20], second.good_yx[30:] = False, False
    expected = np.full((40, 50), 10.0)
    expected[:, :18] = 18.0  # the two columns beside the good ones are repaired
    expected[32:, :18] = np.nan
    found = rgb._align([first, second], first)
    for part in np.s_[:28, :16], np.s_[:, 22:], np.s_[34:, :16]:
        np.testing.assert_allclose(found[part], expected[part], atol=1e-3)
    moved = replace(first, image=replace(image, wcs=image.wcs.deepcopy()))
    moved.image.wcs.wcs.crpix += [0.25, 0]  # the nearest pixel is the same
    starts = [np.isfinite(part_yx[20]).argmax() for part_yx in (rgb._above_sky(moved), rgb._align([moved], first))]
    assert starts[0] == starts[1]


def test_grey_is_curved_and_rounded_to_the_nearest_level():
    heights = np.linspace(0, 1, 200, dtype=np.float32)
    levels = blend(np.repeat(heights[None, :, None], 3, axis=-1), 0.1)[0]
    exact = 255 * np.arcsinh(heights / 0.1) / np.arcsinh(10)
    assert np.abs(levels - exact[:, None]).max() <= 0.501


def test_a_negative_colour_counts_as_none_in_the_mean_too():
    heights_yxc = np.array([[[0.5, -0.4, 0.1], [-0.5, 0.3, 0.1], [-0.1, -0.2, -0.3]]], np.float32)
    np.testing.assert_array_equal(blend(heights_yxc, 0.05), blend(np.maximum(heights_yxc, 0), 0.05))
