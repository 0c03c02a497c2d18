"""What `hubbleclip status` says of a dataset's composition, and of files that are no longer in use."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from stages import rejection
from valid_catalog import NOW, assignment, dataset, hex_of, make, observation, product, proposal, summary, tile

from hubbleclip.catalog.pending import (
    count_pending,
    pending_captions,
    pending_fetch,
    pending_products,
    pending_proposals,
    pending_tiles,
)
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.config.settings import FetchSettings, Settings, SplitSettings
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Attempt, Placement
from hubbleclip.pipeline.status import read_caption_status, read_status, status_lines

MANY_ROWS = (
    """INSERT INTO observation SELECT o.* REPLACE (obs_id || i AS obs_id, proposal_id || i AS proposal_id)
       FROM observation o, range(10_000) r(i)""",
    "INSERT INTO product SELECT p.* REPLACE (uri || i AS uri) FROM product p, range(10_000) r(i)",
)


def test_the_largest_proposals_of_the_newest_dataset_are_shown(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    tiles = [tile(str(number), proposal_id=f"hst:{1 if number < 4 else number}") for number in range(1, 6)]
    newest = dataset("1", num_samples=len(tiles))
    older = replace(dataset("2"), built_at=newest.built_at.replace(year=2000))
    places = [
        Placement(dataset_digest=digest, tile_id=one.tile_id, shard="train-000000.tar", offset=0, length=1)
        for digest, shown in ((newest.digest, tiles), (older.digest, tiles[4:]))
        for one in shown
    ]
    with writing_catalog(Layout(settings.root)) as catalog:
        catalog.upsert({"tile": tiles, "dataset": [newest, older], "placement": places})
    found = read_status(settings)
    assert [(row["proposal_id"], row["num_samples"]) for row in found.counts["largest_proposals"]] == [
        ("hst:1", 3),
        ("hst:4", 1),
        ("hst:5", 1),
    ]
    assert found.counts["largest_proposals"][0]["share"] == pytest.approx(0.6)
    assert "largest  hst:1 has 60.0% of the samples, the 3 largest proposals 100.0%" in list(status_lines(found))


def test_files_of_superseded_products_are_counted_unless_another_product_uses_them(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    shared = product("mast:shared", path="products/shared.fits", size_bytes=1_000_000)
    made = [
        shared,
        replace(shared, uri="mast:other", superseded_at=now),
        product("mast:old", path="products/old.fits", size_bytes=30_000_000, superseded_at=now),
        product("mast:gone", path=None, superseded_at=now),
    ]
    with writing_catalog(Layout(settings.root)) as catalog:
        catalog.upsert({"product": made})
    found = read_status(settings)
    assert found.counts["superseded"] == {"num_files": 1, "size_bytes": 30_000_000}
    assert "disk     1 files (0.03 GB) of products that are no longer selected" in list(status_lines(found))


def test_reasons_are_words_with_numbers(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, splits=SplitSettings(guard_arcsec=3))
    tiles = [tile(letter) for letter in "123"]
    dark = replace(rejection("product", "mast:dark", "tiles", "calibration"), detail="the header marks a dark")
    with writing_catalog(Layout(settings.root)) as catalog:
        reasons = ("sky_guard:overlap", "sky_guard:overlap", "late_link")
        assigned = [assignment(letter, "a", "excluded", reason) for letter, reason in zip("123", reasons, strict=True)]
        catalog.upsert({"tile": tiles, "split": assigned, "rejection": [dark]})
    lines = list(status_lines(read_status(settings)))
    assert "rejected 1 in tiles: a calibration exposure (such as: the header marks a dark)" in lines
    assert "excluded 2 tiles: at most 3.0 arcsec from a tile of val or test" in lines
    assert "excluded 1 tile: a proposal whose text now links it to a proposal of another split" in lines


@pytest.mark.parametrize("keep_fits", [True, False])
def test_pending_items_are_counted_without_a_row_of_each_in_memory(keep_fits: bool, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, fetch=FetchSettings(keep_fits=keep_fits))
    with writing_catalog(Layout(settings.root)) as catalog:
        on_disk, to_fetch = product("mast:a"), product("mast:b", sha256=None, path=None)
        catalog.upsert({"observation": [observation("o")], "product": [on_disk, to_fetch]})
        for statement in MANY_ROWS:
            catalog.connection.execute(statement)
        listed = {
            "products": sum(row["num"] for row in pending_products(catalog, settings.archive)),
            "proposals": len(pending_proposals(catalog, settings.archive)),
            "fetch": len(pending_fetch(catalog, settings)) if keep_fits else 0,
            "tiles": len(pending_tiles(catalog, settings)),
        }
        tracemalloc.start()
        counted = count_pending(catalog, settings)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert listed == {name: counted[name] for name in listed}
    assert min(counted["products"], counted["tiles"]) > 10_000
    assert peak < 1_000_000


def test_tiles_are_counted_when_the_catalog_is_published(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    names = ("new", "split", "placed", "refused", "excluded", "superseded", "old")
    digest = settings.tiles.digest()
    tiles = [
        tile(letter, product_uri=f"mast:{name}", settings_digest=hex_of("b", 16) if name == "old" else digest)
        for letter, name in zip("1234567", names, strict=True)
    ]
    by_name = dict(zip(names, tiles, strict=True))
    products = [
        product(f"mast:{name}", sha256=one.product_sha256, superseded_at=NOW if name == "superseded" else None)
        for name, one in by_name.items()
    ]
    newest = dataset("1", num_samples=1)
    place = Placement(
        dataset_digest=newest.digest, tile_id=by_name["placed"].tile_id, shard="train-000000.tar", offset=0, length=1
    )
    refused = rejection("tile", by_name["refused"].tile_id, "shards", "damaged", digest)
    splits = [
        assignment(letter, "a", "excluded" if name == "excluded" else "train")
        for letter, name in zip("1234567", names, strict=True)
        if name not in ("new", "superseded", "old")
    ]
    layout = Layout(settings.root)
    with writing_catalog(layout, publish_every_s=0) as catalog:
        catalog.upsert({"tile": tiles, "product": products})
        assert read_status(settings).pending["split"] == 5
        catalog.upsert({"split": splits, "dataset": [newest], "placement": [place], "rejection": [refused]})
        found = read_status(settings)
    assert (found.pending["split"], found.pending["shards"]) == (1, 1)
    assert [row["num_samples"] for row in found.counts["largest_proposals"]] == [1]
    assert read_status(settings) == found


def test_pending_abstracts_are_counted_as_they_are_listed(tmp_path: Path) -> None:
    settings, writer, now = Settings(data=tmp_path), "rules-1.1", datetime.now(UTC)
    texts = ("written", "by another writer", "rejected", "rejected earlier", "waiting", "failed", "new")
    proposals = [replace(proposal(str(number)), abstract=text) for number, text in enumerate(("new", *texts))]
    key = {text: sha256(text.encode()).hexdigest() for text in texts}
    of_captions = {"entity": "abstract_summary", "stage": "captions"}
    waiting = make(Attempt, **of_captions, entity_id=key["waiting"], next_try_at=now + timedelta(days=1))
    refused = rejection("abstract_summary", "", "captions", "no_text", settings.captions.digest())
    with writing_catalog(Layout(settings.root)) as catalog:
        catalog.upsert(
            {
                "proposal": proposals,
                "abstract_summary": [
                    summary("a", abstract_sha256=key["written"], writer=writer),
                    summary("a", abstract_sha256=key["by another writer"], writer="other"),
                ],
                "rejection": [
                    replace(refused, entity_id=key["rejected"]),
                    replace(refused, entity_id=key["rejected earlier"], settings_digest=hex_of("b", 16)),
                ],
                "attempt": [waiting, replace(waiting, entity_id=key["failed"], next_try_at=NOW)],
            }
        )
        listed = pending_captions(catalog, settings.captions, writer)
        counted = read_caption_status(catalog, settings.captions, writer)
    assert {row["abstract"] for row in listed} == {"by another writer", "rejected earlier", "failed", "new"}
    assert counted["num_pending"] == len(listed)
