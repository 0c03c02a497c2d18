"""Cutana in an environment of its own: cut-outs of the grid of an image, in one process, without writing them."""

from __future__ import annotations

import pandas as pd
from astropy.io import fits
from astropy.wcs import WCS
from cutana import get_default_config
from cutana.direct_cutout import create_cutouts_direct
from jobs import serve


def cutana(paths: list[str], out: str, size_px: int) -> int:
    """Cut each square of the grid of the first file; return the number of cut-outs."""
    header = fits.getheader(paths[0], "SCI")
    wcs, rows = WCS(header), []
    for y in range(0, header["NAXIS2"] - size_px + 1, size_px):
        for x in range(0, header["NAXIS1"] - size_px + 1, size_px):
            ra_deg, dec_deg = wcs.all_pix2world(x + size_px / 2, y + size_px / 2, 0)
            rows.append({"SourceID": f"{y} {x}", "RA": float(ra_deg), "Dec": float(dec_deg)})
    sources = pd.DataFrame(rows).assign(diameter_pixel=size_px, fits_file_paths=str([paths[0]]))
    config = get_default_config()
    config.output_dir, config.target_resolution, config.data_type = out, size_px, "uint8"
    config.normalisation_method, config.apply_flux_conversion = "asinh", False
    config.fits_extensions, config.selected_extensions = ["SCI"], [{"name": "SCI", "ext": "SCI"}]
    config.channel_weights = {"SCI": [1.0]}
    return sum(len(batch["cutouts"]) for batch in create_cutouts_direct(sources, config, max_workers=1))


if __name__ == "__main__":
    serve({"cutana": cutana})
