"""Filters, word scores and facts of the indexed tiles, from the published snapshot of the catalog.

A database in memory holds the facts of the indexed tiles (see `tile_facts.FACTS`), in the order of the index's rows.
The snapshot is attached to this database read-only, and stays open when a flow replaces the file by a newer snapshot.
Every call uses a new cursor, so that any number of threads may search.
"""

from __future__ import annotations

from collections.abc import Iterable, KeysView, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hubbleclip.catalog.catalog import attach, read_catalog
from hubbleclip.catalog.migrations import read_sql
from hubbleclip.catalog.tile_facts import FACTS, INDEXED_FACTS, TILE_DETAILS
from hubbleclip.catalog.tile_filters import CONDITIONS, FILTER_OF
from hubbleclip.core.errors import CatalogError
from hubbleclip.core.layout import Layout

IN_MEMORY, CATALOG = "facts", "catalog"
OPEN = ("tile_search", "word_search", "index_abstracts")
"""Scripts that fill the database in memory. Migrations run the last two as well, to build the catalog's word index."""
Bound = Sequence[Any] | Mapping[str, Any]
"""Values of the parameters of a query, in order or by name."""
WORDS_OF = "SELECT words(?) AS words"
NUMBERS = """
SELECT f.row, f.proposal_group, coalesce(n.number, -1) AS target FROM tile_fact f
LEFT JOIN target_number n ON concat_ws(' ', f.target_name, f.target_class) = n.proposal_id ORDER BY f.row
"""
"""Query for the document numbers of the proposal and of the target of each index row; -1 if there is no target."""
PROPOSAL_TEXT = """
SELECT coalesce(abstract, title) AS text FROM proposal WHERE proposal_id = ? OR number = ? ORDER BY proposal_id LIMIT 1
"""
FACT_NAMES = ", ".join(f'"{one.name}"' for one in FACTS)
FACTS_OF = f"SELECT row, {FACT_NAMES} FROM facts.tile_fact WHERE row IN (SELECT unnest(?))"  # noqa: S608 - names of columns
# `calib_level` 3 marks products that were made from calibrated images. MJD 40587 is 1970-01-01.
IMAGES_OF = """
SELECT f.*, o.ra_deg AS file_ra_deg, o.dec_deg AS file_dec_deg, o.footprint,
  'image' AS dataproduct_type, 3 AS calib_level, 1 AS t_xel, 1 AS em_xel, 0 AS pol_xel, 'phot.count' AS o_ucd,
  upper(split_part(f.proposal_id, ':', 1)) AS obs_collection, obs_collection AS facility_name,
  f.instrument AS instrument_name, f.ra_deg AS s_ra, f.dec_deg AS s_dec, f.size_px AS s_xel1, f.size_px AS s_xel2,
  nullif(f.pixel_scale_arcsec * f.size_px / 3600, 0) AS s_fov,
  'POLYGON ICRS ' || array_to_string([printf('%.8f', number) FOR number IN t.corners_deg], ' ') AS s_region,
  (epoch_us(f.observed_at) + 40587 * 86400000000) / 86400000000 AS t_min,
  t_min + coalesce(f.exposure_s, 0) / 86400 AS t_max, f.exposure_s AS t_exptime
FROM facts.tile_fact f JOIN tile t USING (tile_id) LEFT JOIN observation o ON o.obs_id = f.obs_id
WHERE row IN (SELECT unnest(?)) AND f.ra_deg IS NOT NULL ORDER BY row
"""
NEAREST_OF_TARGET = """
WITH seen AS (
  SELECT obs_id, ra_deg, dec_deg FROM observation
  WHERE NOT is_moving AND ra_deg IS NOT NULL
    AND regexp_replace(lower(target_name), '[^a-z0-9]', '', 'g') = regexp_replace(lower(?), '[^a-z0-9]', '', 'g')
    AND obs_id NOT IN (SELECT obs_id FROM facts.tile_fact WHERE target_name IS NULL)
), centre AS (FROM seen ORDER BY obs_id LIMIT 1)
SELECT c.ra_deg, c.dec_deg, max(separation_deg(c.ra_deg, c.dec_deg, s.ra_deg, s.dec_deg)) AS radius_deg
FROM centre c, seen s GROUP BY ALL
"""
"""Query for the position of a target, and for the distance to the farthest observation with the same target name.

Parallel exposures are excluded, because they name a target that their images do not show.
"""

