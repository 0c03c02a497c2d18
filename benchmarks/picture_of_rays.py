"""Draw docs/tiles-rays.jpg: simulated exposures as they are, and without the cosmic rays that were found.

`python -m benchmarks.picture_of_rays`, where the PSFs of Tiny Tim are.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from benchmarks import simulated_rays as simulated
from benchmarks.bench_pixels import CROWD, SCENES, find_ours
from benchmarks.measure import ROOT
from hubbleclip.config.tiles import TileSettings
from hubbleclip.images.bad_pixels import repair_rows
from hubbleclip.images.stretch import apply_stretch, fit_stretch
from hubbleclip.pipeline.tiles.contact_sheet import render_sheet

SHOWN = ("nebula of 300 e", "core of a galaxy", CROWD)
SIDE_PX, CELL_PX = 300, 300


def main() -> None:
    """Draw each scene before and after the rejection, with one stretch."""
    camera, rng = simulated.CAMERAS[0], np.random.default_rng(4)
    tiles, labels = [], []
    for scene in SHOWN:
        light_yx, valid_yx = np.zeros((SIDE_PX, SIDE_PX)), np.ones((SIDE_PX, SIDE_PX), np.bool_)
        SCENES[scene](light_yx, camera, rng)
        data_yx = simulated.expose(light_yx, simulated.draw_rays(light_yx.shape, rng), camera, rng)
        good_yx = ~find_ours(data_yx, valid_yx, camera)
        stretch = fit_stretch(data_yx, good_yx, TileSettings())
        for mask_yx, label in ((valid_yx, "as exposed"), (good_yx, "rays rejected")):
            levels_yx = apply_stretch(*repair_rows(data_yx, mask_yx, 0, SIDE_PX), stretch)
            tiles.append(Image.fromarray(np.ascontiguousarray(levels_yx)))
            labels.append(f"{scene}, {label}")
    by_row = [*range(0, len(tiles), 2), *range(1, len(tiles), 2)]
    sheet = render_sheet([tiles[k] for k in by_row], [labels[k] for k in by_row], len(SHOWN), CELL_PX)
    sheet.save(ROOT / "docs/tiles-rays.jpg", quality=85)


if __name__ == "__main__":
    main()
