"""Query the catalog for the pending work of each stage. The stages and `hubbleclip status` share these queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa

from hubbleclip.catalog.catalog import Catalog
from hubbleclip.catalog.migrations import read_sql
from hubbleclip.config.settings import ArchiveSettings, CaptionSettings, Settings
from hubbleclip.core.records import Product

BATCHES_PER_READ = 64
"""Number of batches that one query reads from the catalog."""


class Query(NamedTuple):
    """SQL of a query for pending items, and its parameters."""

    sql: str
    parameters: dict[str, Any]


def to_records(record: Callable[..., object], rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Convert catalog rows to records."""
    return [record(**row) for row in rows]


def pending_products(catalog: Catalog, settings: ArchiveSettings) -> list[dict[str, Any]]:
    """List the proposals that have observations whose product lists must be queried."""
    return catalog.rows(*_products_query(settings))


def _products_query(settings: ArchiveSettings) -> Query:
    parameters = {
        "settings_digest": settings.digest(),
        "again": settings.from_raw,
        "days": settings.relist_days,
        "now": datetime.now(UTC),
    }
    return Query(read_sql("pending_products"), parameters)


def pending_proposals(catalog: Catalog, settings: ArchiveSettings, *, again: bool = False) -> dict[str, bool]:
    """List the proposals that known observations refer to and that must be fetched."""
    return {row["proposal_id"]: row["is_stale"] for row in catalog.rows(*_proposals_query(settings, again=again))}


def _proposals_query(settings: ArchiveSettings, *, again: bool = False) -> Query:
    parameters = {"again": again or settings.from_raw, "days": settings.relist_days, "now": datetime.now(UTC)}
    return Query(read_sql("pending_proposals"), parameters)


def pending_captions(catalog: Catalog, settings: CaptionSettings, writer: str) -> list[dict[str, Any]]:
    """List the distinct abstracts that a writer must still write about."""
    if not writer:
        return []
    return catalog.named_query(
        "pending_captions", writer=writer, settings_digest=settings.digest(), now=datetime.now(UTC)
    )


def pending_fetch(catalog: Catalog, settings: Settings) -> list[str]:
    """List the products that must be fetched."""
    return uri_column(catalog.query(*_fetch_query(settings))) if _fetches_files(settings) else []


def _fetches_files(settings: Settings) -> bool:
    return settings.fetch.files and not settings.archive.from_raw


def _fetch_query(settings: Settings) -> Query:
    return Query(read_sql("pending_fetch"), {"tile_settings": settings.tiles.digest(), "now": datetime.now(UTC)})


def pending_tiles(catalog: Catalog, settings: Settings) -> list[str]:
    """List the products that must be cut into tiles."""
    on_disk = uri_column(catalog.query(*_tiles_query(settings)))
    to_fetch = [] if settings.fetch.keep_fits else pending_fetch(catalog, settings)
    return list(dict.fromkeys([*to_fetch, *on_disk]))


def _tiles_query(settings: Settings) -> Query:
    return Query(read_sql("pending_tiles"), {"settings_digest": settings.tiles.digest()})


def count_pending(catalog: Catalog, settings: Settings) -> dict[str, int]:
    """Count the pending items of the stages until `tiles`. DuckDB counts them: there may be millions."""
    fetch, tiles = _fetch_query(settings), _tiles_query(settings)
    if _fetches_files(settings) and not settings.fetch.keep_fits:
        tiles = Query(f"({fetch.sql}) UNION ({tiles.sql})", fetch.parameters | tiles.parameters)
    return {
        "products": _count(catalog, _products_query(settings.archive), "coalesce(sum(num), 0)::BIGINT"),
        "proposals": _count(catalog, _proposals_query(settings.archive)),
        "fetch": _count(catalog, fetch) if _fetches_files(settings) and settings.fetch.keep_fits else 0,
        "tiles": _count(catalog, tiles),
    }


def _count(catalog: Catalog, query: Query, number: str = "count(*)") -> int:
    """Run an aggregate over the rows of a query."""
    sql = f"SELECT {number} AS num FROM ({query.sql})"  # noqa: S608 - files of the package
    return int(catalog.rows(sql, query.parameters)[0]["num"])


def uri_column(rows: pa.Table) -> list[str]:
    """Extract the column `uri` as a list, which is faster than making a dict per row."""
    uris: list[str] = rows["uri"].to_pylist()
    return uris


def read_products(catalog: Catalog, uris: Sequence[str]) -> list[Product]:
    """Read products by URI."""
    by_uri = {row["uri"]: row for row in catalog.named_query("products_named", uris=uris)}
    return to_records(Product, [by_uri[uri] for uri in uris])


def product_batches(catalog: Catalog, uris: Sequence[str], size: int) -> Iterator[list[Product]]:
    """Read products in batches.

    `BATCHES_PER_READ` batches are read at a time, so that memory does not grow with the number of pending products.
    """
    for start in range(0, len(uris), size * BATCHES_PER_READ):
        products = read_products(catalog, uris[start : start + size * BATCHES_PER_READ])
        yield from (products[i : i + size] for i in range(0, len(products), size))
