"""What is left to do in each stage, as the catalog tells it. No Prefect here, since `status` asks the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from hubbleclip.catalog.catalog import Catalog, read_sql
from hubbleclip.config.settings import ArchiveSettings, Settings
from hubbleclip.core.records import Product, Record

BATCHES_PER_READ = 64


def to_records(record: Callable[..., Record], rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Catalog rows as records."""
    return [record(**row) for row in rows]


def pending_products(catalog: Catalog, settings: ArchiveSettings) -> list[dict[str, Any]]:
    """Proposals with observations whose products are to be listed: `num` of these among `num_known` of all. Landed
    answers are read again for every one.
    """
    now = datetime.now(UTC)
    stale_before = now if settings.from_raw else stale_time(settings, now)
    return catalog.named_query(
        "pending_products", settings_digest=settings.digest(), stale_before=stale_before, now=now
    )


def stale_time(settings: ArchiveSettings, now: datetime) -> datetime | None:
    """What the archive told before this is asked for again; None where it holds for ever."""
    return now - timedelta(days=settings.relist_days) if settings.relist_days else None


def pending_proposals(catalog: Catalog, settings: ArchiveSettings, *, again: bool = False) -> dict[str, bool]:
    """Ids of proposals that observations name and that are to be fetched, and of each whether it is known, but without
    an abstract for `relist_days`. With `again`, and of landed answers, all.
    """
    now = datetime.now(UTC)
    asked = {"again": again or settings.from_raw, "stale_before": stale_time(settings, now), "now": now}
    return {row["proposal_id"]: row["is_stale"] for row in catalog.named_query("pending_proposals", **asked)}


def pending_fetch(catalog: Catalog, settings: Settings) -> list[str]:
    """Names (URIs) of products to be fetched; none where the settings say to fetch no files."""
    if not settings.fetch.files or settings.archive.from_raw:
        return []
    asked = {"tile_settings": settings.tiles.digest(), "now": datetime.now(UTC)}
    return uri_column(catalog.query(read_sql("pending_fetch"), asked))


def pending_tiles(catalog: Catalog, settings: Settings) -> list[str]:
    """Names (URIs) of products to be cut, those of the same content in a row; where files are not kept, first those to
    be fetched.
    """
    found = uri_column(catalog.query(read_sql("pending_tiles"), {"settings_digest": settings.tiles.digest()}))
    to_fetch = [] if settings.fetch.keep_fits else pending_fetch(catalog, settings)
    return list(dict.fromkeys([*to_fetch, *found]))


def uri_column(found: pa.Table) -> list[str]:
    """A column of names, without a dict for each row."""
    names: list[str] = found["uri"].to_pylist()
    return names


def read_products(catalog: Catalog, uris: Sequence[str]) -> list[Product]:
    """Products of these names, in this order."""
    found = {row["uri"]: row for row in catalog.named_query("products_named", uris=uris)}
    return to_records(Product, [found[uri] for uri in uris])


def product_batches(catalog: Catalog, uris: Sequence[str], size: int) -> Iterator[list[Product]]:
    """Products in runs of at most `size`, read many runs at a time: of those that wait only the names are held."""
    for start in range(0, len(uris), size * BATCHES_PER_READ):
        products = read_products(catalog, uris[start : start + size * BATCHES_PER_READ])
        yield from (products[i : i + size] for i in range(0, len(products), size))
