"""Short makers of images and their parts for the calls in `images.json`."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.wcs import WCS, NoConvergence

from hubbleclip.config.tiles import TileSettings
from hubbleclip.images.kernels import discard_stale_cache
from hubbleclip.images.normalize import PreparedImage
from hubbleclip.images.reader import ScienceImage
from hubbleclip.images.stretch import Stretch
from hubbleclip.images.tiling import VIEWS, TilePlacement


def image(data_yx: npt.ArrayLike | None = None, **changes: Any) -> ScienceImage:
    values = {"valid_yx": None, "chip": 0, "data_yx": None if data_yx is None else np.asarray(data_yx, np.float32)}
    return ScienceImage(**values | changes)


def stretch(**changes: Any) -> Stretch:
    """A stretch from 0 to 1 on a sky of 0 with noise 1."""
    return Stretch(**{"kind": "linear", "black": 0, "white": 1, "softening": 1, "sky": 0, "noise": 1} | changes)


def prepared(
    data_yx: npt.ArrayLike, good_yx: Any = None, scale: Stretch | None = None, **changes: Any
) -> PreparedImage:
    """A prepared image, all of whose pixels are good unless `good_yx` is given."""
    parts = {name: changes.pop(name) for name in ("rays", "cores") if name in changes}
    good_yx = np.ones(np.shape(data_yx), bool) if good_yx is None else good_yx
    return PreparedImage(image(data_yx, **changes), good_yx, scale or stretch(), **parts)


def tan(**cards: Any) -> WCS:
    return WCS({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"} | cards)


def noisy_sky(added: dict[int, float], width: int = 32) -> npt.NDArray[np.float32]:
    """A sky of 9 with noise 1 and 32 rows, and values that are added at indices of the flattened image."""
    data_yx = np.random.default_rng(1).normal(9, 1, (32, width)).astype(np.float32)
    data_yx.ravel()[list(added)] += np.float32(list(added.values()))
    return data_yx


def placement(view: str, start_yx: tuple[int, int] = (0, 0), shrink: float = 1.0) -> TilePlacement:
    return TilePlacement(view=view, start_yx=start_yx, size_px=4, geometry=None, shrink=shrink)


def planned(view: str, found: PreparedImage, **settings: Any) -> list[TilePlacement]:
    """Placements of a view; tiles have 64 pixels a side."""
    return [*VIEWS[view](found, TileSettings(**{"size_px": 64, "min_side_px": 8, **settings}))[1]]


def fits_file(folder: Path, data_yx: npt.ArrayLike, **cards: Any) -> Path:
    fits.writeto(folder / "a.fits", np.asarray(data_yx), fits.Header(cards), overwrite=True)
    return folder / "a.fits"


def kept(folder: Path, name: str, text: str, time_s: int) -> bool:
    """Whether the machine code of a folder is kept after a file there has got this text and time."""
    (folder / "__pycache__").mkdir(exist_ok=True)
    (folder / "__pycache__/a.nbi").touch()
    (folder / name).write_text(text)
    os.utime(folder / name, (time_s, time_s))
    discard_stale_cache(folder)
    return (folder / "__pycache__/a.nbi").exists()


TABLES = ("cpdis1", "cpdis2", "det2im1", "det2im2")


class ShiftedWCS:
    """A WCS whose table shifts a pixel by a tenth of its place, and that converges for at most `most` pixels at once."""

    def __init__(self, most: int, table: str | None = "cpdis1") -> None:
        self.most, self.table = most, table
        vars(self).update({name: name == table or None for name in TABLES})

    def deepcopy(self) -> "ShiftedWCS":
        return ShiftedWCS(self.most, self.table)

    def all_pix2world(self, points_xy: Any, _: int) -> Any:
        return points_xy

    def all_world2pix(self, points_xy: Any, _: int) -> Any:
        if len(points_xy) > self.most:
            raise NoConvergence("no solution")
        return points_xy if any(vars(self)[name] for name in TABLES) else 0.9 * points_xy
