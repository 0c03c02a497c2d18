"""A whole dataset of another mission: a simulated JWST archive behind MAST's API, and the profile `jwst`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from commands import go

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.fits.instruments import wavelength_nm
from hubbleclip.simulator.server.launcher import running_simulator

pytestmark = pytest.mark.slow
SKY = SimulatorSettings(mission="jwst", num_proposals=24, frame_px=200)
SMALL = {
    "fetch.requests_per_s": 1000,
    "tiles.size_px": 160,
    "tiles.min_side_px": 32,
    "tiles.views": ["native"],
    "tiles.colour": True,
    "fetch.keep_fits": True,
    "splits.val_share": 0.2,
    "splits.test_share": 0.3,
    "shards.max_mb": 1,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The profile's folder after `hubbleclip dataset --profile jwst`."""
    data = tmp_path_factory.mktemp("jwst")
    with running_simulator(SKY) as url:
        settings = SMALL | {"archive.mast_url": url, "archive.check_first": False}
        go("dataset", data=data, profile="jwst", settings=settings)
    return data / "jwst"


@pytest.fixture
def catalog(root: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(root / "catalog.duckdb"), read_only=True) as connection:
        yield connection


def test_resampled_images_are_chosen_first_and_exposures_only_where_there_is_no_other(catalog) -> None:
    rows = catalog.execute("SELECT file_name, kind, uri, choice FROM product").fetchall()
    kinds = {kind for _, kind, _, _ in rows}
    assert "i2d" in kinds and kinds <= {"i2d", "cal"}
    assert all(uri.startswith("mast:JWST/product/jw") for _, _, uri, _ in rows)
    for name, kind, _, choice in rows:
        assert ("-o" in name) == (kind == "i2d")
        assert choice.startswith("level 3" if kind == "i2d" else "level 2b: one calibrated")


def test_rows_and_proposals_are_those_of_the_mission(catalog) -> None:
    rows = catalog.execute("SELECT obs_id, visit, proposal_id, instrument FROM observation").fetchall()
    assert rows
    for obs_id, visit, proposal_id, instrument in rows:
        assert proposal_id == f"jwst:{int(obs_id[2:7])}" and visit.startswith(obs_id[:7]) and len(visit) == 10
        assert instrument in {"NIRCAM/IMAGE", "MIRI/IMAGE"}
    sources = catalog.execute(
        "SELECT DISTINCT source, cycle BETWEEN 1 AND 3, abstract IS NOT NULL FROM proposal"
    ).fetchall()
    assert sources == [("apt", True, True)]


def test_pixels_are_read_with_the_missions_flags_filters_and_units(root: Path, catalog) -> None:
    rows = catalog.execute("SELECT path, kind FROM product WHERE path IS NOT NULL ORDER BY kind, uri").fetchall()
    with fits.open(root / rows[-1][0]) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ["SCI", "ERR", "CON", "WHT"]
        assert hdus["SCI"].header["BUNIT"] == "MJy/sr" and hdus[0].header["TELESCOP"] == "JWST"
    seen = catalog.execute("SELECT DISTINCT instrument, filter FROM tile WHERE view = 'native'").fetchall()
    assert ("NIRCAM/LONG", "F356W") in seen
    assert {instrument for instrument, _ in seen} <= {"NIRCAM/LONG", "NIRCAM/SHORT", "MIRI"}


def test_colour_tiles_have_the_longest_wavelength_in_red(catalog) -> None:
    filters = dict(catalog.execute("SELECT DISTINCT product_uri, filter FROM tile WHERE view = 'native'").fetchall())
    rows = catalog.execute("SELECT instrument, part_uris FROM tile WHERE view = 'colour'").fetchall()
    names = [(instrument, [filters[uri] for uri in uris]) for instrument, uris in rows]
    assert any("F356W" in parts for _, parts in names)
    for instrument, parts in names:
        wavelengths = [wavelength_nm(part, instrument) for part in parts]
        assert wavelengths == sorted(wavelengths, reverse=True) and len(set(wavelengths)) == 3


def test_card_croissant_and_samples_credit_the_mission(root: Path) -> None:
    (folder,) = (root / "datasets").glob("[!.]*")
    card, croissant = (folder / "README.md").read_text(), json.loads((folder / "croissant.json").read_text())
    assert "NASA, ESA, CSA, STScI" in card and "simulated" not in card.lower()
    assert "NASA, ESA, CSA, STScI" in croissant["citeAs"] and croissant["url"] == "https://archive.stsci.edu/jwst/"
    assert croissant["license"] == "NASA and STScI: public domain; ESA: CC BY 4.0"
    manifest = pq.read_table(folder / "manifest.parquet")
    assert set(manifest["archive"].to_pylist()) == {"jwst"} and manifest.num_rows > 10
