"""Simple Cone Search, by the client that astronomers use."""

import io

import pytest
import pyvo
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io.votable import parse
from pyvo.dal.exceptions import DALQueryError
from search_site import IDS, PLACES
from starlette.testclient import TestClient
from web_search import service_of

from hubbleclip.search.engine import Search


def test_pyvo_finds_the_tiles_of_a_cone(start, search: Search) -> None:
    service = pyvo.dal.SCSService(start(service_of(search)) + "/scs?")
    facts = search.tile(IDS[20]).facts
    centre, radius = SkyCoord(facts["ra_deg"], facts["dec_deg"], unit="deg"), 3.001 * units.deg
    found = service.search(pos=centre, radius=radius, verbosity=3)
    expected = {
        tile_id
        for tile_id, place in zip(IDS, PLACES, strict=True)
        if SkyCoord(*place, unit="deg").separation(centre) <= radius
    }
    assert 6 < len(expected) < 30
    assert {record.id for record in found} == expected
    assert all(record.pos.separation(centre) <= radius for record in found)
    assert found.to_table()["exposure_s"].unit == units.s


def test_pyvo_raises_the_error_of_the_server(start, search: Search) -> None:
    service = pyvo.dal.SCSService(start(service_of(search)) + "/scs?")
    query = service.create_query(pos=(10, 10), radius=1)
    query["SR"] = 999
    with pytest.raises(DALQueryError, match="SR: Input should be less than or equal to 180"):
        query.execute()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "RA: Field required"),
        ({"RA": "1", "DEC": "x", "SR": "1"}, "DEC: Input should be a valid number"),
        ({"RA": "nan", "DEC": "1", "SR": "1"}, "RA: Input should be a finite number"),
        ({"RA": "1", "DEC": "1", "SR": "1", "VERB": "4"}, "VERB: Input should be '1', '2' or '3'"),
    ],
)
def test_an_error_is_a_votable(parameters: dict, message: str, client: TestClient) -> None:
    response = client.get("/scs", params=parameters)
    assert response.status_code == 200
    (info,) = parse(io.BytesIO(response.content)).infos
    assert (info.name, info.ID) == ("Error", "Error")
    assert message in info.value


def fields_of(client: TestClient, **parameters: object) -> dict[str, str]:
    file = parse(io.BytesIO(client.get("/scs", params=parameters).content))
    return {field.ucd: field.name for field in file.get_first_table().fields}


def test_verbosity_chooses_the_columns_and_names_may_have_any_case(client: TestClient) -> None:
    brief, usual, full = (fields_of(client, ra=1, Dec=-30, SR=5, VERB=v) for v in (1, 2, 3))
    assert brief == {"ID_MAIN": "tile_id", "POS_EQ_RA_MAIN": "ra_deg", "POS_EQ_DEC_MAIN": "dec_deg"}
    assert brief.items() < usual.items()
    assert len(full) > len(usual)


def test_a_radius_of_zero_asks_for_the_columns_alone(client: TestClient) -> None:
    file = parse(io.BytesIO(client.get("/scs", params={"RA": 10, "DEC": 10, "SR": 0}).content))
    assert len(file.get_first_table().array) == 0
    assert file.get_first_table().fields
