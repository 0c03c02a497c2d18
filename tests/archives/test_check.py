"""The check of an archive: it passes at the simulated one, and notices each change of it. All requests are real."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from PIL import Image

from hubbleclip.archives.check import check_archive
from hubbleclip.archives.check.estimate import Estimate, estimate, estimate_lines
from hubbleclip.archives.check.probe import CheckReport, Level, Measured, Probe
from hubbleclip.archives.mast.client import read_result
from hubbleclip.archives.stsci.parsers import parse_abstracts_cat, parse_apt
from hubbleclip.config.settings import FetchSettings, TileSettings
from hubbleclip.missions import MISSIONS
from hubbleclip.missions.archive import ArchivePins
from hubbleclip.simulator.server.launcher import running_simulator
from hubbleclip.simulator.server.pins import pins_of
from tests.archives.conftest import SKY, archive_at, observe
from tests.made_archive import FIRST_MJD, hst_archive, made_pins

PINS = pins_of(SKY)


def checked(
    url: str, root: Path, keep: Path | None = None, pins: ArchivePins = PINS, **settings: object
) -> CheckReport:
    return check_archive(archive_at(url, root, attempts=2, **settings), pins, keep)


def test_the_simulated_archive_passes(simulator: str, tmp_path: Path) -> None:
    report = checked(simulator, tmp_path / "data")
    assert [finding for finding in report.findings if finding.level is not Level.OK] == []
    assert len(report.findings) >= 20
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
@pytest.mark.parametrize("part", [{"proposal_numbers": ["10012"]}, {"targets": ["NONE"]}, {"since": "2100-01-01"}])
def test_the_archive_passes_with_a_profile_of_few_observations_or_none_yet(
    part: dict[str, object], simulator: str, tmp_path: Path
) -> None:
    report = checked(simulator, tmp_path, **part)
    assert report.level < Level.STOPS, report.findings
    assert report.measured.files_each


@pytest.mark.parametrize("products", ["preview", "total_preview"])
def test_previews_are_estimated_by_the_pinned_preview(products: str, simulator: str, tmp_path: Path) -> None:
    measured = checked(simulator, tmp_path / "data", tmp_path, products=products).measured
    (preview,) = tmp_path.glob("*_preview.jpg")
    width, height = Image.open(preview).size
    size = preview.stat().st_size
    assert (measured.bytes_per_pixel, measured.file_bytes) == (size / (width * height), size)
    assert measured.bytes_each == pytest.approx(size * (measured.files_each or 0.0))


@pytest.fixture
def _timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each response waits for half a second and takes two, as the check measures it."""
    get = Probe.get
    monkeypatch.setattr(Probe, "get", lambda *args, **more: replace(get(*args, **more), wait_s=0.5, seconds=2.0))


@pytest.mark.usefixtures("_timed")
def test_without_pinned_files_the_smallest_of_the_sample_are_fetched_and_sizes_are_weighted(tmp_path: Path) -> None:
    """The dates have all rows; half of the files have no listed size, and one of the proposal of ACS is larger."""
    pins = ArchivePins(released_mjd=(FIRST_MJD, FIRST_MJD + 200))
    with hst_archive() as world:
        (size,) = {row["size"] for row in world.products}
        for row in world.products[::2]:
            row["size"] = None
        world.products[3]["size"] = 2 * size
        report = checked(world.url, tmp_path, pins=pins, name="hst")
    found, measured = {one.what: (one.found, one.level) for one in report.findings}, report.measured
    assert found["counts"] == ("6 of 6 in the date range", Level.STOPS)
    assert found["calibrated file, size"] == (f"{size} bytes", Level.OK)
    assert (measured.bytes_per_s, measured.copy_bytes_per_s, measured.wait_s) == (size / 2, size / 2, 0.5)
    assert (measured.num_observations, measured.file_bytes) == (8, 4 / 3 * size)
    assert measured.bytes_each == pytest.approx((6 / 8 + 2 / 8 * 2) / 2 * size)


