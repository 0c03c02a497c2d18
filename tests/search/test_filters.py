"""Filters admit just the tiles that the obvious comparison in Python admits, whatever is combined, and whatever is unknown."""

import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import valid_catalog
from hypothesis import assume, example, given, reject
from hypothesis import strategies as st
from pydantic import ValidationError

from hubbleclip.catalog.tile_filters import FILTERS
from hubbleclip.catalog.tile_search import TileFacts
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import SplitAssignment
from hubbleclip.missions.base import PARALLEL
from hubbleclip.search.params import SearchParams
from hubbleclip.search.records import Cone
from hubbleclip.search.sky import find_cone

NUM_TILES, NUM_PROPOSALS = 240, 7
INSTRUMENTS = ("WFC3/UVIS", "WFC3/IR", "ACS/WFC", "WFPC2/WFC", "NICMOS")
BANDS = ("F606W", "F814W;CLEAR2L", "CLEAR1L;F435W", "f160w", None)
EXPOSURES_S = (10.0, 100.0, 100.5, 2000.0, None)
MJDS = (57999.75, 57999.999988, 58000.0, 58000.25, 58000.999988, 58001.0, None)  # 57999.999988 is 23:59:59 of a day
SCALES_ARCSEC = (0.04, 0.05, 0.1, 0.13, None)
SPLITS = ("train", "val", "test", None)
CATEGORIES, CYCLES, PIS = ("GALAXIES", "STARS", None), (20, 21, None), ("Dr. Ada Nova", "C. 100% O'Neil_x", None)
RA_DEG = (0.0, 0.25, 10.0, 179.75, 180.0, 350.0, 359.75)
DEC_DEG = (-90.0, -89.75, -30.0, 0.0, 0.25, 45.0, 89.75, 90.0)
NO_TILE = "f" * 32


Fact = SimpleNamespace
"""What is known of one tile."""


def drawn_facts() -> list[Fact]:
    rng = np.random.default_rng(11)

    def one(values: tuple[Any, ...]) -> Any:
        return values[rng.integers(len(values))]

    proposals = [{"category": one(CATEGORIES), "cycle": one(CYCLES), "pi": one(PIS)} for _ in range(NUM_PROPOSALS)]
    return [
        Fact(
            proposal_id=f"hst:{n % NUM_PROPOSALS}",
            instrument=one(INSTRUMENTS),
            band=one(BANDS),
            exposure_s=one(EXPOSURES_S),
            start_mjd=one(MJDS),
            pixel_scale_arcsec=one(SCALES_ARCSEC),
            split=one(SPLITS),
            is_moving=bool(rng.integers(2)),
            place=(one(RA_DEG), one(DEC_DEG)) if rng.random() < 0.9 else None,
            **proposals[n % NUM_PROPOSALS],
        )
        for n in range(NUM_TILES)
    ]


FACTS = drawn_facts()


@pytest.fixture(scope="module")
def tile_facts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TileFacts]:
    """The facts in a catalog; the index has one more tile, which the catalog does not have."""
    layout = Layout(tmp_path_factory.mktemp("facts"))
    rows: dict[str, list[Any]] = {"proposal": [], "observation": [], "tile": [], "split": []}
    with writing_catalog(layout) as catalog:
        for n, fact in enumerate(FACTS):
            of, known = {"obs_id": f"o{n}", "proposal_id": fact.proposal_id}, vars(fact)
            seen = {name: known[name] for name in ("instrument", "exposure_s", "start_mjd", "is_moving")}
            tile = valid_catalog.tile(
                "a",
                **of,
                tile_id=f"{n:032x}",
                instrument=fact.instrument if n % 2 else None,
                filter=fact.band if n % 3 else None,  # or the observation's
                pixel_scale_arcsec=fact.pixel_scale_arcsec,
                **dict(zip(("ra_deg", "dec_deg"), fact.place or (None, None), strict=True)),
            )
            if n < NUM_PROPOSALS:  # later tiles are of the same ones
                own = {name: known[name] for name in ("category", "cycle", "pi")}
                rows["proposal"].append(replace(valid_catalog.proposal(fact.proposal_id.partition(":")[2]), **own))
            rows["observation"].append(valid_catalog.observation(**of, filters=fact.band, **seen))
            rows["tile"].append(tile)
            if fact.split:
                rows["split"].append(SplitAssignment(tile_id=tile.tile_id, group_id="g", split=fact.split, reason=None))
        catalog.upsert(rows)
    facts = TileFacts(layout, pa.array([*(f"{n:032x}" for n in range(NUM_TILES)), NO_TILE]))
    yield facts
    facts.close()


