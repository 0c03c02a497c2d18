"""What is left to do in each stage, as the catalog tells it. No Prefect here, since `status` asks the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hubbleclip.catalog import Catalog
from hubbleclip.records import Product, Record
from hubbleclip.settings import ArchiveSettings, Settings


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


def pending_fetch(catalog: Catalog, settings: Settings) -> list[Product]:
    """Products to be fetched; none where the settings say to fetch no files."""
    if not settings.fetch.files or settings.archive.from_raw:
        return []
    digest = settings.tiles.digest()
    return from_rows(Product, catalog.named("pending_fetch", tile_settings=digest, now=datetime.now(UTC)))


def pending_tiles(catalog: Catalog, settings: Settings) -> list[Product]:
    """Products to be cut; where files are not kept, also those to be fetched first."""
    found = from_rows(Product, catalog.named("pending_tiles", settings_digest=settings.tiles.digest()))
    to_fetch = [] if settings.fetch.keep_fits else pending_fetch(catalog, settings)
    return list({product.uri: product for product in [*to_fetch, *found]}.values())
