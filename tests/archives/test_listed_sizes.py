"""A file must have both the size that the archive lists and sound content; neither check replaces the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubbleclip.core.layout import Layout
from tests.archives.test_download import reason_of
from tests.bad_server import FITS, LARGE_FITS, chunked, give

SIZES = pytest.mark.parametrize("body", [FITS, LARGE_FITS], ids=["small", "large"])


def stored(root: Path) -> list[Path]:
    return list(Layout(root).products.glob("[0-9a-f]*"))


@SIZES
@pytest.mark.parametrize(("more", "reason"), [(2880, "truncated"), (-2880, "too_large")])
def test_a_body_of_unstated_size_must_have_the_listed_one(
    scripted, tmp_path: Path, body: bytes, more: int, reason: str
) -> None:
    assert reason_of(scripted(chunked(body)), tmp_path, size_bytes=len(body) + more) == reason
    assert stored(tmp_path) == []


@SIZES
def test_the_content_of_a_file_of_the_listed_size_is_checked(scripted, tmp_path: Path, body: bytes) -> None:
    """The header declares more pixels than the file has."""
    size = str(len(body) - 2880).encode()
    assert (
        reason_of(scripted(give(body.replace(size, b"9" * len(size)))), tmp_path, size_bytes=len(body)) == "truncated"
    )
    assert stored(tmp_path) == []


def test_another_stated_size_than_listed_is_refused_before_the_body(scripted, tmp_path: Path) -> None:
    assert reason_of(scripted(give(b"", length=10**9)), tmp_path, size_bytes=len(FITS)) == "damaged"
