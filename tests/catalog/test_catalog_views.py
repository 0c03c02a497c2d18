"""Views return what users query, have a comment, and are listed in docs/catalog.md."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from stages import NOW, fetched, observation, product, rejection
from valid_catalog import make

from benchmarks.synthetic_catalog import synthetic_rows
from hubbleclip.catalog.catalog import Catalog
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Attempt, Dataset, Proposal, Run, Shard

GUIDE = (Path(__file__).parents[2] / "docs/catalog.md").read_text(encoding="utf-8")
QUERIES = {
    "cone": "FROM cone(10, 20, 1)",
    "box": "FROM box(350, 10, -5, 5)",
    "search_abstracts": "FROM search_abstracts('dust in galaxies')",
}


@pytest.fixture
def catalog(layout: Layout) -> Iterator[Catalog]:
    with writing_catalog(layout) as catalog:
        yield catalog


def proposal(number: int) -> Proposal:
    return make(Proposal, proposal_id=f"hst:{number}", cycle=number)


def dataset(digest: str, days: int, parent: str | None = None) -> Dataset:
    line = {"parent_digest": parent, "num_new_samples": 10 if parent else None}
    return make(Dataset, digest=digest, num_samples=10 * days, built_at=NOW + timedelta(days=days), **line)


def test_every_view_says_what_it_is_stands_in_the_guide_and_answers_on_an_empty_catalog(catalog: Catalog) -> None:
    views = {row["name"]: row["comment"] for row in catalog.views()}
    assert set(QUERIES) < set(views)
    assert len(views) > 12
    assert [name for name, comment in views.items() if not comment] == []
    assert [name for name in views if f"`{name}" not in GUIDE] == []
    for name in views.keys() - {"storage"}:
        assert catalog.rows(QUERIES.get(name, f"FROM {name}")) == [], name


def test_coverage_counts_each_thing_once(catalog: Catalog) -> None:
    seen = [observation("a", "hst:1"), observation("b", "hst:1"), replace(observation("c", "hst:2"), filters="F814W")]
    tiles = synthetic_rows("tile", 5, tile_id=[str(i) for i in range(5)], obs_id=["a", "a", "a", "b", "c"])
    catalog.upsert({"proposal": [proposal(1), proposal(2)], "observation": seen, "tile": tiles})
    counted = catalog.rows("SELECT cycle, filters, num_proposals, num_observations, num_tiles FROM coverage")
    assert [tuple(row.values()) for row in counted] == [(1, "F606W", 1, 2, 4), (2, "F814W", 1, 1, 1)]


def test_a_proposal_without_tiles_says_how_far_it_came(catalog: Catalog) -> None:
    waiting = make(Attempt, entity_id="mast:e", error="timeout")
    catalog.upsert(
        {
            "proposal": [proposal(number) for number in range(1, 9)],
            "observation": [observation(name, f"hst:{i}") for i, name in enumerate("bcdefgh", 2)],
            "product": [
                product("c", proposal="hst:3"),
                fetched("d", proposal="hst:4"),
                product("e", proposal="hst:5"),
                fetched("f", proposal="hst:6"),
                fetched("h", proposal="hst:8"),
            ],
            "rejection": [
                rejection("product", "mast:f", "tiles", "blank"),
                rejection("observation", "g", "products", "none"),
                rejection("proposal", "hst:7", "proposals", "gone"),
            ],
            "attempt": [waiting],
            "tile": synthetic_rows("tile", 1, proposal_id="hst:8"),
        }
    )
    reasons = {row["proposal_id"]: row["reasons"] for row in catalog.rows("FROM proposal_without_tile")}
    assert reasons == {
        "hst:1": ["no observation"],
        "hst:2": ["no product chosen"],
        "hst:3": ["not fetched yet"],
        "hst:4": ["not cut yet"],
        "hst:5": ["fetch: timeout, to be tried again"],
        "hst:6": ["tiles: blank"],
        "hst:7": ["products: none", "proposals: gone"],
    }


def test_storage_counts_each_file_once(catalog: Catalog) -> None:
    """Two products of one content share a file; a shard that a newer dataset reuses is counted in the older one."""
    again = replace(fetched("b"), path=fetched("a").path)
    dropped = replace(fetched("c", "c" * 64), path=None)
    shard = make(Shard, dataset_digest="old", size_bytes=7)
    catalog.upsert(
        {
            "product": [fetched("a"), again, dropped],
            "tile": synthetic_rows("tile", 3, tile_id=["1", "2", "3"], size_bytes=[100, 50, None]),
            "shard": [shard, replace(shard, dataset_digest="new", home_digest="old")],
        }
    )
    assert [tuple(row.values()) for row in catalog.rows("FROM storage")] == [
        ("products", 1, 10, 0),
        ("tiles", 3, 150, 1),
        ("shards", 1, 7, 0),
    ]


def test_datasets_tell_their_parents_and_runs(catalog: Catalog) -> None:
    run = make(Run, run_id="r", dataset_digest="b")
    datasets = [dataset("a", 1), dataset("b", 2, "a"), dataset("c", 3, "b"), dataset("z", 4)]
    catalog.upsert({"dataset": datasets, "run": [run]})
    rows = catalog.rows("SELECT digest, parent_digest, generation, num_new_samples, run_ids FROM dataset_history")
    assert [tuple(row.values()) for row in rows] == [
        ("a", None, 1, 10, []),
        ("b", "a", 2, 10, ["r"]),
        ("c", "b", 3, 10, []),
        ("z", None, 1, 40, []),
    ]


def test_product_history_counts_the_tiles_of_each_content(catalog: Catalog) -> None:
    shas = ["a" * 64, "b" * 64]
    catalog.upsert(
        {
            "product": [replace(fetched("x", shas[1]), version=2)],
            "product_version": synthetic_rows("product_version", 2, uri="mast:x", version=[1, 2], sha256=shas),
            "tile": synthetic_rows("tile", 3, tile_id=["1", "2", "3"], product_sha256=[*shas, shas[1]]),
        }
    )
    rows = catalog.rows("SELECT version, is_current, num_tiles FROM product_history")
    assert [tuple(row.values()) for row in rows] == [(1, False, 1), (2, True, 2)]
