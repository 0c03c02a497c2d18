"""Landed answers: equal bytes for equal answers, and the youngest is right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hubbleclip.archives.mast.raw_responses import RawResponses
from hubbleclip.core.errors import ArchiveError
from hubbleclip.core.layout import Layout


def files_of(raw: RawResponses, kind: str) -> list[Path]:
    return sorted((raw.layout.raw / kind).iterdir())


@pytest.fixture
def raw(tmp_path: Path) -> RawResponses:
    return RawResponses(Layout(tmp_path))


def age(path: Path, seconds: int) -> None:
    os.utime(path, (seconds, seconds))


def test_an_answer_that_comes_again_takes_the_place_of_the_old_one_with_the_same_bytes(raw: RawResponses) -> None:
    rows = [{"obsid": 1, "s_ra": 0.1, "title": "half \ud800"}]
    raw.store("observations", [1], rows)
    (path,) = files_of(raw, "observations")
    before = path.read_bytes()
    assert before.startswith(b"\x1f\x8b\x08\0\0\0\0\0\0\x03")  # gzip's header differs between Pythons
    raw.store("observations", [1], rows)
    assert files_of(raw, "observations") == [path]
    assert path.read_bytes() == before
    assert list(raw.pages()) == [rows]


def test_the_youngest_answer_comes_last(raw: RawResponses) -> None:
    for place, obsids in enumerate(([1, 2], [2], [3])):
        raw.store("observations", obsids, [{"obsid": obsid, "place": place} for obsid in obsids])
        new = max(files_of(raw, "observations"), key=lambda path: path.stat().st_mtime_ns)
        age(new, 1000 - place)
    assert [page[0]["place"] for page in raw.pages()] == [2, 1, 0]


def test_products_are_found_by_number_in_the_youngest_answer_about_it(raw: RawResponses) -> None:
    raw.store("products", [1, 2], [{"obsID": 1, "v": "old"}, {"obsID": 2, "v": "old"}, {"obsID": 9, "parent_obsid": 2}])
    age(files_of(raw, "products")[0], 1)
    raw.store("products", [1, 3], [{"obsID": 7, "parent_obsid": 1, "v": "new"}])
    assert raw.products([1, 2, 3]) == [
        {"obsID": 7, "parent_obsid": 1, "v": "new"},
        {"obsID": 2, "v": "old"},
        {"obsID": 9, "parent_obsid": 2},
    ]
    with pytest.raises(ArchiveError, match=r"observation 4 .*archive\.from_raw"):
        raw.products([4])


def test_nothing_landed_is_a_clear_error(raw: RawResponses) -> None:
    for question in (lambda: list(raw.pages()), lambda: raw.products([1])):
        with pytest.raises(ArchiveError, match=r"are stored under .*archive\.from_raw"):
            question()


@pytest.mark.parametrize("data", [b"", b"no gzip", b"\x1f\x8b\x08\x00cut", b"\x1f\x8b\x08" + bytes(7) + b"\xff"])
def test_a_damaged_file_is_named(raw: RawResponses, data: bytes) -> None:
    raw.store("observations", [1], [{"obsid": 1}])
    (path,) = files_of(raw, "observations")
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match=f"{path.name} is damaged"):
        list(raw.pages())
