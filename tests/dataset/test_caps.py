"""Caps of the tiles of a proposal and of a sky patch."""

import hashlib
from collections import Counter
from dataclasses import replace

import pytest
from astropy.coordinates import Angle
from astropy_healpix import HEALPix
from sky_cases import material, square, tile

from hubbleclip.config.settings import SplitSettings
from hubbleclip.dataset.splits.assign import assign_splits
from hubbleclip.dataset.splits.caps import PROPOSAL_CAP, sky_patches

BY_PROPOSAL = SplitSettings(max_tiles_per_proposal=6)


def tiles_of(proposal, num_files, num_tiles, ra_deg=None):
    """Tiles of several files, 20 arcseconds apart or without a position."""
    return [
        replace(
            tile(f"{proposal}-{file}-{index}", proposal, () if ra_deg is None else square(ra_deg, 0.01, 2.0)),
            product_uri=f"made:{proposal}-{file}",
            ra_deg=ra_deg,
            dec_deg=None if ra_deg is None else 0.01,
        )
        for file in range(num_files)
        for index in range(num_tiles)
    ]


def plans_of(tiles, settings, existing=None):
    existing = existing or {}
    new = assign_splits(material(tiles, {}, {}), existing, settings)
    return existing | {plan.tile_id: plan for plan in new}


def admitted(tiles, plans):
    return [one for one in tiles if plans[one.tile_id].split != "excluded"]


def test_a_proposal_has_at_most_the_set_number_of_tiles_in_turn_from_its_files():
    tiles = tiles_of("large", 3, 8) + tiles_of("small", 1, 4)
    plans = plans_of(tiles, BY_PROPOSAL)
    kept = admitted(tiles, plans)
    assert Counter(one.product_uri for one in kept) == {f"made:large-{i}": 2 for i in range(3)} | {"made:small-0": 4}
    assert {plan.reason for plan in plans.values() if plan.split == "excluded"} == {PROPOSAL_CAP}


def test_new_tiles_never_displace_admitted_ones_and_nothing_changes_without_new_tiles():
    early, late = tiles_of("p", 2, 5), tiles_of("p", 4, 5)
    first = plans_of(early, BY_PROPOSAL)
    assert assign_splits(material(early, {}, {}), first, BY_PROPOSAL) == []
    both = plans_of(late, BY_PROPOSAL, first)
    assert {one.tile_id for one in admitted(early, first)} == {one.tile_id for one in admitted(late, both)}


@pytest.mark.parametrize("cap", ["max_tiles_per_proposal", "max_tiles_per_patch"])
def test_a_raised_cap_of_a_sky_patch_admits_more_tiles(cap):
    """So does one of a proposal; a cap that is lowered again removes none."""
    others = tiles_of("p" if cap == "max_tiles_per_proposal" else "q", 2, 10, 10.0)[10:]
    tiles = tiles_of("p", 2, 10, 10.0)[:10] + others
    low, high = (SplitSettings(**{cap: num}) for num in (5, 7))
    first = plans_of(tiles, low)
    raised = plans_of(tiles, high, first)
    before, after = ({one.tile_id for one in admitted(tiles, plans)} for plans in (first, raised))
    assert (len(before), len(after)) == (5, 7) and before < after
    assert {one.tile_id for one in admitted(tiles, plans_of(tiles, low, raised))} == after


def test_tiles_that_are_excluded_for_another_reason_take_no_place():
    tiles = tiles_of("p", 1, 10)
    first = plans_of(tiles[:4], BY_PROPOSAL)
    guarded = {name: replace(plan, split="excluded", reason="sky_guard:overlap") for name, plan in first.items()}
    assert len(admitted(tiles, plans_of(tiles, BY_PROPOSAL, guarded))) == 6


def test_a_patch_is_the_healpix_pixel_of_order_ten_at_the_centre_of_the_tile():
    pixels = [0, 1, 123_456, 4**10 * 4 + 17, 4**10 * 12 - 1]
    sky = HEALPix(nside=1024, order="nested").healpix_to_lonlat(pixels)
    tiles = [
        replace(tile(i, "p"), ra_deg=float(ra.deg), dec_deg=float(dec.deg))
        for i, (ra, dec) in enumerate(zip(*map(Angle, sky), strict=True))
    ]
    assert sky_patches([*tiles, tile("nowhere", "p")]) == [*pixels, None]


def test_a_tile_beyond_one_cap_takes_no_place_of_the_other():
    crowded = tiles_of("p", 1, 20, 10.0)
    lone = [one for ra_deg in (40.0, 50.0, 60.0) for one in tiles_of(f"lone {ra_deg}", 1, 1, ra_deg)]
    tiles = crowded + [replace(one, proposal_id="p", product_uri=crowded[0].product_uri) for one in lone]
    both = SplitSettings(max_tiles_per_proposal=4, max_tiles_per_patch=1)
    kept = admitted(tiles, plans_of(tiles, both))
    assert sorted(one.ra_deg for one in kept) == [10.0, 40.0, 50.0, 60.0]


def test_the_tiles_of_a_file_are_drawn_by_the_hash_of_their_ids_whatever_their_order():
    tiles = tiles_of("p", 1, 30)
    drawn = sorted(tiles, key=lambda one: hashlib.sha256(one.tile_id.encode()).digest())[:6]
    for given in (tiles, tiles[::-1]):
        assert {one.tile_id for one in admitted(given, plans_of(given, BY_PROPOSAL))} == {one.tile_id for one in drawn}


def test_a_tile_beyond_both_caps_is_recorded_with_that_of_the_proposal():
    tiles = tiles_of("p", 1, 3, 10.0)
    plans = plans_of(tiles, SplitSettings(max_tiles_per_proposal=1, max_tiles_per_patch=1))
    assert sorted(plan.reason or "" for plan in plans.values()) == ["", PROPOSAL_CAP, PROPOSAL_CAP]
