"""Positions of a dataset's tiles on the sky, in the form that tools for large surveys read.

The column `_healpix_29` and the order of the rows are those of HATS catalogues (IVOA note "HATS", the format of LSDB):
the nested HEALPix pixel of order 29 as a signed 64-bit integer, so that any region is a few runs of rows.
"""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy_healpix import HEALPix

ORDER = 29  # the deepest order whose pixel number fits in 64 bits with a sign: cells of 0.4 milliarcseconds
COLUMN = f"_healpix_{ORDER}"
COLUMNS = ("tile_id", "split", "proposal_id", "target_name", "instrument", "filter", "shard", "offset", "length")


def sky_index(manifest: pa.Table) -> pa.Table:
    """Index the tiles of a dataset by position.

    Parameters
    ----------
    manifest
        Positions are `ra_deg` and `dec_deg` (ICRS).

    Returns
    -------
    pa.Table
        One row per tile that has a position, sorted by HEALPix pixel, then by tile id.

    """
    columns = manifest.select(["ra_deg", "dec_deg", *COLUMNS])
    index = columns.filter(pc.field("ra_deg").is_valid() & pc.field("dec_deg").is_valid())
    ra_deg, dec_deg = (index[name].to_numpy() for name in ("ra_deg", "dec_deg"))
    pixels = HEALPix(nside=2**ORDER, order="nested").lonlat_to_healpix(ra_deg * u.deg, dec_deg * u.deg)
    index = index.add_column(0, pa.field(COLUMN, pa.int64(), nullable=False), [np.asarray(pixels, np.int64)])
    return index.sort_by([(COLUMN, "ascending"), ("tile_id", "ascending")])