NAMES = """
SELECT list(DISTINCT split_part(proposal_id, ':', 2)) AS proposals,
  list(DISTINCT pi) FILTER (pi IS NOT NULL) AS investigators,
  list(DISTINCT instrument) FILTER (instrument IS NOT NULL) AS instruments,
  list(DISTINCT regexp_replace(lower(target_name), '[^a-z0-9]', '', 'g'))
    FILTER (target_name IS NOT NULL AND NOT is_moving) AS targets
FROM tile_fact
"""
"""Query for the names that are recognised in the text of a search."""
NEAREST_WORD = """
WITH near AS (
  SELECT word, count(*) AS num FROM (SELECT word FROM catalog.abstract_word UNION ALL SELECT word FROM abstract_word)
  WHERE abs(length(word) - length($word)) <= 2 GROUP BY word
), compared AS (SELECT word, num, damerau_levenshtein(word, $word) AS distance FROM near)
SELECT word FROM compared WHERE distance <= least(2, length($word) // 5) ORDER BY distance, num DESC, word LIMIT 1
"""
"""Query for the word of abstracts and targets with the smallest edit distance to `$word`, if the distance is at most 2
(less for short words). If several words have the same distance, the most frequent word is returned.
"""


class Postings:
    """Inverted index that maps a word to document numbers and weights. A document is a proposal or a target.

    A search by words in DuckDB takes 10 ms per million words; with this index it takes microseconds.

    Parameters
    ----------
    words
        Columns `word`, `document` and `weight` (pyarrow.Table), sorted by word; one row per word of each document.

    """

    def __init__(self, words: pa.Table) -> None:
        word = pc.run_end_encode(words["word"].combine_chunks())
        stops = word.run_ends.to_pylist()
        self._slices = dict(zip(word.values.to_pylist(), map(slice, [0, *stops], stops), strict=False))
        self._document_n: npt.NDArray[np.int32] = words["document"].to_numpy().astype(np.int32)
        self._weight_n: npt.NDArray[np.float64] = words["weight"].to_numpy()

    @property
    def words(self) -> KeysView[str]:
        """All words."""
        return self._slices.keys()

    def of(self, word: str) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
        """Find the numbers of the documents that have a word, and the weight of the word in each."""
        found = self._slices.get(word, slice(0))
        return self._document_n[found], self._weight_n[found]


