"""Compare the tiles of many kinds of files with recorded ones: bytes, positions, stretch and rejections.

Of JPEG and colour tiles, whose pixels depend on the versions of libraries, the means of blocks are compared.
"""

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image
from synthetic_fits import starry_sky, wcs_header, with_sip, write_drz

from hubbleclip.config.tiles import TileSettings
from hubbleclip.core.errors import ImageError
from hubbleclip.core.io import sha256_bytes
from hubbleclip.images.reader import read_science_images
from hubbleclip.images.rgb import cut_colour
from hubbleclip.images.tiling import CutTile, TileRejection, tile_file
from hubbleclip.images.wcs import PLANE_COLUMNS

SETTINGS = TileSettings(size_px=128, min_side_px=32, views=("native", "overview", "aim"))
SHA = "ab" * 32
BLOCKS = 4


def hit_by_rays(data_yx: np.ndarray, seed: int) -> np.ndarray:
    """Add short tracks of cosmic rays to an image."""
    rng, hit_yx = np.random.default_rng(seed), data_yx.copy()
    for y, x in rng.integers(8, np.array(data_yx.shape) - 8, (data_yx.size // 900, 2)):
        for step in range(rng.integers(1, 6)):
            hit_yx[y + step * (x % 2), x + step] += np.float32(rng.integers(30, 2000))
    return hit_yx


def nebula(shape_yx: tuple[int, int]) -> np.ndarray:
    """Draw a nebula that fills the whole image."""
    y, x = np.indices(shape_yx, dtype=np.float64)
    return (starry_sky(shape_yx, 8) + 400 / (1 + ((y - 140) / 70) ** 2 + ((x - 120) / 90) ** 2)).astype(np.float32)


def drizzled(folder: Path) -> Path:
    """Empty corners, an edge of zeros, weights, saturated and missing pixels; the width is no multiple of 8."""
    data, weight = starry_sky((301, 283)), np.ones((301, 283), np.float32)
    data[:40, :60], data[-9:], data[100:103, 50:52], data[200:210, 90:95] = np.nan, 0, np.inf, 60_000
    weight[:, -30:-20] = 0
    aims = {"RA_TARG": 150.1005, "DEC_TARG": 2.1998}
    return write_drz(folder / "a_drz.fits", data, primary=aims, WHT=weight)


def exposure(folder: Path) -> Path:
    """Two chips of an exposure of ACS with cosmic rays, data quality, distortion and lookup tables of the WCS."""
    primary = {
        "TELESCOP": "HST",
        "INSTRUME": "ACS",
        "DETECTOR": "WFC",
        "FILTER1": "F814W",
        "FILTER2": "CLEAR2L",
        "EXPTIME": 400.0,
        "TARGNAME": "M-1",
        "CCDGAIN": 2.0,
    }
    hdus = [fits.PrimaryHDU(header=fits.Header(primary))]
    for chip in (1, 2):
        rng, shape = np.random.default_rng(chip), (263, 275)
        header = with_sip(wcs_header(shape, roll_deg=30.0 * chip))
        header["BUNIT"] = "ELECTRONS"
        for axis in (1, 2):
            header[f"CPDIS{axis}"], header[f"DP{axis}"] = "Lookup", f"EXTVER: {axis}"
            header.append(fits.Card.fromstring(f"DP{axis}     = 'NAXES: 2'"))
            for number in (1, 2):
                header.append(fits.Card.fromstring(f"DP{axis}     = 'AXIS.{number}: {number}'"))
        quality = np.where(rng.random(shape) < 0.01, 16, 0).astype(np.int16)
        quality[:, 77] |= 4
        quality[30:60, 30:60] |= 256
        hdus += [
            fits.ImageHDU(hit_by_rays(starry_sky(shape, chip), chip), header, name="SCI", ver=chip),
            fits.ImageHDU(quality, name="DQ", ver=chip),
        ]
    for axis in (1, 2):
        table = fits.ImageHDU(np.full((6, 6), 0.4 * axis, np.float32), name="WCSDVARR", ver=axis)
        table.header.update(
            {"CRPIX1": 1.0, "CRPIX2": 1.0, "CRVAL1": 1.0, "CRVAL2": 1.0, "CDELT1": 60.0, "CDELT2": 60.0}
        )
        hdus.append(table)
    fits.HDUList(hdus).writeto(folder / "b_flc.fits")
    return folder / "b_flc.fits"


def cube(folder: Path) -> Path:
    """Write a WFPC2 file: a cube of four chips, and a table with the WCS of each chip."""
    primary = {"TELESCOP": "HST", "INSTRUME": "WFPC2", "FILTNAM1": "F555W", "EXPTIME": 300.0, "ATODGAIN": 7.0}
    header = wcs_header((161, 163))
    header.update(primary | {"BUNIT": "COUNTS"})
    data = np.stack([starry_sky((161, 163), 20 + plane) for plane in range(4)])
    rows = [dict(wcs_header((161, 163), roll_deg=90.0 * plane)) for plane in range(4)]
    columns = [
        fits.Column(name, "D", array=[row[name] + 0.01 * plane * (name == "CRVAL2") for plane, row in enumerate(rows)])
        for name in PLANE_COLUMNS
    ]
    fits.HDUList([fits.PrimaryHDU(data, header), fits.BinTableHDU.from_columns(columns)]).writeto(folder / "c_c0f.fits")
    return folder / "c_c0f.fits"


def photon_counter(folder: Path) -> Path:
    """Whole numbers, mostly zeros, also at the edge."""
    counts = np.random.default_rng(4).poisson(np.maximum(starry_sky((200, 210), 5) - 4.8, 0.05)).astype(np.float32)
    return write_drz(folder / "d_drz.fits", counts, instrument=("ACS", "SBC"), primary={"FILTER1": "F140LP"})


def scaled_integers(folder: Path) -> Path:
    header = wcs_header((180, 190))
    header.update(
        {
            "BSCALE": 0.5,
            "BZERO": 100.0,
            "BLANK": -32768,
            "TELESCOP": "HST",
            "INSTRUME": "NICMOS",
            "CAMERA": 2,
            "FILTER": "F160W",
            "EXPTIME": 50.0,
        }
    )
    stored = np.rint(starry_sky((180, 190), 6) * 8).clip(-300, 30_000).astype(np.int16)
    stored[20:50, 100:140] = -32768
    hdu = fits.PrimaryHDU(stored)
    hdu.header.update(header)
    hdu.header["BSCALE"], hdu.header["BZERO"], hdu.header["BLANK"] = 0.5, 100.0, -32768
    hdu.writeto(folder / "e.fits")
    return folder / "e.fits"


def compressed(folder: Path) -> Path:
    header = wcs_header((200, 180))
    header.update({"TELESCOP": "HST", "INSTRUME": "WFC3", "DETECTOR": "IR", "FILTER": "F160W", "EXPTIME": 90.0})
    whole = np.rint(starry_sky((200, 180), 7) * 10).astype(np.int32)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(whole, header, name="SCI")]).writeto(folder / "f.fits")
    return folder / "f.fits"


