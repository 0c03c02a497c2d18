"""Contents of a product that follow each other, as an archive calibrates the same exposure anew."""

from __future__ import annotations

from dataclasses import replace

from hubbleclip.core.records import Product, ProductVersion


def next_version(before: Product, fetched: Product) -> tuple[Product, list[ProductVersion]]:
    """A product just fetched, numbered, and the row of its history; none where its bytes are those that it had."""
    if fetched.sha256 == before.sha256:
        return replace(fetched, version=before.version), []
    if fetched.sha256 is None or fetched.size_bytes is None or fetched.source is None or fetched.fetched_at is None:
        raise AssertionError("Archive.fetch_product fills sha256, size, source and time")
    product = replace(fetched, version=(before.version or 0) + 1)
    history = ProductVersion(
        uri=fetched.uri, version=(before.version or 0) + 1, sha256=fetched.sha256,
        archive_version=fetched.fetched_version, size_bytes=fetched.size_bytes, source=fetched.source,
        fetched_at=fetched.fetched_at,
    )  # fmt: skip
    return product, [history]
