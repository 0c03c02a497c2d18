"""Splits of tiles that are cut again under other tile settings."""

from pathlib import Path

import pytest
from stages import stage_at
from valid_catalog import assignment, hex_of, observation, product, proposal, tile

from hubbleclip.pipeline.shards.splitting import read_material, split_tiles


@pytest.mark.parametrize(("guarded", "late"), [("1", "2"), ("2", "1")])
def test_a_proposal_that_was_excluded_as_a_whole_stays_excluded_when_its_images_are_cut_again(
    guarded: str, late: str, tmp_path: Path
) -> None:
    with stage_at(tmp_path) as stage:
        digest = stage.settings.tiles.digest()
        stage.catalog.upsert({
            "proposal": [proposal("1")], "observation": [observation("o1")], "product": [product("mast:p1")],
            "tile": [tile(guarded), tile(late), tile("3", settings_digest=digest)],
            "split": [assignment(guarded, "a", "excluded", "sky_guard:overlap"), assignment(late, "a", "excluded", "late_link")],
        })  # fmt: skip
        found = split_tiles(stage, read_material(stage))[hex_of("3", 32)]
    assert (found.split, found.reason) == ("excluded", "late_link")
