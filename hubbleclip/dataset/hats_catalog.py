"""Catalogue of the sky positions of a dataset's tiles in the format HATS, which LSDB and hats read.

HATS (https://www.ivoa.net/documents/Notes/HATS/) is a folder of Parquet files, one per HEALPix pixel. The column
`_healpix_29` contains the nested HEALPix pixel of order 29 as a signed 64-bit integer; the rows are sorted by it.
"""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from astropy_healpix import HEALPix

from hubbleclip.core.io import write_bytes
from hubbleclip.dataset.manifest import write_table

ORDER = 29  # the highest order whose pixel numbers fit in a signed 64-bit integer; a pixel is 0.4 milliarcseconds wide
COLUMN = f"_healpix_{ORDER}"
COLUMNS = ("tile_id", "split", "proposal_id", "target_name", "instrument", "filter", "shard", "offset", "length")
MAX_ROWS = 1_000_000
"""Maximum number of rows of a Parquet file.

A file has more only if a single HEALPix pixel of order `MAX_PARTITION_ORDER`, which is not split further, contains more
tiles.
"""
MAX_PARTITION_ORDER = 10
PIXELS_PER_DIR = 10_000
BASE_PIXELS = 12
VERSION = "v1.0"


def sky_index(manifest: pa.Table) -> pa.Table:
    """Make a table of the tiles that have a position, with the HEALPix pixel of each, sorted by pixel and tile id."""
    columns = manifest.select(["ra_deg", "dec_deg", *COLUMNS])
    index = columns.filter(pc.field("ra_deg").is_valid() & pc.field("dec_deg").is_valid())
    ra_deg, dec_deg = (index[name].to_numpy() for name in ("ra_deg", "dec_deg"))
    pixels = HEALPix(nside=2**ORDER, order="nested").lonlat_to_healpix(ra_deg * u.deg, dec_deg * u.deg)
    index = index.add_column(0, pa.field(COLUMN, pa.int64(), nullable=False), [np.asarray(pixels, np.int64)])
    return index.replace_schema_metadata(None).sort_by([(COLUMN, "ascending"), ("tile_id", "ascending")])


def write_hats_catalog(folder: Path, index: pa.Table, name: str) -> None:
    """Write an index as a HATS catalogue. The files are durable only after `sync_files` was called for them."""
    pixels_n = index[COLUMN].to_numpy()
    order = _partition_order(pixels_n)
    npix, first = np.unique(_at_order(pixels_n, order), return_index=True)
    written: list[pq.FileMetaData] = []
    for pixel, start, end in zip(npix.tolist(), first, [*first[1:], len(pixels_n)], strict=True):
        path = f"Norder={order}/Dir={pixel // PIXELS_PER_DIR * PIXELS_PER_DIR}/Npix={pixel}.parquet"
        write_table(folder / "dataset" / path, index.slice(start, end - start))
        metadata = pq.read_metadata(folder / "dataset" / path)
        metadata.set_file_path(path)
        written.append(metadata)
    pq.write_metadata(index.schema, folder / "dataset/_common_metadata")
    pq.write_metadata(index.schema, folder / "dataset/_metadata", metadata_collector=written)
    lines = ["Norder,Npix", *(f"{order},{pixel}" for pixel in npix)]
    properties = {
        "obs_collection": name,
        "dataproduct_type": "object",
        "hats_nrows": index.num_rows,
        "hats_col_ra": "ra_deg",
        "hats_col_dec": "dec_deg",
        "hats_col_healpix": COLUMN,
        "hats_col_healpix_order": ORDER,
        "hats_npix_suffix": ".parquet",
        "hats_order": order,
        "hats_version": VERSION,
        "moc_sky_fraction": len(npix) / (BASE_PIXELS * 4**order),
    }
    for file, content in (
        ("partition_info.csv", lines),
        ("hats.properties", [f"{key}={value}" for key, value in properties.items()]),
    ):
        write_bytes(folder / file, "".join(f"{line}\n" for line in content).encode(), is_synced=False)


def _at_order(pixels_n: np.ndarray, order: int) -> np.ndarray:
    """Return, for each pixel of `ORDER`, the pixel of a lower order that contains it."""
    return pixels_n >> 2 * (ORDER - order)


def _partition_order(pixels_n: np.ndarray) -> int:
    """Return the lowest order at which no pixel contains more than `MAX_ROWS` rows; at most `MAX_PARTITION_ORDER`."""
    orders = range(MAX_PARTITION_ORDER)
    is_fine = (np.unique(_at_order(pixels_n, order), return_counts=True)[1].max() <= MAX_ROWS for order in orders)
    return next((order for order, fine in zip(orders, is_fine, strict=True) if fine), MAX_PARTITION_ORDER)
