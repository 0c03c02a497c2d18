"""What is left to do in each stage, as the catalog tells it. No Prefect here, since `status` asks the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from hubbleclip.catalog import Catalog, read_sql
from hubbleclip.records import Product, Record
from hubbleclip.settings import ArchiveSettings, Settings

BATCHES_A_READ = 64


def from_rows(record: Callable[..., Record], rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Catalog rows as records."""
    return [record(**row) for row in rows]


def pending_products(catalog: Catalog, settings: ArchiveSettings) -> list[dict[str, Any]]:
    """Proposals with observations whose products are to be listed: `num` of these among `num_known` of all. Landed
    answers are read again for every one.
    """
    now = datetime.now(UTC)
    stale_before = now if settings.from_raw else None
    if settings.relist_days and not settings.from_raw:
        stale_before = now - timedelta(days=settings.relist_days)
    return catalog.named("pending_products", settings_digest=settings.digest(), stale_before=stale_before, now=now)


def pending_proposals(catalog: Catalog, settings: ArchiveSettings) -> list[str]:
    """Ids of proposals that observations name and that are to be fetched. Landed answers are read again for all."""
    rows = catalog.named("pending_proposals", again=settings.from_raw, now=datetime.now(UTC))
    return [row["proposal_id"] for row in rows]


def pending_fetch(catalog: Catalog, settings: Settings) -> list[str]:
    """Names (URIs) of products to be fetched; none where the settings say to fetch no files."""
    if not settings.fetch.files or settings.archive.from_raw:
        return []
    asked = {"tile_settings": settings.tiles.digest(), "now": datetime.now(UTC)}
    return uris_of(catalog.query(read_sql("pending_fetch"), asked))


def pending_tiles(catalog: Catalog, settings: Settings) -> list[str]:
    """Names (URIs) of products to be cut, those of the same content in a row; where files are not kept, first those to
    be fetched.
    """
    found = uris_of(catalog.query(read_sql("pending_tiles"), {"settings_digest": settings.tiles.digest()}))
    to_fetch = [] if settings.fetch.keep_fits else pending_fetch(catalog, settings)
    return list(dict.fromkeys([*to_fetch, *found]))


def uris_of(found: pa.Table) -> list[str]:
    """A column of names, without a dict for each row."""
    names: list[str] = found["uri"].to_pylist()
    return names


def read_products(catalog: Catalog, uris: Sequence[str]) -> list[Product]:
    """Products of these names, in this order."""
    found = {row["uri"]: row for row in catalog.named("products_named", uris=uris)}
    return from_rows(Product, [found[uri] for uri in uris])


def product_batches(catalog: Catalog, uris: Sequence[str], size: int) -> Iterator[list[Product]]:
    """Products in runs of at most `size`, read many runs at a time: of those that wait only the names are held."""
    for start in range(0, len(uris), size * BATCHES_A_READ):
        products = read_products(catalog, uris[start : start + size * BATCHES_A_READ])
        yield from (products[i : i + size] for i in range(0, len(products), size))