def test_a_parallel_exposure_has_neither_the_name_nor_the_place_of_the_target(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with writing_catalog(layout) as catalog:
        for number, note in enumerate([f"a; {PARALLEL}", None, "a"]):
            place = {"ra_deg": 10.0 + number, "dec_deg": 0.0}
            seen = replace(valid_catalog.observation(f"o{number}"), target_name="M31", **place)
            tile = valid_catalog.tile("a", tile_id=f"{number:032x}", obs_id=seen.obs_id, note=note)
            catalog.upsert({"observation": [replace(seen, is_moving=False)], "tile": [tile]})
    facts = TileFacts(layout, pa.array([f"{number:032x}" for number in range(3)]))
    assert [row["target_name"] for row in facts.facts(range(3))] == [None, "M31", "M31"]
    assert facts.target_cone("m 31") == pytest.approx((11, 0, 1))
    assert (facts.word_scores([("M31", 1)]) > 0).tolist() == [False, True, True]
    facts.close()


def separation_deg(place: tuple[float, float], cone: Cone) -> float:
    def unit(ra_deg: float, dec_deg: float) -> np.ndarray:
        ra, dec = np.radians(ra_deg), np.radians(dec_deg)
        return np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])

    one, other = unit(*place), unit(cone.ra_deg, cone.dec_deg)
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(one, other)), one @ other)))


def in_box(place: tuple[float, float], box: str) -> bool:
    ra_min, ra_max, dec_min, dec_max = map(float, box.split(","))
    width = ra_max - ra_min
    is_in_ra = width >= 360 or (place[0] - ra_min) % 360 <= width % 360
    return is_in_ra and dec_min <= place[1] <= dec_max


def cone_of(params: SearchParams) -> Cone:
    return find_cone(params.place, None, lambda _: None)


def in_range(value: Any, low: Any, high: Any) -> bool:
    if low is None and high is None:
        return True
    return value is not None and (low is None or value >= low) and (high is None or value <= high)


def admits(filters: SearchParams, fact: Fact) -> bool:
    """The obvious way."""
    camera, _, detector = fact.instrument.partition("/")
    upper = {name: [value.upper() for value in getattr(filters, name)] for name in ("instrument", "detector", "filter")}
    taken = None if fact.start_mjd is None else datetime(1858, 11, 17) + timedelta(days=fact.start_mjd)
    after_last = filters.observed_to and datetime.combine(filters.observed_to, datetime.min.time()) + timedelta(days=1)
    first = filters.observed_from and datetime.combine(filters.observed_from, datetime.min.time())
    return all(
        (
            not upper["instrument"] or bool({fact.instrument, camera} & set(upper["instrument"])),
            not upper["detector"] or detector in upper["detector"],
            not upper["filter"] or bool(set(re.split(r"\W", (fact.band or "").upper())) & set(upper["filter"])),
            not filters.proposal or bool({fact.proposal_id, fact.proposal_id[4:]} & set(filters.proposal)),
            not filters.split or fact.split in filters.split,
            not filters.category or (fact.category or "").upper() in [name.upper() for name in filters.category],
            not filters.cycle or fact.cycle in filters.cycle,
            not filters.pi or filters.pi.lower() in (fact.pi or "").lower(),
            in_range(fact.exposure_s, filters.exposure_s_min, filters.exposure_s_max),
            in_range(fact.pixel_scale_arcsec, filters.pixel_scale_arcsec_min, filters.pixel_scale_arcsec_max),
            first is None or (taken is not None and taken >= first),
            after_last is None or (taken is not None and taken < after_last),
            filters.moving is None or fact.is_moving == filters.moving,
            not filters.place
            or (fact.place is not None and separation_deg(fact.place, cone_of(filters)) <= cone_of(filters).radius_deg),
            not filters.box or (fact.place is not None and in_box(fact.place, filters.box)),
        )
    )


