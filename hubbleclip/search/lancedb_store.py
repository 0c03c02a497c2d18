"""The vector store in a LanceDB database, in a folder or an object store, for an index that outgrows a machine.

Without a vector index in LanceDB every search is exact. With one, which only a person makes (see docs/scaling.md),
candidates are approximate, and their scores are exact.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hubbleclip.core.errors import SearchError
from hubbleclip.search.embedded_store import SCORE_DECIMALS, dots
from hubbleclip.search.store import ID_TYPE, Floats, Mask, Rows, Scored, best_rows, check_new_rows, few_rows, unit_query

LISTED_ROWS = 4096
"""Number of admitted rows up to which all of them are read and scored."""
TOLERANCE = 1e-3
"""Difference of LanceDB's distances, which may be computed in float16, from exact ones."""
S3 = "s3://"


class LanceStore:
    """Vector store in a table of a LanceDB database; see `VectorStore`.

    Parameters
    ----------
    url
        Folder or address of the database, such as `s3://bucket/prefix`.
    model_digest
        Digest of the model whose features are stored; the name of the table.

    Raises
    ------
    SearchError
        If LanceDB is not installed, or the database cannot be read.

    """

    def __init__(self, url: str, model_digest: str) -> None:
        try:
            import lancedb  # noqa: PLC0415 - an optional package
        except ModuleNotFoundError as error:
            raise SearchError("index.store = 'lancedb' needs LanceDB: pip install 'hubbleclip[lancedb]'") from error
        self.url = url
        self.model_digest = model_digest
        with _errors_of(url):
            self._database = lancedb.connect(url, storage_options=_options(url))
        self._load()

    def _load(self) -> None:
        """Open the newest version of the table; other versions do not change what this object shows."""
        with _errors_of(self.url):
            self._table = self._newest()
            self._tile_ids, self._num_dims = pa.array([], ID_TYPE), 0
            if self._table is None:
                return
            self._table.checkout(self._table.version)
            found = self._table.search().select(["row", "tile_id"]).to_arrow().sort_by("row")
            self._tile_ids = found["tile_id"].cast(ID_TYPE).combine_chunks()
            self._num_dims = self._table.schema.field("feature").type.list_size
        if not np.array_equal(found["row"].to_numpy(), np.arange(len(found))):
            raise SearchError(f"{self.url} is damaged, rows are missing: delete it and run `hubbleclip index`")

    def _newest(self) -> Any:
        """Open the table; None if it does not exist."""
        names = self._database.list_tables().tables
        return self._database.open_table(self.model_digest) if self.model_digest in names else None

    @property
    def tile_ids(self) -> pa.Array:
        """See `VectorStore`."""
        return self._tile_ids

    def is_current(self) -> bool:
        """See `VectorStore`."""
        with _errors_of(self.url):
            newest = self._newest()
        return bool((newest and newest.version) == (self._table and self._table.version))

    def close(self) -> None:
        """See `VectorStore`."""
        self._table = None

    def append(self, tile_ids: Sequence[str], feat_nd: npt.NDArray[np.floating]) -> None:
        """See `VectorStore`. Only one process may append at a time, as holds for the stage index."""
        if not self.is_current():
            self._load()
        check_new_rows(self._tile_ids, tile_ids, feat_nd, self._num_dims)
        if not tile_ids:
            return
        start, num_dims = len(self._tile_ids), feat_nd.shape[1]
        feature = pa.FixedSizeListArray.from_arrays(pa.array(feat_nd.astype(np.float16).ravel()), num_dims)
        rows = pa.table({"row": np.arange(start, start + len(tile_ids)), "tile_id": list(tile_ids), "feature": feature})
        with _errors_of(self.url):
            table = self._newest()
            if table is None:
                self._database.create_table(self.model_digest, rows)
            else:
                table.add(rows)
        self._load()

    def features(self, rows: Rows | Sequence[int]) -> Floats:
        """See `VectorStore`."""
        row_n = np.asarray(rows, np.int64)
        if not len(row_n):
            return np.empty((0, self._num_dims), np.float32)
        unique_n, position_n = np.unique(row_n, return_inverse=True)
        with _errors_of(self.url):
            found = self._table.take_offsets(unique_n.tolist()).select(["row", "feature"]).to_arrow().sort_by("row")
        if not np.array_equal(found["row"].to_numpy(), unique_n):
            raise SearchError(f"{self.url} is damaged, rows are missing: delete it and run `hubbleclip index`")
        values: npt.NDArray[Any] = found["feature"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return values.astype(np.float32).reshape(-1, self._num_dims)[position_n]

    def scan(self, query_d: npt.NDArray[np.floating], k: int, mask_n: Mask | None = None) -> Scored:
        """See `VectorStore`."""
        num_rows = len(self._tile_ids)
        if not num_rows:
            return Scored(np.empty(0, np.int64), np.empty(0))
        query_d = unit_query(query_d, self._num_dims)
        row_n = few_rows(num_rows, mask_n, max(LISTED_ROWS, k))
        row_n = self._candidates(query_d, k, mask_n) if row_n is None else row_n
        return best_rows(row_n, dots(query_d, self.features(row_n)).round(SCORE_DECIMALS), k)

    def _candidates(self, query_d: Floats, k: int, mask_n: Mask | None) -> Rows:
        """Find the admitted rows that can be among the best `k`: those no farther than the k-th one that is found."""
        num_rows, num_asked = len(self._tile_ids), k
        while True:
            found = self._nearest(query_d, num_asked)
            is_admitted_n = np.ones(len(found), np.bool_) if mask_n is None else mask_n[found["row"].to_numpy()]
            if np.count_nonzero(is_admitted_n) >= k or num_asked >= num_rows:
                break
            num_asked = min(8 * num_asked, num_rows)
        farthest = np.sort(found["_distance"].to_numpy()[is_admitted_n])[:k].max()
        row_n: Rows = self._nearest(query_d, num_rows, farthest + TOLERANCE)["row"].to_numpy()
        return row_n if mask_n is None else row_n[mask_n[row_n]]

    def _nearest(self, query_d: Floats, limit: int, farthest: float | None = None) -> pa.Table:
        """Search by LanceDB: columns `row` and `_distance` (1 - similarity)."""
        with _errors_of(self.url):
            search = self._table.search(query_d, vector_column_name="feature").distance_type("dot")
            search = search if farthest is None else search.distance_range(upper_bound=float(farthest))
            return search.select(["row", "_distance"]).limit(limit).to_arrow()


@contextmanager
def _errors_of(url: str) -> Iterator[None]:
    """Turn an error of LanceDB into an error message of one line."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        detail = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SearchError(f"the LanceDB database {url} cannot be used: {detail}") from error


def _options(url: str) -> dict[str, str]:
    """Return the options of an object store that LanceDB does not read from the environment itself."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not url.startswith(S3) or not endpoint:
        return {}
    return {"aws_endpoint": endpoint, "allow_http": str(endpoint.startswith("http://")).lower()}
