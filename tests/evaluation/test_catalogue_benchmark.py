"""Objects of a catalogue: read, matched to tiles by their WCS, and ranked by class."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.wcs import WCS
from evaluation_samples import sample

from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.records import Sample
from hubbleclip.evaluation.benchmarks.catalogue import (
    SkyObject,
    class_counts,
    class_estimates,
    class_metrics,
    make_object_set,
    match_objects,
    mean_estimate,
    positives_of,
    read_catalogue,
)
from hubbleclip.evaluation.metrics.ranking import resampled_ndcg
from hubbleclip.images.wcs import tile_geometries

SIZE_PX, SCALE_DEG = 100, 0.05 / 3600
SEEN = frozenset({sample(0, 0).proposal_id})
"""The proposal of the first field, which is in train."""
GEOMETRY = ("ra_deg", "dec_deg", "corners_deg", "pixel_scale_arcsec", "wcs")


def frame(ra_deg: float, dec_deg: float, angle_deg: float = 0.0, frame_name: str = "ICRS", scale: float = 1.0) -> WCS:
    """WCS of an image whose pixel (150, 150), counted from 0, is at a position."""
    turn = np.radians(angle_deg)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [ra_deg, dec_deg], [151, 151]
    wcs.wcs.cd = scale * SCALE_DEG * np.array([[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    wcs.wcs.radesys = frame_name
    return wcs


def tiles_of(wcs: WCS, proposal: int, first: int, split: str = "test") -> list[Sample]:
    """Nine tiles of an image of 300 x 300 pixels."""
    starts = [(y, x) for y in (0, 100, 200) for x in (0, 100, 200)]
    return [
        sample(first + index, proposal, split, **{name: getattr(at, name) for name in GEOMETRY})
        for index, at in enumerate(tile_geometries(wcs, starts, SIZE_PX))
    ]


def at_pixel(wcs: WCS, x: float, y: float, class_name: str = "lens", radius_arcsec: float = 0.0) -> SkyObject:
    ra, dec = wcs.all_pix2world([[x, y]], 0)[0]
    return SkyObject(ra_deg=float(ra), dec_deg=float(dec), class_name=class_name, radius_arcsec=radius_arcsec)


@pytest.mark.parametrize(
    ("place", "angle"), [((40.0, -1.0), 0), ((0.0003, 12.0), 37), ((200.0, 89.9), 120), ((359.9999, -60.0), 200)]
)
def test_objects_are_matched_to_the_tile_of_their_pixel_and_no_other(place, angle):
    wcs = frame(*place, angle)
    tiles = [replace(one, ra_deg=round(one.ra_deg, 2)) for one in tiles_of(wcs, 1, 0)]  # a right ascension may be 0
    tiles += tiles_of(frame(100, 50, scale=0.1), 2, 20)  # the others are smaller
    rng = np.random.default_rng(0)
    pixels = np.concatenate([rng.uniform(-0.4, 299.4, (40, 2)), rng.uniform(301, 900, (10, 2))])
    objects = [at_pixel(wcs, *xy) for xy in pixels]
    expected = [
        (number, 3 * int((y + 0.5) // SIZE_PX) + int((x + 0.5) // SIZE_PX)) for number, (x, y) in enumerate(pixels[:40])
    ]
    assert match_objects(objects, tiles) == expected


def test_a_circle_that_reaches_into_a_tile_is_a_match():
    wcs = frame(10, 10, 20)
    tiles = tiles_of(wcs, 1, 0)
    outside = [at_pixel(wcs, 149.5, 299.5 + distance, radius_arcsec=1.0) for distance in (19.5, 20.5)]  # 20 px
    assert match_objects(outside, tiles) == [(0, 7)]
    assert match_objects(outside, [replace(one, pixel_scale_arcsec=None) for one in tiles]) == []
    corner = at_pixel(wcs, 99.5, 99.5, radius_arcsec=0.2)
    assert [tile for _, tile in match_objects([corner], tiles)] == [0, 1, 3, 4]


@pytest.mark.parametrize(("radius_px", "matched"), [(12.3, []), (13, [(0, 8)])])
def test_a_circle_beside_a_corner_is_no_square(radius_px, matched):
    wcs = frame(10, 10, 20)
    beside = at_pixel(wcs, 311.5, 303.5, radius_arcsec=0.05 * radius_px)  # 12.6 px from the corner of the last tile
    assert match_objects([beside], tiles_of(wcs, 1, 0)) == matched


def test_a_circle_is_larger_than_the_tiles_that_it_reaches():
    wcs = frame(10, 10, 20)
    far = at_pixel(wcs, 149.5, 599.5, radius_arcsec=16.0)  # 320 px, from 300 px beyond the edge of the last row
    assert match_objects([far], tiles_of(wcs, 1, 0)) == [(0, 6), (0, 7), (0, 8)]


def test_a_tile_in_another_frame_is_matched_in_icrs():
    galactic = frame(120.0, 30.0)
    galactic.wcs.ctype, galactic.wcs.radesys = ["GLON-TAN", "GLAT-TAN"], ""
    tiles = tiles_of(galactic, 1, 0)
    centre = SkyObject(ra_deg=tiles[4].ra_deg, dec_deg=tiles[4].dec_deg, class_name="lens")
    assert match_objects([centre], tiles) == [(0, 4)]


def test_a_catalogue_is_read_with_any_order_and_case_of_columns(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("\ufeffra_deg, Class ,DEC_DEG,name,radius_arcsec\n360,Edge-on_Disk,-3.5,a,\n0,jet,90,b,2.5\n")
    assert read_catalogue(path) == [
        SkyObject(ra_deg=0.0, dec_deg=-3.5, class_name="edge-on disk"),
        SkyObject(ra_deg=0.0, dec_deg=90.0, class_name="jet", radius_arcsec=2.5),
    ]
    path.write_text("ra_deg,dec_deg,class,votes\n1,2,jet,0.25\n1,2,ring,\n")
    assert [one.votes for one in read_catalogue(path)] == [0.25, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ra_deg,dec_deg\n1,2\n", "no column class"),
        ("ra_deg,dec_deg,class\n", "no objects"),
        ("ra_deg,dec_deg,class\n1,2,a\nx,2,a\n", "line 3"),
        *(
            (f"ra_deg,dec_deg,class,radius_arcsec\n{row}\n", "line 2: give ra_deg 0 to 360")
            for row in ("361,2,a,0", "-1,2,a,0", "1,91,a,0", "1,-91,a,0", "1,2, _ ,0", "1,2,a,-1", "1,2,a,inf")
        ),
        ("ra_deg,dec_deg,class\n1,2\n", "line 2"),
        ("ra_deg,dec_deg,class\n1,nan,a\n", "line 2"),
        ("ra_deg,dec_deg,class,votes\n1,2,a,17\n", "votes 0 to 1"),
        ("", "no column"),
    ],
)
def test_a_bad_catalogue_is_one_line_with_the_line(text, message, tmp_path):
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(EvaluationError, match=message) as caught:
        read_catalogue(tmp_path / "c.csv")
    assert "\n" not in str(caught.value)
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_catalogue(tmp_path / "absent.csv")


@pytest.fixture(scope="module")
def scene():
    """Three fields: the objects of the first are in train, one object is in two fields, and one is in no tile."""
    fields = [frame(40, -1), frame(50, 2, 30), frame(60, 5, 80)]
    splits = ("train", "test", "test")
    samples = [
        one
        for number, (wcs, split) in enumerate(zip(fields, splits, strict=True))
        for one in tiles_of(wcs, number, 100 * number, split)
    ] + tiles_of(fields[1], 3, 900)  # the second field again, in another proposal
    objects = [
        at_pixel(fields[0], 50, 50, "ring"),
        at_pixel(fields[1], 50, 50, "ring"),
        at_pixel(fields[1], 250, 50, "jet"),
        at_pixel(fields[2], 150, 150, "jet"),
        at_pixel(fields[2], 900, 900, "jet"),
        at_pixel(fields[2], 50, 50, "ring"),
    ]
    pairs = match_objects(objects, samples)
    return objects, samples, make_object_set(objects, samples, pairs, num_others=10)


def test_candidates_are_the_tiles_of_objects_and_others_in_order_and_those_of_one_object_are_a_group(scene):
    _, _, object_set = scene
    ids = [one.tile_id for one in object_set.samples]
    assert ids == sorted(ids)
    assert object_set.texts == ("jet", "ring")
    assert positives_of(object_set).sum(axis=1).tolist() == [3, 4]  # an object of the second field is in two tiles
    assert len(ids) == 7 + 10
    _, sizes = np.unique(object_set.group_t, return_counts=True)
    assert sorted(sizes.tolist()) == [1] * 13 + [2, 2]


def test_objects_of_training_proposals_are_counted_by_class(scene):
    objects, samples, object_set = scene
    assert class_counts(object_set, objects, samples, match_objects(objects, samples), SEEN) == [
        {"class": "jet", "num_objects": 3, "num_in_tiles": 2, "num_tiles": 3, "num_in_training": 0},
        {"class": "ring", "num_objects": 3, "num_in_tiles": 3, "num_tiles": 4, "num_in_training": 1},
    ]


def test_metrics_by_class_and_scope_with_intervals_and_baselines(scene):
    _, _, object_set = scene
    perfect = positives_of(object_set).astype(float)
    scores = {"model": perfect, "base": 1 - perfect, "bm25": perfect, "random": np.zeros_like(perfect)}
    rows = class_metrics(object_set, scores, SEEN, num_resamples=200)
    found = {(row["scope"], row["model"], row["class"], row["name"]): row for row in rows}
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    for name in ("jet", "ring", None):
        best, chance = (found["all", model, name, "ap"] for model in ("model", "random"))
        assert best["value"] == 1 and best["low"] < 1 == best["high"]
        assert 0.1 < chance["value"] < 0.5
    assert found["all", "model", "jet", "precision_at_1"]["value"] == 1
    assert found["all", "model", "jet", "precision_at_5"]["value"] == pytest.approx(3 / 5)
    assert found["all", "random", "ring", "precision_at_10"]["value"] == pytest.approx(4 / 17)
    of_classes = [found["all", "base", name, "ap"]["value"] for name in ("jet", "ring")]
    assert found["all", "base", None, "ap"]["value"] == pytest.approx(np.mean(of_classes), abs=1e-6)
    assert found["unseen", "model", None, "ap_minus_bm25"]["value"] == 0
    gain = found["all", "model", None, "ap_minus_base"]
    assert gain["low"] > 0 and gain["value"] == pytest.approx(1 - found["all", "base", None, "ap"]["value"])
    unseen = np.flatnonzero([one.proposal_id not in SEEN for one in object_set.samples])
    parts = {name: getattr(object_set, name)[unseen] for name in ("grades_tk", "group_t")}
    alone = replace(object_set, samples=tuple(object_set.samples[tile] for tile in unseen), **parts)
    of_unseen = {name: scores_kt[:, unseen] for name, scores_kt in scores.items()}
    others = class_metrics(alone, of_unseen, SEEN, num_resamples=200)
    assert [row | {"scope": "unseen"} for row in others] == [row for row in rows if row["scope"] == "unseen"]


def test_votes_are_the_gains_of_ndcg_and_a_majority_makes_a_positive(scene):
    objects, samples, _ = scene
    votes = (0.9, 0.6, 0.3, 0.8, 1.0, 0.2, 0.1)  # the last object is in the tile of the second
    voted = [replace(one, votes=vote) for one, vote in zip([*objects, objects[1]], votes, strict=True)]
    object_set = make_object_set(voted, samples, match_objects(voted, samples), num_others=10)
    rings, jets = object_set.grades_tk.T[1], object_set.grades_tk.T[0]
    assert sorted(rings[rings > 0]) == [0.2, 0.6, 0.6, 0.9] and sorted(jets[jets > 0]) == [0.3, 0.3, 0.8]
    assert positives_of(object_set).sum(axis=1).tolist() == [1, 3]
    scores_t = -rings  # the items without a vote come first, in any order
    estimates = {
        one.name: one.value
        for one in class_estimates("m", scores_t, rings, object_set.group_t, np.ones((1, 17), dtype=int))
    }
    assert estimates["ndcg_at_10"] == pytest.approx(0, abs=1e-9)
    best = np.sort(rings)[::-1]
    swapped = np.where(rings == 0.9, 0.5, rings)
    gains = (0.6, 0.6, 0.9, 0.2) / np.log2([2, 3, 4, 5])
    (found,) = resampled_ndcg(swapped, rings, np.ones((1, 17), dtype=int))
    assert found == pytest.approx(gains.sum() / (best[:4] / np.log2([2, 3, 4, 5])).sum())


def test_other_tiles_are_chosen_by_a_hash_of_their_ids_and_not_by_their_order(scene):
    objects, samples, object_set = scene
    pairs = [(number, len(samples) - 1 - index) for number, index in match_objects(objects, samples)]
    again = make_object_set(objects, samples[::-1], sorted(pairs), num_others=10)
    assert [one.tile_id for one in again.samples] == [one.tile_id for one in object_set.samples]
    fewer = make_object_set(objects, samples, match_objects(objects, samples), num_others=4)
    assert {one.tile_id for one in fewer.samples} < {one.tile_id for one in object_set.samples}
    matched = {samples[index].tile_id for _, index in match_objects(objects, samples)}
    unmatched = sorted({one.tile_id for one in samples} - matched)
    assert sorted({one.tile_id for one in fewer.samples} - matched) not in (unmatched[:4], unmatched[-4:])


def test_one_object_that_training_has_not_seen_gives_no_rows_of_that_scope(scene):
    objects, samples, _ = scene
    pairs = [pair for pair in match_objects(objects, samples) if pair[0] in {0, 5}]  # the first is in train
    object_set = make_object_set(objects, samples, pairs, num_others=8)
    unseen_t = np.array([one.proposal_id not in SEEN for one in object_set.samples])
    assert positives_of(object_set)[:, unseen_t].any(axis=0).tolist().count(True) == 1
    assert unseen_t.sum() > 1
    rows = class_metrics(object_set, {"model": positives_of(object_set).astype(float)}, SEEN, num_resamples=50)
    assert {row["scope"] for row in rows} == {"all"}


def test_a_class_has_the_groups_of_its_own_tiles_and_their_mean_those_of_all_classes():
    group_t, weights_bg = np.array([0, 0, 1, 2, 3, 4]), np.array([[1, 1, 1, 1, 1], [0, 0, 2, 2, 1], [3, 0, 1, 1, 0]])
    positive_kt = np.array([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0]])
    scores_t = np.array([3.0, 1.0, 5.0, 4.0, 2.0, 0.0])
    classes = [class_estimates("model", scores_t, one, group_t, weights_bg[:, group_t])[0] for one in positive_kt]
    assert [one.sizes_g.tolist() for one in classes] == [[2, 1], [1]]
    assert mean_estimate(classes, group_t, positive_kt > 0).sizes_g.tolist() == [2, 1, 1]
    assert classes[0].draws_b[1] == pytest.approx(
        classes[0].value
    )  # a resample without the class is the mean of others
    assert classes[0].draws_b[0] != pytest.approx(classes[0].value)