class TileFacts:
    """Facts and word scores of the indexed tiles, from the catalog.

    Parameters
    ----------
    layout
        Paths of the profile's files and folders.
    tile_ids
        Tile ids in the order of the index's rows. Tiles that the catalog no longer has are never found.

    Raises
    ------
    CatalogError
        If there is no catalog, or it cannot be read.

    """

    def __init__(self, layout: Layout, tile_ids: pa.Array) -> None:
        with read_catalog(layout):
            pass  # `read_catalog` raises a clear error if the snapshot cannot be used
        self._database = duckdb.connect()
        try:
            attach(self._database, layout.catalog, "READ_ONLY")
            self._database.execute(f"ATTACH ':memory:' AS {IN_MEMORY}")
            self._database.execute(f"USE {IN_MEMORY}")
            indexed = pa.table({"row": np.arange(len(tile_ids)), "tile_id": tile_ids})
            self._database.register("indexed", indexed)
            self._database.execute(INDEXED_FACTS)
            for name in OPEN:
                self._database.execute(read_sql(name))
            self._database.unregister("indexed")
            self.words = Postings(self._database.sql(read_sql("word_weights")).to_arrow_table())
        except duckdb.Error as error:
            self.close()
            raise CatalogError(f"{layout.catalog} cannot be searched ({str(error).splitlines()[0]})") from error
        found = self._fetch(IN_MEMORY, NUMBERS)
        self.row_n: npt.NDArray[np.int64] = found["row"]
        """Rows of the index whose tiles are in the catalog, ascending."""
        self.proposal_group_n, self._target_n = np.full((2, len(tile_ids)), -1)
        """Document numbers of the proposal and of the target of each row of the index; -1 if the catalog has none."""
        self.proposal_group_n[self.row_n], self._target_n[self.row_n] = found["proposal_group"], found["target"]
        self._num_documents = 1 + max(self.proposal_group_n.max(initial=-1), self._target_n.max(initial=-1))

    def close(self) -> None:
        """Close the snapshot; calls that are running in other threads fail."""
        with suppress(duckdb.Error):
            self._database.close()

    def _fetch(self, database: str, sql: str, parameters: Bound = ()) -> dict[str, Any]:
        """Run a query on a new cursor, with `database` as the default database, and return the columns by name."""
        with self._database.cursor() as cursor:
            cursor.execute(f"USE {database}")
            return cursor.execute(sql, parameters).fetchnumpy()

    def _rows(self, database: str, sql: str, parameters: Bound = ()) -> list[dict[str, Any]]:
        """Run a query as `_fetch` does, and return its rows."""
        with self._database.cursor() as cursor:
            cursor.execute(f"USE {database}")
            return list(cursor.sql(sql, params=parameters or None).to_arrow_table().to_pylist())

    def admitted(self, values: Mapping[str, Any]) -> npt.NDArray[np.int64]:
        """Find the rows of the index whose tiles pass all filters.

        `values` maps a filter's name to its value. The value of a place or a box is a dict of numbers.
        """
        if not values:
            return self.row_n
        where = " AND ".join(f"({CONDITIONS[name]})" for name in values)
        bound: dict[str, Any] = {}
        for name, value in values.items():
            bound |= value if isinstance(value, dict) else {name: value}
        sql = f"SELECT row FROM facts.tile_fact WHERE {where} ORDER BY row"  # noqa: S608 - the values are bound
        return np.asarray(self._fetch(CATALOG, sql, bound)["row"])

    def word_scores(self, texts: Iterable[tuple[str, float]]) -> npt.NDArray[np.float64]:
        """Score each tile by the words that its proposal or target shares with `texts`, pairs of (text, weight)."""
        found = [(self._rows(IN_MEMORY, WORDS_OF, [text])[0]["words"], weight) for text, weight in texts]
        return self.scores_of_words((word, weight) for words, weight in found for word in dict.fromkeys(words))

    def scores_of_words(self, words: Iterable[tuple[str, float]]) -> npt.NDArray[np.float64]:
        """Score each tile by the words that its proposal or target shares with `words`, pairs of (word, weight)."""
        scores = np.zeros(self._num_documents + 1)  # the last score stays 0; index -1 (no document) reads it
        for word, weight in words:
            document_n, weight_n = self.words.of(word)
            scores[document_n] += weight * weight_n
        return np.asarray(scores[self.proposal_group_n] + scores[self._target_n])

    def order(self, column: str) -> npt.NDArray[np.int64]:
        """Return the rows of all tiles in descending order of a column of `tile_fact`; null values come last."""
        sql = f"SELECT row FROM tile_fact ORDER BY {column} DESC NULLS LAST, row"  # noqa: S608 - a constant
        return np.asarray(self._fetch(IN_MEMORY, sql)["row"])

    def facts(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Read the facts that a hit shows, for the tiles in the given rows of the index."""
        found = {row.pop("row"): row for row in self._rows(IN_MEMORY, FACTS_OF, [list(rows)])}
        return [found[row] for row in rows]

    @cached_property
    def positions(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Right ascension, declination and side of all tiles in degrees, NaN where unknown."""
        sql = "SELECT row, ra_deg, dec_deg, pixel_scale_arcsec * size_px / 3600 AS side_deg FROM tile_fact"
        found = self._fetch(IN_MEMORY, sql)
        columns = np.full((3, len(self.proposal_group_n)), np.nan)
        for column, name in zip(columns, ("ra_deg", "dec_deg", "side_deg"), strict=True):
            column[found["row"]] = np.ma.filled(np.ma.asarray(found[name], np.float64), np.nan)
        return columns[0], columns[1], columns[2]

    def values(self, name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
        """Return two arrays: rows of the index, and their values for a filter. A row is repeated for each value."""
        found = self._fetch(IN_MEMORY, FILTER_OF[name].values)
        return found["row"], np.asarray(found["value"])

    def details(self, start: str) -> list[dict[str, Any]]:
        """Read the facts of up to two tiles whose ids begin with `start`, whether the tiles are indexed or not."""
        return self._rows(CATALOG, TILE_DETAILS, {"start": start})

    def images(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Read the facts and the ObsCore 1.1 columns of the tiles in `rows`; tiles without a position are omitted."""
        return self._rows(CATALOG, IMAGES_OF, [list(rows)])

    def filters(self) -> list[dict[str, Any]]:
        """List the pairs of instrument and filter of all tiles."""
        return self._rows(IN_MEMORY, "SELECT DISTINCT instrument, filter FROM tile_fact")

    def proposal_text(self, number: str) -> str | None:
        """Read the abstract of a proposal, or the title if there is no abstract; None if the proposal is unknown."""
        found = self._rows(CATALOG, PROPOSAL_TEXT, [number, number])
        return str(found[0]["text"]) if found else None

    @cached_property
    def names(self) -> dict[str, frozenset[str]]:
        """Names of programmes, investigators, instruments and targets that are recognised in the text of a search."""
        (row,) = self._rows(IN_MEMORY, NAMES)
        return {name: frozenset(values or ()) for name, values in row.items()}

    def nearest_word(self, word: str) -> str | None:
        """Find the word of an abstract or a target that is most similar to `word`; None if no word is similar."""
        found = self._rows(IN_MEMORY, NEAREST_WORD, {"word": word})
        return str(found[0]["word"]) if found else None

    def target_cone(self, name: str) -> tuple[float, float, float] | None:
        """Return RA, Dec and radius (degrees) of a target; the name's case, spaces and punctuation do not matter."""
        found = self._rows(CATALOG, NEAREST_OF_TARGET, [name])
        return (found[0]["ra_deg"], found[0]["dec_deg"], found[0]["radius_deg"]) if found else None
