"""CADC: the queries run in DuckDB, on made rows of CAOM 2; the answers are VOTables, the files follow a redirect."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import duckdb
import pytest
from astropy.table import MaskedColumn, Table

from hubbleclip.archives.cadc import CadcArchive, read_votable
from hubbleclip.archives.http.responses import DamagedError
from hubbleclip.archives.mast.client import TOKEN_VARIABLE
from hubbleclip.archives.registry import open_archive
from hubbleclip.config.settings import ArchiveSettings, FetchSettings
from hubbleclip.core.errors import ArchiveError, DownloadError, PartialResultError
from hubbleclip.core.layout import Layout
from tests.archives.conftest import LIMITS, observation, observe
from tests.bad_server import FITS, BadServer, give

NUM = 30
SCHEMA = f"""
CREATE SCHEMA caom2;
CREATE MACRO centroid(bounds) AS bounds; CREATE MACRO coord1(bounds) AS bounds[1]; CREATE MACRO coord2(bounds) AS bounds[2];
CREATE TABLE caom2.Observation AS SELECT
    n AS obsID, CASE WHEN n % 10 = 9 THEN 'JWST' ELSE 'HST' END AS collection, format('j8ck{{:02d}}010', n) AS observationID,
    CAST(9000 + n % 7 AS VARCHAR) AS proposal_id, 'Bob''s stars' AS proposal_title, 'science' AS intent,
    CASE WHEN n % 5 = 4 THEN 'COS/FUV' ELSE 'ACS/WFC' END AS instrument_name, format('NGC{{}}', n) AS target_name,
    CASE WHEN n = 1 THEN 1 END AS target_moving FROM range({NUM}) made(n);
CREATE TABLE caom2.Plane AS SELECT
    n AS obsID, n * 10 + level AS planeID, 'image' AS dataProductType, level AS calibrationLevel,
    TIMESTAMP '2010-01-01 00:00:00' + INTERVAL (n) DAY AS dataRelease, 'F606W;CLEAR2L' AS energy_bandpassName,
    55000e0 + n AS time_bounds_lower, 500e0 AS time_exposure, [10e0 + n, 5e0, 10.1e0 + n, 5e0, 10e0 + n, 5.1e0] AS position_bounds
    FROM range({NUM}) made(n), (VALUES (1), (3)) levels(level);
CREATE TABLE caom2.Artifact AS SELECT
    planeID, format('mast:HST/product/j8ck{{:02d}}010_{{}}.{{}}', obsID, kind, suffix) AS uri, type AS productType,
    CASE WHEN suffix = 'fits' THEN {len(FITS)} END AS contentLength, format('md5:{{}}', obsID) AS contentChecksum
    FROM caom2.Plane JOIN (VALUES (1, 'raw', 'fits', 'science'), (3, 'drz', 'fits', 'science'), (3, 'drz', 'jpg', 'preview'))
    files(level, kind, suffix, type) ON level = calibrationLevel;
