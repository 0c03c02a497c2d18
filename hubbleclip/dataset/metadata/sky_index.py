"""Table of the sky positions of a dataset's tiles, in a format that tools for large surveys read.

The table follows the HATS format (IVOA note "HATS"), which the library LSDB reads. The column `_healpix_29` contains
the nested HEALPix pixel of order 29 as a signed 64-bit integer. The rows are sorted by this column, so that the tiles
of any region of the sky are in a few contiguous blocks of rows.
"""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy_healpix import HEALPix

ORDER = 29  # the highest order whose pixel numbers fit in a signed 64-bit integer; a pixel is 0.4 milliarcseconds wide
COLUMN = f"_healpix_{ORDER}"
COLUMNS = ("tile_id", "split", "proposal_id", "target_name", "instrument", "filter", "shard", "offset", "length")


def sky_index(manifest: pa.Table) -> pa.Table:
    """Index the tiles of a dataset by their positions on the sky.

    Parameters
    ----------
    manifest
        Manifest of the dataset; the positions are read from the columns `ra_deg` and `dec_deg` (ICRS, degrees).

    Returns
    -------
    pa.Table
        One row per tile that has a position, sorted by HEALPix pixel and then by tile id.

    """
    columns = manifest.select(["ra_deg", "dec_deg", *COLUMNS])
    index = columns.filter(pc.field("ra_deg").is_valid() & pc.field("dec_deg").is_valid())
    ra_deg, dec_deg = (index[name].to_numpy() for name in ("ra_deg", "dec_deg"))
    pixels = HEALPix(nside=2**ORDER, order="nested").lonlat_to_healpix(ra_deg * u.deg, dec_deg * u.deg)
    index = index.add_column(0, pa.field(COLUMN, pa.int64(), nullable=False), [np.asarray(pixels, np.int64)])
    return index.sort_by([(COLUMN, "ascending"), ("tile_id", "ascending")])