@pytest.mark.usefixtures("_timed")
def test_windows_and_files_of_which_only_a_part_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are shorter than the window, the profile's dates do not include it, and files are larger than is read."""
    monkeypatch.setattr("hubbleclip.archives.check.files.FILE_BYTES", 50_000)
    monkeypatch.setattr("hubbleclip.archives.check.listing.WINDOW_ROWS", 0.25)
    with hst_archive() as world:
        report = checked(world.url, tmp_path, pins=made_pins(world), name="hst", page_rows=3, until="2010-01-01")
    found, measured = {one.what: one.found for one in report.findings}, report.measured
    assert (found["observations of the profile"], found["counts"]) == ("0", "4 of 6 in the date range")
    assert (found["one window twice"], found["file, content"]) == ("2 and 2 rows", "50,000 bytes read")
    assert (measured.bytes_per_s, measured.copy_bytes_per_s, (measured.page or (0,))[0]) == (25_000, 25_000, 3)
    assert measured.bytes_per_pixel == 89_280 / 10_000


def test_kept_answers_are_read_by_the_parsers(simulator: str, tmp_path: Path) -> None:
    report = checked(simulator, tmp_path / "data", tmp_path / "kept")
    answers = json.loads((tmp_path / "kept" / "answers.json").read_text())
    assert [int(entry["file"][:2]) for entry in answers] == list(range(1, report.measured.num_requests + 1))
    different = {(entry["url"], str(entry.get("request")).partition("cacheBreaker")[0]) for entry in answers}
    assert len(different) == 25  # and the window is requested twice
    bodies = {entry["file"].partition("_")[2]: (tmp_path / "kept" / entry["file"]).read_bytes() for entry in answers}
    assert len(read_result(bodies["products.json"], ("dataURI",)).rows) > 1
    assert len(parse_abstracts_cat(bodies["abstracts.cat"].decode())) > 1
    assert PINS.title is not None
    assert parse_apt(bodies["programme.apt"], PINS.title[0]).title == PINS.title[1]
    assert PINS.file is not None
    assert len(bodies["file.fits"]) == PINS.file.size_bytes


def test_time_files_tiles_and_disk_follow_from_the_measured_figures() -> None:
    measured = Measured(
        num_observations=100_000,
        page=(500, 1.9),
        latency_s=1.0,
        list_s=2.0,
        bytes_per_s=2e6,
        copy_bytes_per_s=2e7,
        wait_s=0.04,
        files_each=0.2,
        bytes_each=20e6,
        file_bytes=200e6,
        bytes_per_pixel=12.0,
    )
    fetch, tiles = FetchSettings(connections=8, keep_fits=True), TileSettings(size_px=256)
    made = estimate(measured, fetch, tiles)
    num_tiles = 20_000 * (16**2 // 2 + 1)  # half of a grid of 16 by 16, and one overview
    expected = Estimate(
        num_observations=100_000,
        num_files=20_000,
        num_tiles=num_tiles,
        fetched_bytes=2e12,
        file_bytes=2e12,
        tile_bytes=num_tiles * 128_000 / 4,
        metadata_s=20 * (2.5 + 9.0) + 1_000 * 2.0 / 8,
        files_s=20_000 * (100e6 / 2e6 + 0.04) / 8,
        copy_s=20_000 * (100e6 / 2e7 + 0.04) / 8,
    )
    assert made is not None
    assert asdict(made) == pytest.approx(asdict(expected))
    assert estimate(replace(measured, copy_bytes_per_s=None), fetch.model_copy(update={"keep_fits": False}), tiles) == (
        replace(made, file_bytes=0.0, copy_s=None)
    )
    assert estimate_lines(made) == {
        "observations": "100,000",
        "files": "20,000, 2.0 TB to fetch",
        "tiles": "2,580,000",
        "time": '8.0 minutes for metadata, 1.4 days for files, or 3.5 hours with fetch.sources = ["s3", "mast"]',
    }
    assert estimate(Measured(), fetch, tiles) is None


@pytest.mark.slow
def test_files_and_bytes_are_estimated_within_a_factor_of_two(tmp_path: Path) -> None:
    sky = SKY.model_copy(update={"num_proposals": 60})
    with running_simulator(sky) as url:
        made = estimate(checked(url, tmp_path, pins=pins_of(sky)).measured, FetchSettings(), TileSettings())
        archive = archive_at(url, tmp_path)
        products, _ = archive.list_products(observe(archive))
    assert made is not None
    num_bytes = sum(product.size_bytes or 0 for product in products)
    for estimated, true in ((made.num_files, len(products)), (made.fetched_bytes, num_bytes)):
        assert true / 2 <= estimated <= true * 2


def test_the_pins_of_hst_are_twelve_files_of_six_visits() -> None:
    pins = MISSIONS["hst"].pins
    assert len(pins.file_names) == 12
    assert {MISSIONS["hst"].products.origin(name) for name in pins.file_names} == {"advanced"}
