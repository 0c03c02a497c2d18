"""What the archive lists changes from night to night, and some of its rows are unlike the others, as in MAST."""

from __future__ import annotations

from collections import Counter
from functools import cache

from hubbleclip.simulator.observations import FIRST_RELEASE_MJD, SimObservation, render_product
from hubbleclip.simulator.server.mast_tables import Row
from tests.faulty_archive.archive import FaultySettings, OddStore

SKY = FaultySettings(num_proposals=6, frame_px=64, changed_share=0.2)
ODD = FaultySettings(num_proposals=60, frame_px=64, odd_share=0.3)


@cache
def listed(nights: int) -> dict[str, SimObservation]:
    return {item.obs_id: item for item in OddStore(SKY.model_copy(update={"nights": nights})).observations.values()}


def rows(settings: FaultySettings) -> list[Row]:
    store = OddStore(settings)
    return [store.row(item) for item in store.find_observations([])]


def test_rows_of_an_old_date_are_added_withdrawn_and_renumbered_with_the_same_files() -> None:
    before, after = listed(5), listed(40)
    old = {name for name, item in after.items() if item.released_mjd < FIRST_RELEASE_MJD + 5}
    added, withdrawn = old - before.keys(), before.keys() - old
    renumbered = {name for name in old & before.keys() if after[name].obsid != before[name].obsid}
    assert {after[name].is_hap for name in added} == {True, False}
    assert min(len(added), len(withdrawn), len(renumbered)) >= 3
    same = old & before.keys() - renumbered
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    name = min(renumbered)
    assert after[name].products == before[name].products
    settings = SKY.model_copy(update={"nights": 40})
    files = [render_product(settings, night[name], night[name].products[0]) for night in (before, after)]
    assert files[0] == files[1]


def test_odd_rows_are_planes_sky_cells_and_early_releases() -> None:
    found = rows(ODD)
    assert len({(row["obsid"], row["objID"]) for row in found}) == len(found)
    planes = Counter(row["obsid"] for row in found)
    assert set(planes.values()) == {1, 2}
    cells = [row for row in found if row["proposal_id"] is None]
    assert cells
    assert all(row["obs_id"].startswith("hst_skycell-p") and row["dataproduct_type"] == "image" for row in cells)
    assert any(row["t_obs_release"] < row["t_min"] for row in found)
