"""Names from outside never become paths unchecked; names of ours are stable."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hubbleclip.paths import Layout, parse_shard_name, shard_name, tile_id


@given(st.text())
@example("../../x.fits")
@example("/etc/passwd")
@example("a\0b.fits")
def test_product_stands_below_its_folder_whatever_its_name(name: str) -> None:
    layout = Layout(Path("root"))
    path = layout.product("ab" * 32, name)
    assert path.parent == Path("root/products/ab")
    assert path.name.startswith("ab" * 32 + ".")


@given(st.sampled_from(["train", "val", "test"]), st.integers(0, 999_999))
def test_shard_names_are_parsed_back(split: str, index: int) -> None:
    assert parse_shard_name(shard_name(split, index)) == (split, index)


@pytest.mark.parametrize("name", ["train-1.tar", "dev-000001.tar", "train-000001.tar.gz", "../train-000001.tar"])
def test_other_names_are_no_shards(name: str) -> None:
    with pytest.raises(ValueError, match="not a shard"):
        parse_shard_name(name)


def test_tile_identity_depends_on_every_part() -> None:
    parts = [
        ("a", 1, 0, 0, "d"),
        ("b", 1, 0, 0, "d"),
        ("a", 2, 0, 0, "d"),
        ("a", 1, 512, 0, "d"),
        ("a", 1, 0, 512, "d"),
        ("a", 1, 0, 0, "e"),
    ]
    ids = {tile_id(*part) for part in parts}
    assert len(ids) == len(parts)
    assert all(len(i) == 32 and i.isalnum() for i in ids)


def test_stored_paths_are_relative_to_the_root_and_come_back() -> None:
    layout = Layout(Path("/data/demo"))
    assert layout.relative(layout.tile("ab12")) == "tiles/ab/ab12.png"
    assert layout.absolute(layout.relative(layout.tile("ab12"))) == layout.tile("ab12")
    assert layout.absolute(layout.relative(Path("/elsewhere/x.fits"))) == Path("/elsewhere/x.fits")