"""
ERROR = b"""<VOTABLE version="1.3"><RESOURCE type="results"><INFO name="QUERY_STATUS" value="ERROR">no such column</INFO>
</RESOURCE></VOTABLE>"""


def votable(rows: list[tuple[Any, ...]], names: list[str], status: str) -> bytes:
    table = Table()
    for place, name in enumerate(names):
        values = [row[place] for row in rows]
        is_number = any(isinstance(value, int | float | list) for value in values)
        missing = [value is None for value in values]
        table[name] = (
            MaskedColumn([value or 0 for value in values], mask=missing if any(missing) else False)
            if is_number
            else [str(value or "") for value in values]
        )
    packed = io.BytesIO()
    table.write(packed, format="votable")
    info = f'<INFO name="QUERY_STATUS" value="{status}"/>'.encode()
    return packed.getvalue().replace(b"<TABLE", info + b"<TABLE", 1)


class Cadc(BadServer):
    """A TAP service, and a file service that redirects to a storage server."""

    def __init__(self) -> None:
        super().__init__()
        self.database = duckdb.connect()
        self.database.execute(SCHEMA)
        self.queries: list[dict[str, str]] = []
        self.table["/storage/"] = give(FITS)

    def respond(self, handler: Any) -> None:
        if handler.path == "/argus/sync" and "/argus/" not in self.table:
            self.queries.append({name: values[0] for name, values in parse_qs(handler.body).items()})
            give(b"", 303, Location=f"{handler.path}/{len(self.queries) - 1}/run")(handler)
        elif handler.path.startswith("/argus/sync/") and handler.command == "GET":
            asked = self.queries[int(handler.path.split("/")[3])]
            found = self.database.cursor().execute(asked["QUERY"])
            names, rows = [column[0] for column in found.description], found.fetchall()
            most = int(asked["MAXREC"])
            body = votable(rows[:most], names, "OVERFLOW" if len(rows) > most else "OK")
            give(body, Content_Type="application/x-votable+xml")(handler)
        elif handler.path.startswith("/raven/files/mast:HST/product/"):
            give(b"", 303, Location=f"{self.url}/storage{handler.path}")(handler)
        else:
            super().respond(handler)


@pytest.fixture
def cadc() -> Iterator[Cadc]:
    with Cadc() as server:
        yield server


def archive_at(url: str, root: Path, page_rows: int = 12, **settings: object) -> CadcArchive:
    asked = ArchiveSettings.model_validate({"name": "cadc", "mast_url": url, "calib_levels": [3], **settings})
    return CadcArchive(asked, FetchSettings(requests_per_s=1000), Layout(root), replace(LIMITS, page_rows=page_rows))


def expected(*, low: int = 0, high: int = NUM) -> set[str]:
    return {f"j8ck{n:02d}010" for n in range(low, high) if n % 10 != 9 and n % 5 != 4}


def test_the_pages_of_a_query_sum_up_to_the_count_of_the_archive(cadc: Cadc, tmp_path: Path) -> None:
    archive = archive_at(cadc.url, tmp_path)
    found = observe(archive)
    assert {item.obs_id for item in found} == expected()
    assert archive.count_rows(0.0, 90_000.0) == len(found)
    pages = [archive.mast.observations({"calib_level": 3}, page=page, page_size=25) for page in (1, 2)]
    assert [(len(page.rows), page.total) for page in pages] == [(25, NUM), (NUM - 25, NUM)]
    assert len({row["obs_id"] for page in pages for row in page.rows}) == NUM


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ({"proposal_numbers": ["9003"]}, {f"j8ck{n:02d}010" for n in range(3, NUM, 7)} & expected()),
        ({"targets": ["NGC1*"]}, {f"j8ck{n:02d}010" for n in (1, *range(10, 20))} & expected()),
        ({"until": "2010-01-05"}, expected(high=5)),
        ({"cone_deg": [20.0, 5.0, 1.5]}, expected(low=9, high=12)),
        ({"targets": ["O'Neil"]}, set()),
    ],
    ids=["numbers", "pattern", "until", "cone", "quote"],
)
def test_the_settings_choose_the_rows(part: dict[str, Any], names: set[str], cadc: Cadc, tmp_path: Path) -> None:
    assert {item.obs_id for item in observe(archive_at(cadc.url, tmp_path, **part))} == names


def test_more_files_than_a_response_may_list_are_asked_for_in_halves(
    cadc: Cadc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, few = archive_at(cadc.url, tmp_path).mast, [observation(obs_id=f"j8ck0{n}010") for n in (0, 2, 1, 0)]
    for most in (9, 8, 3):
        monkeypatch.setattr("hubbleclip.archives.cadc.MAX_PRODUCTS", most)
        names = [f"j8ck0{n}010_{kind}" for n in range(3) for kind in ("drz.fits", "drz.jpg", "raw.fits")]
        assert sorted(row["productFilename"] for row in client.products_of(few)) == names
    monkeypatch.setattr("hubbleclip.archives.cadc.MAX_PRODUCTS", 2)
    with pytest.raises(PartialResultError, match="more than 2 files"):
        client.products_of(few)


def test_the_token_of_mast_is_not_sent_to_another_archive(
    cadc: Cadc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "secret")
    archive_at(cadc.url, tmp_path).count_rows(0.0, 90_000.0)
    assert cadc.seen and "secret" not in str(cadc.seen)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (ERROR, "error"),
        (ERROR.replace(b"no such column", b"timed out"), "timeout"),
        (b"<html></html>", "html"),
        (b"{}", "bad_json"),
        (b"<VOTABLE/>", "bad_json"),
        (votable([(1,)], ["other"], "OK"), "bad_json"),
    ],
    ids=["error", "timeout", "page", "json", "empty", "other column"],
)
def test_an_answer_that_is_no_table_is_an_error(body: bytes, reason: str) -> None:
    with pytest.raises(DamagedError) as caught:
        read_votable(body, ["num"])
    assert caught.value.reason == reason


def test_the_archive_is_registered_and_a_failure_is_typed(cadc: Cadc, tmp_path: Path) -> None:
    cadc.table["/argus/"] = give(b"", 503)
    archive = open_archive(ArchiveSettings(name="cadc"), FetchSettings(), Layout(tmp_path))
    assert archive.mast.url == "https://ws.cadc-ccda.hia-iha.nrc-cnrc.gc.ca"
    assert archive.transport.fetch.redirect_hosts == ("*.nrc-cnrc.gc.ca", "*.canfar.net")
    with pytest.raises(DownloadError, match="begins with neither"):
        archive.mast.download_url("file:///etc/passwd")
    with pytest.raises(ArchiveError):
        observe(archive_at(cadc.url, tmp_path))
