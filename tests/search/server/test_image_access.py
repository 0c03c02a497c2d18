"""Simple Image Access 2, by the client that astronomers use."""

import io
import warnings

import pytest
import pyvo
import valid_catalog
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io.votable import parse
from astropy.time import Time
from search_site import IDS, NUM_TILES, PLACES
from starlette.testclient import TestClient
from web_search import service_of

from hubbleclip.search.engine import Search
from hubbleclip.search.server import image_access
from hubbleclip.search.server.image_access import OBSCORE


@pytest.fixture
def service(start, search: Search) -> pyvo.dal.SIA2Service:
    return pyvo.dal.SIA2Service(start(service_of(search)) + "/sia2")


def test_pyvo_finds_pictures_and_files_by_every_parameter(service: pyvo.dal.SIA2Service, search: Search) -> None:
    facts = search.tile(IDS[20]).facts
    centre, radius = SkyCoord(facts["ra_deg"], facts["dec_deg"], unit="deg"), 3.001 * u.deg
    found = service.search(pos=(centre, radius))
    near = {
        i for i, place in zip(IDS, PLACES, strict=True) if SkyCoord(*place, unit="deg").separation(centre) <= radius
    }
    pictures = {row.access_url.rsplit("/", 2)[1] for row in found if row.access_format == "image/png"}
    assert pictures == near
    assert {row.access_format for row in found} == {"image/png", "application/fits"}
    one = next(row for row in found if IDS[20] in row.access_url)
    assert one.s_region.startswith("POLYGON ICRS ")
    assert len(one.s_region.split()) == 10
    assert (one.s_ra.value, one.s_dec.value) == (facts["ra_deg"], facts["dec_deg"])
    assert one.getdataset().read(4) == b"\x89PNG"
    when = Time(one.t_min, format="mjd")
    for more in (
        {"band": (814e-9 * u.m, 815e-9 * u.m)},
        {"time": (when, when + 1 * u.d)},
        {"instrument": "WFC3/UVIS"},
        {"instrument": "ACS"},
        {"maxrec": 3},
        {"res_format": "image/png"},
    ):
        fewer = service.search(pos=(centre, radius), **more)
        assert 0 < len(fewer) < len(found), more
    assert len(service.search(pos=(centre, radius), time=(when - 9 * u.d, when - 8 * u.d))) == 0


@pytest.mark.parametrize(
    ("position", "num"),
    [
        ("RANGE 0.5 1.5 -31 -29", 6),
        ("RANGE -Inf 360 -Inf +Inf", NUM_TILES),
        ("POLYGON 0.5 -31 1.5 -31 1.5 -29 0.5 -29", 6),
        ("CIRCLE 1 -30 0.0001", 1),
    ],
)
def test_regions_of_every_shape_admit_the_tiles_inside(position: str, num: int, client: TestClient) -> None:
    parameters = {"POS": position, "FORMAT": "image/png"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        file = parse(io.BytesIO(client.get("/sia2/query", params=parameters).content), verify="exception")
    table = file.get_first_table()
    assert len(table.array) == num
    assert {field.arraysize for field in table.fields} == {None, "*"}
    assert {field.name: field.utype.removeprefix("obscore:") for field in table.fields} == {
        name: utype for name, (_, _, utype, _) in OBSCORE.items()
    }
    assert {info.name: info.value for info in file.resources[0].infos}["QUERY_STATUS"] == "OK"


@pytest.mark.parametrize(
    ("parameters", "num"),
    [
        ({"ID": f"ivo://hubbleclip/tile?{IDS[-1]}"}, 1),
        ({"ID": "ivo://hubbleclip/product?mast:7-5"}, 1),
        ({"TARGET": "NGC-107", "FORMAT": "image/png"}, 6),
        ({"TIME": "58006.9 Inf", "EXPTIME": "590 610"}, 2),
        ({"INSTRUMENT": "ACS", "POS": "CIRCLE 19 -30 1"}, 4),
        ({"BAND": "6e-7", "TARGET": ["NGC-106", "NGC-107"], "CALIB": "3", "FACILITY": "HST"}, 8),
        ({"FOV": "0.0001 1", "TARGET": "NGC-107"}, 6),
        ({"COLLECTION": "JWST"}, 0),
    ],
)
def test_parameters_select_among_all_tiles(
    parameters: dict[str, str | list[str]], num: int, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_access, "MAX_DEPTH", 12)
    file = parse(io.BytesIO(client.get("/sia2/query", params=parameters).content))
    assert len(file.get_first_table().array) == num
    assert {info.name: info.value for info in file.resources[0].infos}["QUERY_STATUS"] == "OK"


def test_the_row_of_a_file_has_the_position_and_the_footprint_of_its_observation(
    service: pyvo.dal.SIA2Service,
) -> None:
    observation = valid_catalog.observation("o7-5")
    found = service.search(target_name="NGC-107", instrument="ACS", exptime=(590, 610), res_format="application/fits")
    (one,) = found
    assert one.s_region == observation.footprint
    assert (one.s_ra.value, one.s_dec.value) == PLACES[-1]
    assert found.to_table()["s_xel1"].mask.all()


def test_rows_beyond_the_limit_are_told(client: TestClient) -> None:
    for limit in (0, 5):
        file = parse(io.BytesIO(client.get("/sia2/query", params={"maxrec": limit}).content))
        assert len(file.get_first_table().array) == limit
        assert {info.name: info.value for info in file.resources[0].infos}["QUERY_STATUS"] == "OVERFLOW"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POS", "BOX 1 2 3 4"),
        ("POS", "CIRCLE 1 2"),
        ("POS", "CIRCLE 1 2 x"),
        ("TIME", "a"),
        ("BAND", ""),
        ("MAXREC", "-1"),
        ("MAXREC", "inf"),
        ("POS", "POLYGON 0 95 10 95 5 96"),
        ("POS", "POLYGON 0 0 inf 0 1 1"),
        ("COLOUR", "1"),
    ],
)
def test_a_mistake_is_a_votable_that_names_it(name: str, value: str, client: TestClient) -> None:
    response = client.get("/sia2/query", params={name: value})
    assert response.status_code == 400
    (info,) = parse(io.BytesIO(response.content)).resources[0].infos
    assert info.value == "ERROR"
    assert name in info.content
