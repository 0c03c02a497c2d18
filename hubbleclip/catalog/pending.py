"""Query the catalog for the pending work of each stage. The stages and `hubbleclip status` share these queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from hubbleclip.catalog.catalog import Catalog
from hubbleclip.catalog.migrations import read_sql
from hubbleclip.config.settings import ArchiveSettings, CaptionSettings, Settings
from hubbleclip.core.records import Product

BATCHES_PER_READ = 64
"""Number of batches that one query reads from the catalog."""
Pending = tuple[str, dict[str, Any]]
"""SQL of a query for pending items, and its parameters."""


def to_records(record: Callable[..., object], rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Convert catalog rows to records."""
    return [record(**row) for row in rows]


def pending_products(catalog: Catalog, settings: ArchiveSettings) -> list[dict[str, Any]]:
    """List proposals whose products must be listed. `num` counts pending observations, `num_known` all observations."""
    return catalog.rows(*_products_query(settings))


def _products_query(settings: ArchiveSettings) -> Pending:
    repeated = {"again": settings.from_raw, "days": settings.relist_days, "now": datetime.now(UTC)}
    return read_sql("pending_products"), {"settings_digest": settings.digest(), **repeated}


def pending_proposals(catalog: Catalog, settings: ArchiveSettings, *, again: bool = False) -> dict[str, bool]:
    """Return the ids of the proposals to fetch; True means a repeated fetch because the abstract is missing."""
    return {row["proposal_id"]: row["is_stale"] for row in catalog.rows(*_proposals_query(settings, again=again))}


def _proposals_query(settings: ArchiveSettings, *, again: bool = False) -> Pending:
    parameters = {"again": again or settings.from_raw, "days": settings.relist_days, "now": datetime.now(UTC)}
    return read_sql("pending_proposals"), parameters


def pending_captions(catalog: Catalog, settings: CaptionSettings, writer: str) -> list[dict[str, Any]]:
    """List the distinct abstracts that still need an answer by this `writer`; [] if `writer` is empty."""
    if not writer:
        return []
    return catalog.named_query(
        "pending_captions", writer=writer, settings_digest=settings.digest(), now=datetime.now(UTC)
    )


def pending_fetch(catalog: Catalog, settings: Settings) -> list[str]:
    """List the URIs of the products that must be fetched."""
    return _uris(catalog, _fetch_query(settings)) if _fetches_files(settings) else []


def _fetches_files(settings: Settings) -> bool:
    return settings.fetch.files and not settings.archive.from_raw


def _fetch_query(settings: Settings) -> Pending:
    return read_sql("pending_fetch"), {"tile_settings": settings.tiles.digest(), "now": datetime.now(UTC)}


def pending_tiles(catalog: Catalog, settings: Settings) -> list[str]:
    """List the URIs of the products to cut into tiles, including unfetched products if `keep_fits` is false."""
    to_fetch = [] if settings.fetch.keep_fits else pending_fetch(catalog, settings)
    return list(dict.fromkeys([*to_fetch, *_uris(catalog, _tiles_query(settings))]))


def _tiles_query(settings: Settings) -> Pending:
    return read_sql("pending_tiles"), {"settings_digest": settings.tiles.digest(), "now": datetime.now(UTC)}


def _uris(catalog: Catalog, query: Pending) -> list[str]:
    return list(catalog.query(*query)["uri"].to_pylist())  # faster than a dict per row


def count_pending(catalog: Catalog, settings: Settings) -> dict[str, int]:
    """Count the pending items of each stage up to `tiles`. DuckDB counts them, because there may be millions."""
    fetch, tiles = _fetch_query(settings), _tiles_query(settings)
    if _fetches_files(settings) and not settings.fetch.keep_fits:
        tiles = f"({fetch[0]}) UNION ({tiles[0]})", fetch[1] | tiles[1]
    return {
        "products": _count(catalog, _products_query(settings.archive), "coalesce(sum(num), 0)::BIGINT"),
        "proposals": _count(catalog, _proposals_query(settings.archive)),
        "fetch": _count(catalog, fetch) if _fetches_files(settings) and settings.fetch.keep_fits else 0,
        "tiles": _count(catalog, tiles),
    }


def _count(catalog: Catalog, query: Pending, number: str = "count(*)") -> int:
    sql, parameters = query
    return int(catalog.rows(f"SELECT {number} AS num FROM ({sql})", parameters)[0]["num"])  # noqa: S608


def product_batches(catalog: Catalog, uris: Sequence[str], size: int) -> Iterator[list[Product]]:
    """Read products by URI in batches, in the order of the URIs."""
    # A bounded number of batches is read at a time, so that memory does not grow with the number of pending products.
    for start in range(0, len(uris), size * BATCHES_PER_READ):
        part = uris[start : start + size * BATCHES_PER_READ]
        by_uri = {row["uri"]: Product(**row) for row in catalog.named_query("products_named", uris=part)}
        yield from ([by_uri[uri] for uri in part[i : i + size]] for i in range(0, len(part), size))
