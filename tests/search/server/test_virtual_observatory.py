"""Simple Cone Search and Simple Image Access 2, by the client that astronomers use."""

import io

import pytest
import pyvo
import valid_catalog
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io.votable import parse
from astropy.io.votable.tree import TableElement
from astropy.time import Time
from search_site import IDS, NUM_TILES, PLACES
from starlette.testclient import TestClient
from web_search import service_of

from hubbleclip.search.engine import Search
from hubbleclip.search.server import virtual_observatory
from hubbleclip.search.server.virtual_observatory import OBSCORE

CENTRE, RADIUS = SkyCoord(*PLACES[20], unit="deg"), 3.001 * u.deg
NEAR = {
    tile_id
    for tile_id, place in zip(IDS, PLACES, strict=True)
    if SkyCoord(*place, unit="deg").separation(CENTRE) <= RADIUS
}


def test_pyvo_finds_the_tiles_of_a_cone(start, search: Search) -> None:
    service = pyvo.dal.SCSService(start(service_of(search)) + "/scs?")
    found = service.search(pos=CENTRE, radius=RADIUS, verbosity=3)
    assert 6 < len(NEAR) < 30
    assert {record.id for record in found} == NEAR
    assert all(record.pos.separation(CENTRE) <= RADIUS for record in found)
    assert found.to_table()["exposure_s"].unit == u.s


def table_of(client: TestClient, url: str, **parameters: object) -> tuple[TableElement, str]:
    """The table of an answer, and its status."""
    verify = "ignore" if url == "/scs" else "exception"  # the cone search has UCDs of version 1
    file = parse(io.BytesIO(client.get(url, params=parameters).content), verify=verify)
    infos = {info.name: info.value for info in file.resources[0].infos}
    return file.get_first_table(), infos["QUERY_STATUS"]


def test_verbosity_chooses_the_columns_and_names_may_have_any_case(client: TestClient) -> None:
    tables = [table_of(client, "/scs", ra=1, Dec=-30, SR=5, VERB=verbosity)[0] for verbosity in (1, 2, 3)]
    brief, usual, full = ({field.ucd: field.name for field in table.fields} for table in tables)
    assert brief == {"ID_MAIN": "tile_id", "POS_EQ_RA_MAIN": "ra_deg", "POS_EQ_DEC_MAIN": "dec_deg"}
    assert brief.items() < usual.items()
    assert len(full) > len(usual)


def test_a_radius_of_zero_asks_for_the_columns_alone(client: TestClient) -> None:
    table, status = table_of(client, "/scs", RA=10, DEC=10, SR=0)
    assert (len(table.array), len(table.fields), status) == (0, 10, "OK")


@pytest.fixture
def service(start, search: Search) -> pyvo.dal.SIA2Service:
    return pyvo.dal.SIA2Service(start(service_of(search)) + "/sia2")


def test_pyvo_finds_pictures_and_files_by_every_parameter(service: pyvo.dal.SIA2Service, search: Search) -> None:
    found = service.search(pos=(CENTRE, RADIUS))
    assert {row.access_url.rsplit("/", 2)[1] for row in found if row.access_format == "image/png"} == NEAR
    assert {row.access_format for row in found} == {"image/png", "application/fits"}
    one = next(row for row in found if IDS[20] in row.access_url)
    assert one.getdataset().read(4) == b"\x89PNG"
    frame, *corners = one.s_region.removeprefix("POLYGON ").split()
    assert (frame, list(map(float, corners))) == ("ICRS", pytest.approx(search.tile(IDS[20]).facts["corners_deg"]))
    texts = {
        "obs_collection": "HST",
        "obs_id": "o3-2",
        "obs_publisher_did": f"ivo://hubbleclip/tile?{IDS[20]}",
        "target_name": "NGC-103",
        "instrument_name": "ACS/WFC",
        "facility_name": "HST",
        "dataproduct_type": "image",
        "o_ucd": "phot.count",
    }
    assert {name: one[name] for name in texts} == texts
    numbers = {
        "s_ra": PLACES[20][0],
        "s_dec": PLACES[20][1],
        "s_fov": 64 * 0.04 / 3600,
        "s_xel1": 64,
        "s_xel2": 64,
        "t_min": 58003,
        "t_max": 58003 + 300 / 86_400,
        "t_exptime": 300,
        "em_min": 606e-9 * 0.875,
        "em_max": 606e-9 * 1.125,
        "calib_level": 3,
    }
    assert {name: float(one[name]) for name in numbers} == pytest.approx(numbers, rel=1e-9)
    when = Time(one.t_min, format="mjd")
    for more in (
        {"band": (814e-9 * u.m, 815e-9 * u.m)},
        {"time": (when, when + 1 * u.d)},
        {"instrument": "WFC3/UVIS"},
        {"instrument": "ACS"},
        {"maxrec": 3},
        {"res_format": "image/png"},
    ):
        fewer = service.search(pos=(CENTRE, RADIUS), **more)
        assert 0 < len(fewer) < len(found), more
    assert len(service.search(pos=(CENTRE, RADIUS), time=(when - 9 * u.d, when - 8 * u.d))) == 0


