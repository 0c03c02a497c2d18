"""Simple Cone Search and Simple Image Access 2, by the client that astronomers use."""

import io

import pytest
import pyvo
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io.votable import parse
from astropy.io.votable.tree import TableElement
from astropy.time import Time
from search_site import IDS, PLACES
from starlette.testclient import TestClient
from web_search import service_of

from hubbleclip.search.engine import Search
from hubbleclip.search.server import virtual_observatory

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


@pytest.fixture
def service(start, search: Search) -> pyvo.dal.SIA2Service:
    return pyvo.dal.SIA2Service(start(service_of(search)) + "/sia2")


def test_pyvo_finds_pictures_and_files_by_every_parameter(service: pyvo.dal.SIA2Service, search: Search) -> None:
    found = service.search(pos=(CENTRE, RADIUS))
    assert {row.access_url.rsplit("/", 2)[1] for row in found if row.access_format == "image/png"} == NEAR
    assert {row.access_format for row in found} == {"image/png", "application/fits"}
    one = next(row for row in found if IDS[20] in row.access_url)
    assert one.getdataset().read(4) == b"\x89PNG"
    when = Time(one.t_min, format="mjd")
    assert 0 < len(service.search(pos=(CENTRE, RADIUS), time=(when, when + 1 * u.d))) < len(found)
    assert len(service.search(pos=(CENTRE, RADIUS), time=(when - 9 * u.d, when - 8 * u.d))) == 0


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
    for limit, expected in ((5, (10, "OVERFLOW")), (6, (12, "OK"))):  # of the last tiles of the index
        monkeypatch.setattr(virtual_observatory, "MAX_DEPTH", limit)
        table, status = table_of(client, "/sia2/query", TARGET="NGC-107", maxrec=12, pos=["RANGE 0 360 -90 90"] * 2)
        assert (len(table.array), status) == expected
