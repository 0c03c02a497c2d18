"""Number the versions of a product's file: an archive may reprocess an exposure and publish the file again."""

from __future__ import annotations

from dataclasses import replace

from hubbleclip.core.records import Product, ProductVersion


def next_version(before: Product, fetched: Product) -> tuple[Product, list[ProductVersion]]:
    """Assign a version number to the file of a product that was just fetched."""
    if fetched.sha256 == before.sha256:
        return replace(fetched, version=before.version), []
    if fetched.sha256 is None or fetched.size_bytes is None or fetched.source is None or fetched.fetched_at is None:
        raise AssertionError("Archive.fetch_product did not set sha256, size, source or time")
    product = replace(fetched, version=(before.version or 0) + 1)
    history = ProductVersion(
        uri=fetched.uri,
        version=(before.version or 0) + 1,
        sha256=fetched.sha256,
        archive_version=fetched.fetched_version,
        size_bytes=fetched.size_bytes,
        source=fetched.source,
        fetched_at=fetched.fetched_at,
    )
    return product, [history]
