"""Tiles by the fastest existing libraries, in an environment of its own; jobs as in `jobs`.

`shard`: fitsio, fitsbolt's asinh fitted to a sample of pixels, OpenCV's PNG at level 1, webdataset. `astrocut`: its
`img_cut` at the centres of the grid. `fitsbolt`: each square of the grid read by fitsio, stretched by fitsbolt, encoded
by OpenCV. `naive_clean`: the astropy pipeline with astroscrappy's `detect_cosmics` at its default settings.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import fitsbolt
import fitsio
import numpy as np
import tiles as naive
import webdataset
from jobs import serve

NUM_SAMPLED_PIXELS = 100_000


def starts(length: int, size_px: int) -> range:
    """Return the first pixel of each whole tile."""
    return range(0, length - size_px + 1, size_px)


def stretch(images: list[np.ndarray]) -> np.ndarray:
    """Stretch images to uint8."""
    method = fitsbolt.NormalisationMethod.ASINH
    return fitsbolt.normalise_images(
        images,
        normalisation_method=method,
        num_workers=1,
        norm_asinh_scale=[0.1],
        norm_asinh_n_samples=NUM_SAMPLED_PIXELS,
        show_progress=False,
    )


def encode(levels_yx: np.ndarray) -> bytes:
    """Encode as PNG at compression level 1."""
    return cv2.imencode(".png", np.ascontiguousarray(levels_yx), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def images_of(path: str) -> Iterator[fitsio.hdu.ImageHDU]:
    """Yield the SCI extensions of a file."""
    with fitsio.FITS(path) as file:
        yield from (hdu for hdu in file if hdu.get_extname() == "SCI")


def shard(paths: list[str], out: str, size_px: int) -> int:
    """Write tiles of all files into one tar; return their number."""
    num_tiles = 0
    with webdataset.TarWriter(out) as writer:
        for path in paths:
            for hdu in images_of(path):
                levels_yx = np.asarray(stretch([hdu.read()]))[0]
                for y in starts(levels_yx.shape[0], size_px):
                    for x in starts(levels_yx.shape[1], size_px):
                        tile_yx = levels_yx[y : y + size_px, x : x + size_px]
                        writer.write({"__key__": f"{num_tiles:06d}", "png": encode(tile_yx)})
                        num_tiles += 1
    return num_tiles


def fitsbolt_cutouts(paths: list[str], out: str, size_px: int) -> int:
    """Read, stretch and encode each square of the grid separately."""
    num_tiles = 0
    for hdu in images_of(paths[0]):
        height, width = hdu.get_dims()
        for y in starts(height, size_px):
            for x in starts(width, size_px):
                encode(np.asarray(stretch([hdu[y : y + size_px, x : x + size_px]]))[0])
                num_tiles += 1
    return num_tiles


def astrocut_cutouts(paths: list[str], out: str, size_px: int) -> int:
    """Cut each square of the grid with astrocut."""
    from astrocut import img_cut
    from astropy.coordinates import SkyCoord
    from astropy.io import fits
    from astropy.wcs import WCS

    header = fits.getheader(paths[0], "SCI")
    wcs, num_tiles = WCS(header), 0
    with tempfile.TemporaryDirectory() as folder:
        for y in starts(header["NAXIS2"], size_px):
            for x in starts(header["NAXIS1"], size_px):
                ra_deg, dec_deg = wcs.all_pix2world(x + size_px / 2, y + size_px / 2, 0)
                centre = SkyCoord(ra_deg, dec_deg, unit="deg")
                img_cut(paths, centre, size_px, img_format=".png", output_dir=folder, extension=1)
                num_tiles += 1
    return num_tiles


def naive_clean(paths: list[str], out: str, size_px: int) -> int:
    """Run the astropy pipeline with cosmic-ray rejection by astroscrappy."""
    from astroscrappy import detect_cosmics

    def clean(data_yx: np.ndarray) -> np.ndarray:
        return detect_cosmics(data_yx.astype(np.float32))[1]  # it accepts native byte order only

    return naive.write_shard([Path(path) for path in paths], Path(out), size_px, clean)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    serve({"shard": shard, "fitsbolt": fitsbolt_cutouts, "astrocut": astrocut_cutouts, "naive_clean": naive_clean})
