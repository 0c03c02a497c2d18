"""Catalogue of the sky positions of a dataset's tiles in the format HATS, which LSDB and hats read.

HATS (https://www.ivoa.net/documents/Notes/HATS/) is a folder of Parquet files, one per HEALPix pixel. The column
`_healpix_29` contains the nested HEALPix pixel of order 29 as a signed 64-bit integer; the rows are sorted by it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import astropy.units as u
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from astropy_healpix import HEALPix

from hubbleclip.core.errors import DatasetError
from hubbleclip.core.io import write_bytes
from hubbleclip.dataset.manifest import DatasetInfo, write_table
from hubbleclip.dataset.storage import open_storage

ORDER = 29  # the highest order whose pixel numbers fit in a signed 64-bit integer; a pixel is 0.4 milliarcseconds wide
COLUMN = f"_healpix_{ORDER}"
COLUMNS = ("tile_id", "split", "proposal_id", "target_name", "instrument", "filter", "shard", "offset", "length")
MAX_ROWS = 1_000_000
"""Maximum number of rows of a Parquet file.

A file has more rows only if a single HEALPix pixel of order `MAX_PARTITION_ORDER` contains more tiles, because pixels
of this order are not split.
"""
MAX_PARTITION_ORDER = 14
PICTURES_BYTES = 256 * 2**20
Complete = Callable[[pa.Table], pa.Table]
PIXELS_PER_DIR = 10_000
BASE_PIXELS = 12
VERSION = "v1.0"


def sky_index(manifest: pa.Table) -> pa.Table:
    """Tabulate the tiles that have a sky position, and their HEALPix pixels, sorted by pixel and then by tile id."""
    columns = manifest.select(["ra_deg", "dec_deg", *COLUMNS])
    index = columns.filter(pc.field("ra_deg").is_valid() & pc.field("dec_deg").is_valid())
    ra_deg, dec_deg = (index[name].to_numpy() for name in ("ra_deg", "dec_deg"))
    pixels = HEALPix(nside=2**ORDER, order="nested").lonlat_to_healpix(ra_deg * u.deg, dec_deg * u.deg)
    index = index.add_column(0, pa.field(COLUMN, pa.int64(), nullable=False), [np.asarray(pixels, np.int64)])
    return index.replace_schema_metadata(None).sort_by([(COLUMN, "ascending"), ("tile_id", "ascending")])


def write_hats_catalog(
    folder: Path, index: pa.Table, name: str, *, max_rows: int = MAX_ROWS, complete: Complete = lambda rows: rows
) -> None:
    """Write the table of `sky_index` as a HATS catalogue; the function `complete` adds columns to the rows of a file.

    The files are durable only after `sync_files` was called for them.
    """
    schema = complete(index.slice(0, 0)).schema
    pixels_n = index[COLUMN].to_numpy()
    orders_n = _partition_orders(pixels_n, max_rows)
    partitions_n2 = np.stack([orders_n, pixels_n >> 2 * (ORDER - orders_n)], axis=1)
    first = np.flatnonzero(np.diff(partitions_n2, axis=0, prepend=-1).any(axis=1))
    partitions = partitions_n2[first].tolist()
    written: list[pq.FileMetaData] = []
    for (order, pixel), start, end in zip(partitions, first, [*first[1:], len(pixels_n)], strict=True):
        path = f"Norder={order}/Dir={pixel // PIXELS_PER_DIR * PIXELS_PER_DIR}/Npix={pixel}.parquet"
        write_table(folder / "dataset" / path, complete(index.slice(start, end - start)))
        metadata = pq.read_metadata(folder / "dataset" / path)
        metadata.set_file_path(path)
        written.append(metadata)
    pq.write_metadata(schema, folder / "dataset/_common_metadata")
    pq.write_metadata(schema, folder / "dataset/_metadata", metadata_collector=written)
    lines = ["Norder,Npix", *(f"{order},{pixel}" for order, pixel in partitions)]
    properties = {
        "obs_collection": name,
        "dataproduct_type": "object",
        "hats_nrows": index.num_rows,
        "hats_col_ra": "ra_deg",
        "hats_col_dec": "dec_deg",
        "hats_col_healpix": COLUMN,
        "hats_col_healpix_order": ORDER,
        "hats_npix_suffix": ".parquet",
        "hats_order": int(orders_n.max()),
        "hats_version": VERSION,
        "moc_sky_fraction": sum(1 / (BASE_PIXELS * 4**order) for order, _ in partitions),
    }
    texts = {"partition_info.csv": lines, "hats.properties": [f"{key}={value}" for key, value in properties.items()]}
    for file, content in texts.items():
        write_bytes(folder / file, "".join(f"{line}\n" for line in content).encode(), is_synced=False)


def write_pictures(folder: Path, info: DatasetInfo, name: str) -> None:
    """Write a dataset as a HATS catalogue with images in the column `picture`; a file has at most `PICTURES_BYTES`."""
    index, storage = sky_index(info.manifest), open_storage(info.path)

    def complete(rows: pa.Table) -> pa.Table:
        return rows.append_column("picture", pa.array(storage.read_spans(info.image_spans(rows)), pa.binary()))

    if not index.num_rows:
        raise DatasetError(f"no tile of {info.path} has a position: publish it without --pictures")
    max_rows = max(1, PICTURES_BYTES // pc.max(index["length"]).as_py())
    write_hats_catalog(folder, index, name, max_rows=max_rows, complete=complete)


def _partition_orders(pixels_n: npt.NDArray[np.int64], max_rows: int) -> npt.NDArray[np.int64]:
    """Return for each row the lowest HEALPix order, up to `MAX_PARTITION_ORDER`, at which the row's pixel has at most
    `max_rows` rows.
    """
    orders_n, is_left_n = np.full(len(pixels_n), MAX_PARTITION_ORDER), np.ones(len(pixels_n), np.bool_)
    for order in range(MAX_PARTITION_ORDER):
        _, number_n, num = np.unique(pixels_n >> 2 * (ORDER - order), return_inverse=True, return_counts=True)
        is_now_n = is_left_n & (num[number_n] <= max_rows)
        orders_n[is_now_n] = order
        is_left_n &= ~is_now_n
    return orders_n
