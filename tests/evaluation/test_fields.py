"""Answers to example queries: one field is one answer, and the archive's class says which are right."""

from dataclasses import replace

import pytest
from evaluation_samples import sample
from sky_cases import square

from hubbleclip.cli import serving
from hubbleclip.evaluation.metrics.vocabulary import read_vocabulary
from hubbleclip.evaluation.report.tile_cards import (
    QUERY_CLASSES,
    SEARCH_PAGE,
    Thumbnail,
    field_card,
    fold_fields,
    is_same_field,
    mark_of,
    tile_card,
)

SIDE_DEG = 0.0025


def at(index: int, ra_deg: float, **changes: object):
    """A tile with north up and east to the left, whose first corner is the bottom left one."""
    corners = square(ra_deg, 0.0, SIDE_DEG * 3600, 90)
    values = {"corners_deg": corners, "ra_deg": ra_deg, "dec_deg": 0.0, "target_name": None} | changes
    return sample(index, **values)


def test_one_field_in_four_filters_is_one_answer() -> None:
    filters = ("F435W", "F606W", "F814W", "F160W")
    field = [at(number, 10.0 + number * 1e-5, filter=name) for number, name in enumerate(filters)]
    samples = [*field, at(5, 10.0 + 2 * SIDE_DEG), at(6, 50.0), at(7, 70.0)]
    answers = fold_fields(samples, [1, 0, 4, 2, 3, 5, 6], 3)
    assert answers == [[1, 0, 2, 3], [4], [5]]
    pictures = {one.tile_id: Thumbnail("data:image/jpeg;base64,", 160) for one in samples}
    card = field_card("a comet with its coma and tail", answers[0], samples, pictures)
    assert card["others"] == "and 3 more of this field (F160W, F435W, F814W)"


def test_tiles_of_one_target_of_a_proposal_are_one_field_and_moving_ones_are_not_matched_by_position() -> None:
    one, other = sample(1), sample(2)
    assert is_same_field(one, other)
    assert not is_same_field(one, replace(other, proposal_id="hst:2"))
    fixed, moving, far = (
        at(1, 10.0),
        at(2, 10.0, is_moving=True),
        at(1, 50.0),
    )  # the last one is of the first's proposal
    assert not any(is_same_field(*pair) for pair in ((moving, fixed), (fixed, moving), (fixed, far)))
    assert not is_same_field(fixed, replace(fixed, obs_id="other", corners_deg=[], proposal_id="hst:2"))
    assert is_same_field(at(1, 10.0), at(2, 10.0 + 0.47 * SIDE_DEG))  # half a side is the largest distance
    assert not is_same_field(at(1, 10.0), at(2, 10.0 + 0.53 * SIDE_DEG))


def test_every_query_of_the_vocabulary_has_a_class() -> None:
    assert set(QUERY_CLASSES) == set(read_vocabulary()["queries"])


@pytest.mark.parametrize(
    ("target_class", "query"),
    [
        ("SIMULATED;SPIRAL GALAXY", 0),
        ("GALAXY;SPIRAL", 0),
        ("SIMULATED;GALAXY MERGER", 2),
        ("SIMULATED;GALAXY CLUSTER", 3),
        ("SIMULATED;PLANETARY NEBULA", 6),
        ("SIMULATED;STAR-FORMING NEBULA", 8),
        ("ISM;HII REGION", 8),
        ("SOLAR SYSTEM;PLANET", 9),
    ],
)
def test_a_class_is_right_for_its_query_alone(target_class: str, query: int) -> None:
    queries, tile = list(QUERY_CLASSES), sample(1, target_class=target_class)
    assert [text for text in queries if mark_of(text, tile) == "right"] == [queries[query]]
    assert mark_of(queries[query], sample(1, target_class=None)) == ""


def test_a_card_has_scale_north_east_position_and_links() -> None:
    tile = at(1, 83.82, pixel_scale_arcsec=SIDE_DEG * 3600 / 160, proposal_id="hst:10003", obs_id="j8xi0x010")
    card = tile_card(tile, {tile.tile_id: Thumbnail("data:", 160)})
    assert (card["compass"].north_xy, card["compass"].east_xy) == ((0, -1), (-1, 0))
    assert card["compass"].bar_label == "2″"
    assert card["compass"].bar_share == pytest.approx(2 / 9)
    assert card["position"] == ("05 35 16.80", "+00 00 00.0")
    assert [link.text for link in card["links"]] == [
        "In the search",
        "Observation at MAST",
        "Programme 10003",
        "FITS file",
    ]
    bare = tile_card(replace(tile, ra_deg=None, corners_deg=[]), {tile.tile_id: Thumbnail("data:", 160)})
    assert (bare["compass"], bare["position"]) == (None, None)


def test_the_link_to_the_search_has_its_default_address() -> None:
    assert SEARCH_PAGE.format("x") == f"http://{serving.LOOPBACK}:{serving.PORT}/tiles/x"


def test_a_field_does_not_grow_from_tile_to_tile() -> None:
    """Each tile is 0.4 sides from the one before, and the third is 0.8 sides from the first."""
    samples = [at(number, 10.0 + 0.4 * number * SIDE_DEG) for number in range(3)]
    assert fold_fields(samples, [0, 1, 2], 4) == [[0, 1], [2]]
