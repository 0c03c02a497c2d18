"""A damaged block or bit of the catalog is one line whose advice works."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from stages import fetched, observation, rejection

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.errors import CatalogError
from hubbleclip.core.layout import Layout

NUM_ROWS = 400


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole") / "root"
    with writing_catalog(Layout(root)) as catalog:
        write(catalog, range(NUM_ROWS))
    return root


def write(catalog, numbers) -> None:
    catalog.upsert(
        {
            "observation": [observation(f"o{n}") for n in numbers],
            "product": [fetched(f"o{n}", f"{n:064x}") for n in numbers],
            "rejection": [rejection("product", f"mast:o{n}", "tiles") for n in numbers],
        }
    )


def work(layout: Layout) -> None:
    """What a night does: read, write new and changed rows, publish, and read the snapshot."""
    with writing_catalog(layout) as catalog:
        catalog.changed_rows("observation", [observation("o1"), observation("new")])
        catalog.named_query("old_contents")
        write(catalog, range(NUM_ROWS // 2, NUM_ROWS + 10))
        catalog.run("clear_failures", entity="product", stage="tiles", ids=[f"mast:o{n}" for n in range(50)])
    with read_catalog(layout) as catalog:
        for name in ("observation", "product", "rejection"):
            catalog.query(f"FROM {name} ORDER BY ALL")
        catalog.counts()


def with_damaged_block(data: bytearray) -> None:
    data[3 * 4096 :: 4096] = bytes(byte ^ 255 for byte in data[3 * 4096 :: 4096])


@pytest.mark.parametrize("num_bytes", [0, 8192])
def test_a_working_copy_whose_making_was_interrupted_is_made_again(num_bytes: int, whole: Path, tmp_path: Path) -> None:
    content = Layout(whole).working_catalog.read_bytes()[:num_bytes]
    for layout, num_rows in (
        (Layout(shutil.copytree(whole, tmp_path / "root")), NUM_ROWS + 10),  # the snapshot has the first rows
        (Layout(tmp_path / "new"), NUM_ROWS // 2 + 10),
    ):
        layout.root.mkdir(exist_ok=True)
        layout.working_catalog.write_bytes(content)
        work(layout)
        with read_catalog(layout) as catalog:
            assert catalog.counts()["observation"] == num_rows


def with_flipped_bit(data: bytearray, seed: int) -> None:
    draw = random.Random(seed)
    place = draw.randrange(len(data))
    data[place] ^= 1 << draw.randrange(8)


# The first bit is noticed by a statement that writes, the second by a query.
@pytest.mark.parametrize(
    "damage", [with_damaged_block, partial(with_flipped_bit, seed=0), partial(with_flipped_bit, seed=3)]
)
def test_damage_is_one_line_with_advice(damage: Callable[[bytearray], None], whole: Path, tmp_path: Path) -> None:
    layout = Layout(shutil.copytree(whole, tmp_path / "root"))
    data = bytearray(layout.working_catalog.read_bytes())
    damage(data)
    layout.working_catalog.write_bytes(data)
    with pytest.raises(CatalogError, match=r"catalog\.writing\.duckdb .*move it away and run again"):
        work(layout)
    layout.working_catalog.unlink()
    work(layout)
