"""Where a dataset's tiles stand on the sky, in the form that tools for large surveys read.

The column `_healpix_29` and the order by it are those of HATS catalogues (IVOA note "HATS", the format of LSDB): the
nested HEALPix pixel of order 29 as a signed 64-bit integer, so that any region is a few runs of rows.
"""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy_healpix import HEALPix

ORDER = 29
COLUMN = f"_healpix_{ORDER}"
COLUMNS = ("tile_id", "split", "proposal_id", "target_name", "instrument", "filter", "shard", "offset", "length")


def sky_index(manifest: pa.Table) -> pa.Table:
    """A row for each tile with a position (ICRS), sorted by its pixel, then by tile id."""
    columns = manifest.select(["ra_deg", "dec_deg", *COLUMNS])
    index = columns.filter(pc.field("ra_deg").is_valid() & pc.field("dec_deg").is_valid())
    ra_deg, dec_deg = (index[name].to_numpy() for name in ("ra_deg", "dec_deg"))
    pixels = HEALPix(nside=2**ORDER, order="nested").lonlat_to_healpix(ra_deg * u.deg, dec_deg * u.deg)
    index = index.add_column(0, pa.field(COLUMN, pa.int64(), nullable=False), [np.asarray(pixels, np.int64)])
    return index.sort_by([(COLUMN, "ascending"), ("tile_id", "ascending")])
