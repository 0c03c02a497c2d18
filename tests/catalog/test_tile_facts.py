"""What searches read of the indexed tiles: all answers about a small catalog, compared as data."""

from collections.abc import Iterator
from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest
from valid_catalog import assignment, hex_of, make, observation, product, tile

from hubbleclip.catalog.tile_search import TileFacts
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Proposal


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TileFacts]:
    """Two tiles of a galaxy, in rows 2 and 0, and one of a moving target, in row 3; the tile of row 1 is gone."""
    layout = Layout(tmp_path_factory.mktemp("facts"))
    galaxy = {
        "target_name": "NGC-1",
        "filters": "F606W;CLEAR2L",
        "start_mjd": 58000.25,
        "ra_deg": 11.0,
        "dec_deg": 42.0,
    }
    comet = {"target_name": "Borisov", "is_moving": True, "exposure_s": None, "instrument": "NIRCAM/IMAGE"}
    of_comets = {"title": "Comets", "abstract": "Ice and dust.", "pi": "B. Brown", "cycle": 3, "category": "Planets"}
    two = {"proposal_id": "jwst:2", "ra_deg": None, "dec_deg": None, "filter": "F200W", "instrument": None}
    one, three = (
        {"chip": 2, "y0": 3, "x0": 5, "shrink": 4.0},
        {"filter": None, "pixel_scale_arcsec": 0.1, "ra_deg": 12.0},
    )
    rows = {
        "proposal": [make(Proposal, title="Dust"), make(Proposal, proposal_id="jwst:2", number="2", **of_comets)],
        "observation": [
            observation("o1", **galaxy),
            observation("o2", proposal_id="jwst:2", **comet),
            observation("o3", **galaxy | {"target_name": "ngc 1", "dec_deg": 42.5}),
        ],
        "product": [product("mast:p1")],
        "tile": [tile("1", **one), tile("2", obs_id="o2", **two), tile("3", view="overview", **three)],
        "split": [assignment("1", "g1", "train"), assignment("3", "g1", "test")],
    }
    with writing_catalog(layout) as catalog:
        catalog.upsert(rows)
    found = TileFacts(layout, pa.array([hex_of(letter, 32) for letter in "3f12"]))
    yield found
    found.close()


def test_the_facts_of_a_tile_are_those_of_its_observation_proposal_and_split(facts: TileFacts) -> None:
    shared = {"target_name": "NGC-1", "target_class": "GALAXY", "instrument": "WFC3/UVIS", "detector": "UVIS"}
    shared |= {"exposure_s": 300.0, "observed_at": datetime(2017, 9, 4, 6), "obs_id": "o1", "product_uri": "mast:p1"}
    shared |= {"proposal_id": "hst:1", "title": "Dust", "pi": "A. Nova", "cycle": 20, "category": "STARS"}
    shared |= {"size_px": 64, "dec_deg": 41.0}
    one = {"pixel_scale_arcsec": 0.04, "view": "native", "filter": "F606W", "split": "train", "ra_deg": 10.0}
    three = {"pixel_scale_arcsec": 0.1, "view": "overview", "filter": "F606W;CLEAR2L", "split": "test", "ra_deg": 12.0}
    one, three = shared | one | {"tile_id": hex_of("1", 32)}, shared | three | {"tile_id": hex_of("3", 32)}
    assert facts.facts([2, 0]) == [one, three]
    seen = {"is_moving": False, "corners_deg": [10.0, 41.0] * 4}
    file = {"file_ra_deg": 11.0, "file_dec_deg": 42.0, "footprint": "POLYGON", "is_moving": False}
    (image,) = facts.images([0])
    assert image.items() >= (three | file | {"row": 0, "proposal_group": 0, "obs_collection": "HST"}).items()
    assert image["s_region"] == "POLYGON ICRS " + " ".join(["10.00000000 41.00000000"] * 4)
    assert (image["s_fov"], image["t_min"]) == (0.1 * 64 / 3600, 58000.25)
    cut = {"chip": 2, "y0": 3, "x0": 5, "shrink": 4.0, "wcs": "WCSAXES", "unit": "ELECTRONS/S"}
    assert facts.details("1") == [one | seen | cut | {"abstract": "Stars.", "product_path": "products/b"}]
    assert [len(facts.details(start)) for start in ("", "f")] == [2, 0]


def test_the_answers_about_all_tiles_are_those_recorded(facts: TileFacts) -> None:
    assert (facts.row_n.tolist(), facts.proposal_group_n.tolist()) == ([0, 2, 3], [0, -1, 0, 1])
    assert [facts.order(name).tolist() for name in ("ra_deg", "proposal_id")] == [[0, 2, 3], [3, 0, 2]]
    expected = [[12, np.nan, 10, np.nan], [41, np.nan, 41, np.nan], [0.1 * 64 / 3600, np.nan, *[0.04 * 64 / 3600] * 2]]
    np.testing.assert_allclose(facts.positions, expected)
    assert [column.tolist() for column in facts.values("filter")] == [[0, 2, 3], ["F606W", "F606W", "F200W"]]
    assert {name: sorted(values) for name, values in facts.names.items()} == {
        "proposals": ["1", "2"],
        "investigators": ["A. Nova", "B. Brown"],
        "targets": ["ngc1"],
        "instruments": ["NIRCAM/IMAGE", "WFC3/UVIS"],
    }
    assert [facts.proposal_text(number) for number in ("1", "jwst:2", "9")] == ["Stars.", "Ice and dust.", None]
    assert [facts.nearest_word(word) for word in ("borisof", "comet", "quasars", "dast", "bodisof")] == [
        *("borisov", "comets", *[None] * 3)
    ]
    assert (facts.target_cone("ngc 1"), facts.target_cone("borisov")) == ((11.0, 42.0, pytest.approx(0.5)), None)
    scores = facts.word_scores([("dust Dust", 1.0), ("borisov", 2.0)])
    assert scores == pytest.approx([0.211109, 0, 0.211109, 1.670269], rel=1e-5)  # BM25, by hand
