"""Splits of tiles that are cut again under other tile settings."""

import hashlib
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from stages import stage_at
from synthetic_samples import make_samples_with_pngs
from valid_catalog import assignment, hex_of, observation, product, proposal, summary, tile

from hubbleclip.captions.backends import writer_of
from hubbleclip.config.settings import ShardSettings, read_settings
from hubbleclip.core.errors import DatasetError
from hubbleclip.dataset.build import build_dataset
from hubbleclip.pipeline.shards import read_material, read_summaries, split_tiles


@pytest.mark.parametrize("reason", ["late_link", "group_conflict"])
@pytest.mark.parametrize(("guarded", "late"), [("1", "2"), ("2", "1")])
def test_a_proposal_that_was_excluded_as_a_whole_stays_excluded_when_its_images_are_cut_again(
    guarded: str, late: str, reason: str, tmp_path: Path
) -> None:
    with stage_at(tmp_path) as stage:
        digest = stage.settings.tiles.digest()
        stage.catalog.upsert(
            {
                "proposal": [proposal("1")],
                "observation": [observation("o1")],
                "product": [product("mast:p1")],
                "tile": [tile(guarded), tile(late), tile("3", settings_digest=digest)],
                "split": [
                    assignment(guarded, "a", "excluded", "sky_guard:overlap"),
                    assignment(late, "a", "excluded", reason),
                ],
            }
        )
        found = split_tiles(stage, read_material(stage))[hex_of("3", 32)]
    assert (found.split, found.reason) == ("excluded", reason)


def test_a_scheme_on_request_leaves_the_stored_splits_and_has_its_own(tmp_path: Path) -> None:
    wanted = {"splits": {"scheme": "instrument", "test_instruments": ["WFC3*"]}}
    with stage_at(tmp_path, wanted) as stage:
        digest = stage.settings.tiles.digest()
        tiles = [
            tile("1", settings_digest=digest),
            tile("2", settings_digest=digest, proposal_id="hst:2"),
        ]
        tiles = [replace(one, corners_deg=[], obs_id=obs_id) for one, obs_id in zip(tiles, ("o1", "o2"), strict=True)]
        stage.catalog.upsert(
            {
                "proposal": [replace(proposal(number), title=f"Title {number}", abstract=None) for number in "12"],
                "observation": [observation("o1"), replace(observation("o2"), ra_deg=200.0)],
                "product": [product("mast:p1")],
                "tile": tiles,
                "split": [assignment("1", "a", "val")],
            }
        )
        found = split_tiles(stage, read_material(stage))
        stored = {row["tile_id"]: row["split"] for row in stage.catalog.rows("FROM split")}
    assert {tile_id: plan.split for tile_id, plan in found.items()} == {one.tile_id: "test" for one in tiles}
    assert stored == {tiles[0].tile_id: "val", tiles[1].tile_id: "train"}  # two groups are too few to draw val and test


@pytest.mark.parametrize("selected", [True, False])
def test_summaries_are_read_by_writer_for_the_abstract_as_it_is_now(selected: bool, tmp_path: Path) -> None:
    overrides = {"captions": {"backend": "rules" * selected}, "shards": {"caption_kinds": ["abstract"]}}
    with stage_at(tmp_path, overrides) as stage:
        own = writer_of(read_settings("demo", {}, {"captions": {"backend": "rules"}}).captions)
        sha256 = hashlib.sha256(b"Stars.").hexdigest()
        stage.catalog.upsert(
            {
                "proposal": [
                    proposal("1"),
                    replace(proposal("2"), abstract="Another text."),
                    replace(proposal("3"), abstract=None),
                ],
                "abstract_summary": [
                    summary("a", abstract_sha256=sha256, writer=own),
                    summary("a", abstract_sha256=sha256, writer=f"{own}9"),
                    summary("b"),
                ],
            }
        )
        found = read_summaries(stage)
    assert set(found) == {"hst:1"}
    assert {key: one.writer for key, one in found["hst:1"].items()} == {own: own, f"{own}9": f"{own}9"} | (
        {"": own} if selected else {}
    )


@pytest.mark.parametrize("split", ["test", "train"])
def test_a_stored_split_that_moves_a_published_test_tile_is_refused(split: str, tmp_path: Path) -> None:
    samples, pngs = make_samples_with_pngs(10, 10)
    with stage_at(tmp_path) as stage:
        build_dataset(
            samples,
            pngs.__getitem__,
            stage.layout.datasets,
            ShardSettings(),
            contract_version="1",
            code_version="1",
            split_report={"lineage": "random"},
        )
        tests = [one for one in samples if one.split == "test"]
        stored = [replace(assignment("1", one.group_id, split), tile_id=one.tile_id) for one in tests]
        stage.catalog.upsert({"split": stored})
        with nullcontext() if split == "test" else pytest.raises(DatasetError, match="are no longer in test"):
            split_tiles(stage, read_material(stage))
