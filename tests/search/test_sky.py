"""Positions on the sky: read as people type them, looked up by name, printed."""

import pytest
from astropy.coordinates.name_resolve import sesame_url

from hubbleclip.core.errors import SearchError
from hubbleclip.search.records import Cone
from hubbleclip.search.sky import RADIUS_DEG, ask_sesame, find_cone


def in_catalog(name: str) -> tuple[float, float, float] | None:
    return {"M 31": (10.68, 41.27, 0.4), "NGC 7331": (339.27, 34.42, 0.01), "ANY": (1.0, 1.0, 120.0)}.get(name)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("83.82 -5.39", (83.82, -5.39)),
        ("83.82,-5.39", (83.82, -5.39)),
        (" 10, +20 ", (10, 20)),
        ("-10 5", (350, 5)),
        ("1e1 .5", (10, 0.5)),
        ("360 0", (0, 0)),
        ("05 35 17.3 -05 23 28", (83.82208, -5.39111)),
        ("5:35:17.3 -5:23:28", (83.82208, -5.39111)),
        ("05h35m17.3s -05d23m28s", (83.82208, -5.39111)),
        ("NGC 7331", (339.27, 34.42)),
    ],
)
def test_positions_and_names_become_cones(text: str, position: tuple[float, float]) -> None:
    cone = find_cone(text, None, in_catalog)
    assert (cone.ra_deg, cone.dec_deg) == pytest.approx(position, abs=1e-4)
    assert cone.radius_deg == RADIUS_DEG
    assert find_cone(text, 0.5, in_catalog).radius_deg == 0.5


def test_a_cone_reaches_as_far_as_the_observations_of_its_target() -> None:
    assert find_cone("M 31", None, in_catalog).radius_deg == 0.4
    assert find_cone("M 31", 0.2, in_catalog).radius_deg == 0.2


@pytest.mark.parametrize("text", ["10 95", "400 1", "400 10 0.1"])
def test_numbers_that_are_no_position_are_refused(text: str) -> None:
    with pytest.raises(SearchError, match="is no position: give RA"):
        find_cone(text, None, in_catalog)


@pytest.mark.parametrize("text", ["3C 273", "25 99 99 -95 00 00", "1413+117", "", "ANY", "nan nan 1"])
def test_an_unknown_name_is_one_clear_line(text: str) -> None:
    with pytest.raises(SearchError, match="is no position, and the catalog has no target") as raised:
        find_cone(text, None, in_catalog)
    assert "Sesame" not in str(raised.value)


def test_sesame_is_asked_only_where_a_caller_says_so_and_the_catalog_does_not_know() -> None:
    asked: list[str] = []

    def elsewhere(name: str) -> tuple[float, float] | None:
        asked.append(name)
        return (187.28, 2.05) if name == "3C 273" else None

    assert find_cone("3C 273", None, in_catalog, elsewhere) == Cone(ra_deg=187.28, dec_deg=2.05, radius_deg=RADIUS_DEG)
    for known in ("M 31", "10 20", "05 35 17.3 -05 23 28"):
        find_cone(known, None, in_catalog, elsewhere)
    with pytest.raises(SearchError, match="Sesame does not know it"):
        find_cone("Nowhere 7", None, in_catalog, elsewhere)
    assert asked == ["3C 273", "Nowhere 7"]


def test_sesame_that_cannot_be_reached_knows_nothing() -> None:
    with sesame_url.set(["http://127.0.0.1:9/"]):
        assert ask_sesame("Nowhere 7") is None