@pytest.mark.parametrize(
    ("position", "num"),
    [
        (["CIRCLE 1 -30 0.0001", "CIRCLE 4 -30 0.007"], 3),
        ("RANGE 0.5 1.5 -31 -29", 6),
        ("RANGE -Inf 360 -Inf +Inf", NUM_TILES),
        ("POLYGON 0.5 -31 1.5 -31 1.5 -29 0.5 -29", 6),
        ("POLYGON 357 -30 4.5 -30.6 4.5 -29.4", 18),
        ("CIRCLE 1 -30 0.0001", 1),
    ],
)
def test_regions_of_every_shape_admit_the_tiles_inside(position: str | list[str], num: int, client: TestClient) -> None:
    table, status = table_of(client, "/sia2/query", POS=position, FORMAT="image/png")
    assert (len(table.array), status) == (num, "OK")
    assert {field.arraysize for field in table.fields} == {None, "*"}
    assert {field.name: field.utype.removeprefix("obscore:") for field in table.fields} == {
        name: utype for name, (_, _, utype, _) in OBSCORE.items()
    }


@pytest.mark.parametrize(
    ("parameters", "num"),
    [
        ({"ID": f"ivo://hubbleclip/tile?{IDS[-1]}"}, 1),
        ({"ID": "ivo://hubbleclip/product?mast:7-5"}, 1),
        ({"TARGET": "NGC-107", "FORMAT": "image/png"}, 6),
        ({"TIME": "58006.9 Inf", "EXPTIME": "590 610"}, 2),
        ({"INSTRUMENT": "ACS", "POS": "CIRCLE 19 -30 1"}, 4),
        ({"BAND": "6e-7", "TARGET": ["NGC-106", "NGC-107"], "CALIB": "3", "FACILITY": "HST"}, 8),
        ({"BAND": ["3e-7 5.4e-7", "8.1e-7"], "TARGET": "NGC-107"}, 8),
        ({"FOV": "0.0001 1", "TARGET": "NGC-107"}, 6),
        ({"COLLECTION": "JWST"}, 0),
    ],
)
def test_parameters_select_among_all_tiles(
    parameters: dict[str, str | list[str]], num: int, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(virtual_observatory, "MAX_DEPTH", 12)
    table, status = table_of(client, "/sia2/query", **parameters)
    assert (len(table.array), status) == (num, "OK")


def test_the_row_of_a_file_has_the_position_and_the_footprint_of_its_observation(
    service: pyvo.dal.SIA2Service,
) -> None:
    observation = valid_catalog.observation("o7-5")
    found = service.search(target_name="NGC-107", instrument="ACS", exptime=(590, 610), res_format="application/fits")
    (one,) = found
    assert one.s_region == observation.footprint
    assert (one.s_ra.value, one.s_dec.value) == PLACES[-1]
    assert found.to_table()["s_xel1"].mask.all()


@pytest.mark.parametrize(
    ("name", "nm"),
    [
        ("F656N", (649.44, 662.56)),
        ("F467M", (443.65, 490.35)),
        ("f555w", (485.625, 624.375)),
        ("F850LP", (678, 1130)),
        ("F200X", (150, 250)),
        ("F150W2", (131.25, 168.75)),
    ],
)
def test_a_filter_has_the_width_of_its_kind(name: str, nm: tuple[float, float]) -> None:
    low, high = virtual_observatory._band({"filter": name, "instrument": "ACS/WFC"})
    assert (low * 1e9, high * 1e9) == pytest.approx(nm)


def test_rows_beyond_the_limit_are_told(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, expected in ((5, (5, "OVERFLOW")), (6, (6, "OK"))):
        monkeypatch.setattr(virtual_observatory, "MAX_DEPTH", limit)
        table, status = table_of(client, "/scs", RA=1, DEC=-30, SR=1)
        assert (len(table.array), status) == expected
    for limit in (0, 5):
        table, status = table_of(client, "/sia2/query", maxrec=limit)
        assert (len(table.array), status) == (limit, "OVERFLOW")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "RA: Field required"),
        ({"RA": "1", "DEC": "x", "SR": "1"}, "DEC: Input should be a valid number"),
        ({"RA": "nan", "DEC": "1", "SR": "1"}, "RA: Input should be a finite number"),
        ({"RA": "1", "DEC": "1", "SR": "999"}, "SR: Input should be less than or equal to 180"),
        ({"RA": "1", "DEC": "1", "SR": "1", "VERB": "4"}, "VERB: Input should be '1', '2' or '3'"),
        ({"POS": "BOX 1 2 3 4"}, "POS: "),
        ({"POS": "CIRCLE 1 2"}, "POS: "),
        ({"POS": "CIRCLE 1 2 x"}, "POS: "),
        ({"TIME": "a"}, "TIME: "),
        ({"BAND": ""}, "BAND: "),
        ({"MAXREC": "-1"}, "MAXREC: "),
        ({"MAXREC": "inf"}, "MAXREC: "),
        ({"POS": "POLYGON 0 95 10 95 5 96"}, "POS: "),
        ({"POS": "POLYGON 0 0 inf 0 1 1"}, "POS: "),
        ({"COLOUR": "1"}, "COLOUR: "),
    ],
)
def test_a_mistake_is_a_votable_that_names_it(parameters: dict, message: str, client: TestClient) -> None:
    url, status = ("/scs", 200) if "SR" in parameters or not parameters else ("/sia2/query", 400)
    response = client.get(url, params=parameters)
    assert response.status_code == status
    file = parse(io.BytesIO(response.content))
    ((error,), (info,)) = file.infos, file.resources[0].infos
    assert (error.name, error.ID, info.name, info.value) == ("Error", "Error", "QUERY_STATUS", "ERROR")
    assert error.value == info.content
    assert message in info.content
