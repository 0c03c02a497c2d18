"""Tiles whose assignment breaks its data contract belong to no split."""

import pytest
from sky_cases import material, proposal, tile
from stages import stage_at

from hubbleclip.core.records import SplitAssignment
from hubbleclip.pipeline.shards.splitting import split_tiles

BY_INSTRUMENT = {"scheme": "instrument", "test_instruments": ["WFPC2*"]}


@pytest.mark.parametrize("wanted", [{}, BY_INSTRUMENT])
def test_a_rejected_tile_is_left_out_of_the_splits_of_every_scheme(wanted, tmp_path):
    old, new, sound = tile("old", "hst:1"), tile("new", "hst:1"), tile("sound", "hst:2")
    given = material([old, new, sound], {}, {one.proposal_id: proposal(one.proposal_id) for one in (old, sound)})
    nameless = SplitAssignment(tile_id=old.tile_id, group_id="", split="train", reason=None)
    with stage_at(tmp_path, {"splits": wanted}) as stage:
        stage.catalog.upsert({"split": [nameless]})
        found = split_tiles(stage, given)
        stored = {row["tile_id"] for row in stage.catalog.rows("FROM split")}
        rejected = stage.catalog.rows("SELECT entity_id, stage, reason FROM rejection WHERE entity = 'tile'")
    reason = "contract:split.group_id.minLength"
    assert rejected == [{"entity_id": new.tile_id, "stage": "shards", "reason": reason}]
    assert stage.rejected == 2  # the assignment and the tile
    assert stored == {old.tile_id, sound.tile_id}
    assert new.tile_id not in found and sound.tile_id in found