def some(*values: Any) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3).map(tuple)


def one_of(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([value for value in values if value is not None])


def ordered(values: tuple[float, ...]) -> st.SearchStrategy[list[float]]:
    return st.lists(st.sampled_from(values), min_size=2, max_size=2).map(sorted)


CONES = st.builds(
    "{} {} {}".format,
    one_of(*RA_DEG, 5.0, 300.5),
    one_of(*DEC_DEG, 60.5),
    one_of(0.0, 0.1, 0.3, 9.9, 44.0, 91.0, 180.0),
)
BOXES = st.builds(
    lambda ra_min, ra_max, dec: f"{ra_min},{ra_max},{dec[0]},{dec[1]}",
    one_of(*RA_DEG, 90.0),
    one_of(*RA_DEG, 90.0, 360.0),
    ordered(DEC_DEG),
)
DAYS = one_of(date(2017, 9, 2), date(2017, 9, 3), date(2017, 9, 4), date(2017, 9, 5))  # MJD 58000 is 4 September 2017
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "instrument": some("wfc3", "WFC3/uvis", "ACS", "NICMOS", "WFC3/", "none"),
    "detector": some("uvis", "WFC", "none"),
    "filter": some("F606W", "clear2l", "F435W", "F160W", "F8", "none"),
    "proposal": some("1", "hst:3", "jwst:3", "9", "hst"),
    "split": some("train", "val", "test", "none"),
    "category": some("GALAXIES", "STARS", "stars"),
    "cycle": some(20, 21, 22),
    "pi": one_of("nova", "ADA", "100%", "o'neil_", "%", "z"),
    "observed_from": DAYS,
    "observed_to": DAYS,
    "exposure_s_min": one_of(*EXPOSURES_S, 0.0, 99.0),
    "exposure_s_max": one_of(*EXPOSURES_S, 9.0),
    "pixel_scale_arcsec_min": one_of(*SCALES_ARCSEC, 0.06),
    "pixel_scale_arcsec_max": one_of(*SCALES_ARCSEC, 0.06),
    "moving": st.booleans(),
    "place": CONES,
    "box": BOXES,
}
"""Values of every filter."""


def test_every_filter_is_drawn() -> None:
    assert set(VALUES) == {one.name for one in FILTERS}


@st.composite
def drawn_filters(draw: st.DrawFn) -> SearchParams:
    """At most three filters at once, since more admit nothing."""
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=3, unique=True))
    try:
        return SearchParams(**{name: draw(VALUES[name]) for name in names})
    except ValidationError as error:
        assert "above the upper limit" in str(error)
        reject()


@given(filters=drawn_filters())
@example(filters=SearchParams())
@example(filters=SearchParams(observed_to="2017-09-04"))
def test_filters_admit_what_the_obvious_comparison_admits(tile_facts: TileFacts, filters: SearchParams) -> None:
    if filters.place:  # at the rim, rounding decides
        cone = cone_of(filters)
        places = [fact.place for fact in FACTS if fact.place]
        others = [place for place in places if place != (cone.ra_deg, cone.dec_deg)]
        assume(all(abs(separation_deg(place, cone) - cone.radius_deg) > 1e-7 for place in others))
    values = filters.filter_values() | ({"place": asdict(cone_of(filters))} if filters.place else {})
    assert tile_facts.admitted(values).tolist() == [n for n, fact in enumerate(FACTS) if admits(filters, fact)]
