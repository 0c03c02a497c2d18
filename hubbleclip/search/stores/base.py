"""The interface of a vector store, which holds one model's features of all tiles and finds similar tiles."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hubbleclip.core.errors import SearchError
from hubbleclip.dataset.manifest import is_intact

Floats = npt.NDArray[np.float32]
RowNumbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Parsed = TypeVar("Parsed")
ID_TYPE = pa.large_string()
"""Type of the tile ids in memory; `pa.string()` holds at most 2 GiB, enough for only 67 million ids."""


class Scored(NamedTuple):
    """Rows of a store, best first, and their cosine similarities to the query; equal scores are in order of row."""

    row_n: RowNumbers
    score_n: npt.NDArray[np.float64]


@runtime_checkable
class VectorStore(Protocol):
    """One model's features of tiles, in rows that are numbered from 0 in the order in which they were added.

    A store object shows the rows that existed when it was opened, and the rows that it appended itself. If another
    process appends rows, `is_current` is False. Threads may call all methods except `append` at the same time.

    Attributes
    ----------
    tile_ids : pyarrow.Array
        Tile ids in the order of the rows, of type `ID_TYPE`.

    """

    @property
    def tile_ids(self) -> pa.Array:
        """See the class."""

    def append(self, tile_ids: Sequence[str], feat_nd: npt.NDArray[np.floating]) -> None:
        """Add rows durably; a killed process leaves either all of these rows or none.

        Parameters
        ----------
        tile_ids
            Ids of n tiles that the store does not have.
        feat_nd
            Features (n, d) of length 1; they are stored as float16.

        Raises
        ------
        SearchError
            If a tile is in the store already, or if the new and the stored features differ in the number of dimensions.

        """

    def scan(self, query_d: npt.NDArray[np.floating], k: int, mask_n: Mask | None = None) -> Scored:
        """Find the rows of highest cosine similarity to a query.

        Parameters
        ----------
        query_d
            Feature (d,) of the query; its Euclidean norm may have any value above 0.
        k
            Maximum number of rows.
        mask_n
            Which rows may be found, one value for each row of the store; None admits every row.

        Returns
        -------
        Scored
            At most `k` rows, with the similarities of their float16 features.

        Raises
        ------
        SearchError
            If the numbers of dimensions of the query and of the features differ.

        """

    def features(self, rows: RowNumbers | Sequence[int]) -> Floats:
        """Read features.

        Parameters
        ----------
        rows
            Row numbers, in any order.

        Returns
        -------
        Floats
            Features (n, d), in the order of `rows`.

        """

    def is_current(self) -> bool:
        """Whether this object shows all rows of the store.

        Returns
        -------
        bool
            False if another process or object has appended rows since this one was opened.

        """

    def is_whole(self) -> bool:
        """Whether all open files still have their full size.

        Returns
        -------
        bool
            False if a file was truncated; searches then fail until the store is opened again.

        """

    def close(self) -> None:
        """Release files and memory; the store must not be used afterwards."""


def rows_of(tile_ids: pa.Array, wanted: Sequence[str]) -> list[int | None]:
    """Find the row of each wanted tile; None for a tile that the store lacks."""
    # `index_in` makes a hash table of `value_set`. The table is small, because `value_set` has only the wanted ids.
    position_n = pc.index_in(tile_ids, value_set=pa.array(wanted, ID_TYPE))
    row_n = np.flatnonzero(position_n.is_valid().to_numpy(zero_copy_only=False))
    found = dict(zip(position_n.drop_null().to_pylist(), row_n.tolist(), strict=True))
    return [found.get(position) for position in range(len(wanted))]


def best_rows(row_n: RowNumbers, score_n: npt.NDArray[np.float64], k: int) -> Scored:
    """Find the best rows, sorted by their scores."""
    if k < len(row_n):  # only rows that can be among the best k are sorted
        is_high_n = score_n >= np.partition(score_n, -k)[-k]
        row_n, score_n = row_n[is_high_n], score_n[is_high_n]
    best = np.lexsort((row_n, -score_n))[:k]
    return Scored(row_n[best], score_n[best])


def file_stamp(path: Path) -> tuple[int, int, int] | None:
    """Return a value that changes when a file is replaced; None if there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def read_intact(path: Path, advice: str, parse: Callable[[dict[str, Any]], Parsed]) -> Parsed:
    """Read a JSON file that contains its own hash. Raises OSError, or SearchError for damage or an unknown format."""
    text = path.read_bytes()
    try:
        if is_intact(text):
            return parse(json.loads(text))
    except (ValueError, KeyError, TypeError) as error:
        raise SearchError(f"{path} is damaged ({error}): {advice}") from error
    raise SearchError(f"{path} is damaged: {advice}")
