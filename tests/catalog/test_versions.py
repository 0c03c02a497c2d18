"""Contents of a product are numbered as they follow each other."""

from dataclasses import replace
from datetime import UTC, datetime

from hubbleclip.catalog.product_versions import next_version
from hubbleclip.core.records import Product

NOW = datetime(2024, 1, 2, tzinfo=UTC)
LISTED = Product(
    uri="mast:p",
    obs_id="o",
    proposal_id="hst:1",
    file_name="p_drz.fits",
    kind="DRZ",
    size_bytes=10,
    choice="best",
    archive_version="v1",
)


def fetched(before: Product, sha256: str) -> Product:
    return replace(
        before, sha256=sha256, path=sha256, source="mast", fetched_at=NOW, fetched_version=before.archive_version
    )


def test_the_first_content_is_version_one_and_stands_in_the_history() -> None:
    product, (history,) = next_version(LISTED, fetched(LISTED, "a"))
    assert product.version == history.version == 1
    assert (history.uri, history.sha256, history.archive_version, history.source) == ("mast:p", "a", "v1", "mast")


def test_another_content_is_the_next_version() -> None:
    first, _ = next_version(LISTED, fetched(LISTED, "a"))
    product, (history,) = next_version(first, fetched(replace(first, archive_version="v2"), "b"))
    assert (product.version, history.version, history.sha256, history.archive_version) == (2, 2, "b", "v2")


def test_the_same_bytes_under_another_name_of_version_are_no_new_one() -> None:
    first, _ = next_version(LISTED, fetched(LISTED, "a"))
    product, history = next_version(first, fetched(replace(first, archive_version="v2"), "a"))
    assert (product.version, product.fetched_version, history) == (1, "v2", [])
