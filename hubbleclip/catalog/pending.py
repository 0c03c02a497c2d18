"""Pending work of each stage, as queries of the catalog; shared by the stages and by `hubbleclip status`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from hubbleclip.catalog.catalog import Catalog, read_sql
from hubbleclip.config.settings import ArchiveSettings, Settings
from hubbleclip.core.records import Product, Record

BATCHES_PER_READ = 64
"""Batches read from the catalog by one query."""


def to_records(record: Callable[..., Record], rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Convert catalog rows to records.

    Parameters
    ----------
    record
        Class of the records.
    rows
        Values by column name; exactly the fields of the class.

    Returns
    -------
    list
        Records in the order of the rows.

    """
    return [record(**row) for row in rows]


def pending_products(catalog: Catalog, settings: ArchiveSettings) -> list[dict[str, Any]]:
    """List the proposals with observations whose products are to be listed.

    Parameters
    ----------
    catalog
        Open catalog.
    settings
        With `from_raw` the product lists of all proposals are pending; else see `relist_days`.

    Returns
    -------
    list of dict
        `proposal_id`, `num` pending observations, `num_known` observations in all.

    """
    now = datetime.now(UTC)
    stale_before = now if settings.from_raw else stale_time(settings, now)
    return catalog.named_query(
        "pending_products", settings_digest=settings.digest(), stale_before=stale_before, now=now
    )


def stale_time(settings: ArchiveSettings, now: datetime) -> datetime | None:
    """Time before which responses of the archive are stale.

    Parameters
    ----------
    settings
        `relist_days` is used.
    now
        Current time, UTC.

    Returns
    -------
    datetime or None
        None where they never become stale.

    """
    return now - timedelta(days=settings.relist_days) if settings.relist_days else None


def pending_proposals(catalog: Catalog, settings: ArchiveSettings, *, again: bool = False) -> dict[str, bool]:
    """List the proposals that observations refer to and that are to be fetched.

    Parameters
    ----------
    catalog
        Open catalog.
    settings
        With `from_raw` all proposals are pending; else see `relist_days`.
    again
        All proposals are pending, also known ones.

    Returns
    -------
    dict
        By proposal id: whether the proposal is stale, that is, known for `relist_days` but without an abstract.

    """
    now = datetime.now(UTC)
    parameters = {"again": again or settings.from_raw, "stale_before": stale_time(settings, now), "now": now}
    return {row["proposal_id"]: row["is_stale"] for row in catalog.named_query("pending_proposals", **parameters)}


def pending_fetch(catalog: Catalog, settings: Settings) -> list[str]:
    """List the products to be fetched.

    Parameters
    ----------
    catalog
        Open catalog.
    settings
        Without `fetch.files`, and with `archive.from_raw`, nothing is pending.

    Returns
    -------
    list of str
        URIs, ordered by proposal.

    """
    if not settings.fetch.files or settings.archive.from_raw:
        return []
    parameters = {"tile_settings": settings.tiles.digest(), "now": datetime.now(UTC)}
    return uri_column(catalog.query(read_sql("pending_fetch"), parameters))


def pending_tiles(catalog: Catalog, settings: Settings) -> list[str]:
    """List the products to be cut into tiles.

    Parameters
    ----------
    catalog
        Open catalog.
    settings
        Without `fetch.keep_fits` products to be fetched come first: they are fetched and cut in one step.

    Returns
    -------
    list of str
        URIs; products of the same content are adjacent, because the file may be deleted once it is cut.

    """
    on_disk = uri_column(catalog.query(read_sql("pending_tiles"), {"settings_digest": settings.tiles.digest()}))
    to_fetch = [] if settings.fetch.keep_fits else pending_fetch(catalog, settings)
    return list(dict.fromkeys([*to_fetch, *on_disk]))


def uri_column(rows: pa.Table) -> list[str]:
    """Extract the column `uri`, which is faster than a dict per row.

    Parameters
    ----------
    rows
        Result of a query.

    Returns
    -------
    list of str
        URIs in the order of the rows.

    """
    uris: list[str] = rows["uri"].to_pylist()
    return uris


def read_products(catalog: Catalog, uris: Sequence[str]) -> list[Product]:
    """Read products by URI.

    Parameters
    ----------
    catalog
        Open catalog.
    uris
        URIs of existing products.

    Returns
    -------
    list of Product
        In the order of the URIs.

    """
    by_uri = {row["uri"]: row for row in catalog.named_query("products_named", uris=uris)}
    return to_records(Product, [by_uri[uri] for uri in uris])


def product_batches(catalog: Catalog, uris: Sequence[str], size: int) -> Iterator[list[Product]]:
    """Read products in batches.

    Parameters
    ----------
    catalog
        Open catalog.
    uris
        URIs of existing products.
    size
        Largest batch.

    Yields
    ------
    list of Product
        In the order of the URIs.

    Notes
    -----
    `BATCHES_PER_READ` batches are read at a time, so that memory does not grow with the number of pending products.

    """
    for start in range(0, len(uris), size * BATCHES_PER_READ):
        products = read_products(catalog, uris[start : start + size * BATCHES_PER_READ])
        yield from (products[i : i + size] for i in range(0, len(products), size))