def gap_between_chips(folder: Path) -> Path:
    """A frame whose gap, a slanted band, is filled with zeros; packed by gzip."""
    data = starry_sky((240, 250), 9)
    y, x = np.indices(data.shape)
    data[np.abs(x - 120 - y // 6) < 12] = 0
    path = write_drz(folder / "g_drz.fits", data)
    packed = folder / "g_drz.fits.gz"
    packed.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    return packed


def small_object(folder: Path) -> Path:
    data = np.random.default_rng(3).normal(5, 1, (120, 124)).astype(np.float32)
    data[50:72, 60:79] += 300
    return write_drz(folder / "h_drz.fits", data)


def preview(folder: Path) -> Path:
    levels = np.clip(18 * np.arcsinh(starry_sky((420, 460), 11) - 3), 0, 255).astype(np.uint8)
    levels[:80, :80] = 255
    Image.fromarray(levels).save(folder / "i.jpg", "JPEG", quality=95)
    return folder / "i.jpg"


CASES: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "drizzled": (drizzled, {}),
    "drizzled, overlapping tiles": (drizzled, {"overlap_px": 20, "views": ("native",)}),
    "drizzled, wide steps": (drizzled, {"stride_px": 160, "views": ("native",)}),
    "drizzled, linear": (drizzled, {"stretch": "linear", "white_quantile": 0.99}),
    "drizzled, zscale": (drizzled, {"stretch": "zscale"}),
    "drizzled, fluxes": (drizzled, {"limits": "flux", "softening_sigma": 2.0}),
    "drizzled, strict": (drizzled, {"min_valid_share": 0.95}),
    "exposure": (exposure, {}),
    "exposure, fluxes": (exposure, {"limits": "flux"}),
    "cube": (cube, {}),
    "cube, fluxes": (cube, {"limits": "flux"}),
    "photon counter": (photon_counter, {}),
    "scaled integers": (scaled_integers, {}),
    "compressed": (compressed, {}),
    "gap between chips": (gap_between_chips, {}),
    "small object": (small_object, {"object_scale": True}),
    "nebula": (lambda folder: write_drz(folder / "n_drz.fits", nebula((290, 270))), {}),
    "too small": (lambda folder: write_drz(folder / "s_drz.fits", starry_sky((40, 31 + 60), 2)), {"min_side_px": 41}),
    "JPEG tiles": (drizzled, {"format": "jpeg", "views": ("overview",)}),
    "preview": (preview, {"mask_white_border": True}),
    "preview, overview only": (preview, {"views": ("overview",)}),
}


def block_means(encoded: bytes) -> list[float]:
    levels = np.array(Image.open(io.BytesIO(encoded)), np.float64)
    rows = np.array_split(levels, BLOCKS)
    return [round(float(part.mean()), 2) for row in rows for part in np.array_split(row, BLOCKS, axis=1)]


def numbers_of(tile: CutTile) -> list[float]:
    """Place on the sky, cards of the WCS, and the stretch in units of the noise."""
    place, stretch = tile.geometry, tile.stretch
    found = [tile.valid_share, tile.shrink, stretch.noise]
    found += [(level - stretch.sky) / stretch.noise for level in (stretch.black, stretch.white)]
    found += [stretch.softening / stretch.noise]
    if place is not None:
        header = fits.Header.fromstring(place.wcs, sep="\n")
        found += [place.ra_deg, place.dec_deg, *place.corners_deg, place.pixel_scale_arcsec]
        found += [header[key] for key in sorted(header) if isinstance(header[key], float)]
    return [float(number) for number in found]


def test_tiles_are_those_recorded(tmp_path: Path, compare_recorded) -> None:
    words: dict[str, Any] = {}
    numbers: dict[str, list[float]] = {}
    for name, (write, changes) in CASES.items():
        folder = tmp_path / name
        folder.mkdir()
        settings = SETTINGS.model_copy(update=changes)
        try:
            cut = tile_file(write(folder), SHA, settings)
        except ImageError as error:
            words[name] = ["ImageError", str(error)]
            continue
        words[f"{name}: rejected"] = [_words_of(one) for one in cut.rejections]
        for number, tile in enumerate(cut.tiles):
            key = f"{name} {number}"
            is_exact = tile.suffix == ".png" and not name.startswith("preview")
            words[key] = [
                tile.view,
                tile.chip,
                tile.y0,
                tile.x0,
                tile.size_px,
                tile.instrument,
                tile.filter,
                tile.unit,
                tile.note,
                tile.stretch.kind,
                tile.tile_id,
                sha256_bytes(tile.encoded)[:16] * is_exact,
            ]
            numbers[key] = numbers_of(tile)
            numbers[f"{key} means of blocks"] = block_means(tile.encoded)
    compare_recorded("tiles.json", words)
    compare_recorded("tiles_numbers.json", numbers, tolerance=1e-5)


def _words_of(rejection: TileRejection) -> str:
    return f"{rejection.entity_id.removeprefix(SHA)} {rejection.reason} {rejection.detail}"


def test_colour_tiles_are_those_recorded(tmp_path: Path, compare_recorded) -> None:
    pytest.importorskip("reproject")
    parts = []
    for number, (roll_deg, shape) in enumerate(((75.0, (200, 220)), (30.0, (100, 220)), (10.0, (240, 260)))):
        header = wcs_header(shape, roll_deg=roll_deg)
        data = starry_sky(shape, 30 + number)
        data[:, : 20 * number] = np.nan
        fits.PrimaryHDU(data * (1 + number), header).writeto(tmp_path / f"{number}.fits")
        parts.append(read_science_images(tmp_path / f"{number}.fits", 10**7))
    settings = SETTINGS.model_copy(update={"views": ("native",), "colour": True})
    cut = cut_colour(parts, ["aa" * 32, "bb" * 32, "cc" * 32], settings)
    found = {}
    for number, tile in enumerate(cut.tiles):
        levels = np.array(Image.open(io.BytesIO(tile.encoded)), np.float64)
        found[f"{number}"] = numbers_of(tile)
        for band, colour in enumerate(("red", "green", "blue")):
            rows = np.array_split(levels[:, :, band], BLOCKS)
            found[f"{number} {colour}"] = [
                float(part.mean()) for row in rows for part in np.array_split(row, BLOCKS, 1)
            ]
    compare_recorded("colour_tiles.json", found, tolerance=1e-3)
    assert found
