"""The check of an archive: it passes at the simulated one, and notices each change of it. All requests are real."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hubbleclip.archives.check.estimate import estimate, metadata_s, tiles_per_file
from hubbleclip.archives.check.probe import CheckReport, Level, Measured
from hubbleclip.archives.check.run import check_archive
from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.archives.mast.client import read_result
from hubbleclip.archives.mast.criteria import mjd_of
from hubbleclip.archives.stsci.parsers import parse_abstracts_cat, parse_apt
from hubbleclip.config.settings import ArchiveSettings, FetchSettings, TileSettings
from hubbleclip.core.layout import Layout
from hubbleclip.missions import MISSIONS
from hubbleclip.missions.pins import ArchivePins
from hubbleclip.simulator.server.launcher import running_simulator
from hubbleclip.simulator.server.pins import pins_of
from tests.archives.conftest import LIMITS, SKY, archive_at, observe
from tests.bad_server import Respond
from tests.made_archive import FIRST_MJD, MadeArchive, SparseFile, hst_archive, observation

PINS = pins_of(SKY)
QUERIES, DOWNLOADS = "/api/v0/invoke", "/api/v0.1/Download/"
"""Path, result and finding of each planted change."""


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


def test_previews_are_estimated_by_the_pinned_preview(simulator: str, tmp_path: Path) -> None:
    measured = checked(simulator, tmp_path, products="preview").measured
    assert measured.bytes_per_pixel is not None
    assert measured.bytes_per_pixel < 2
    assert measured.file_bytes


def test_files_without_a_listed_size_do_not_count_in_the_mean_size(tmp_path: Path) -> None:
    pins = ArchivePins(released_mjd=(FIRST_MJD, FIRST_MJD + 2))
    with hst_archive() as world:
        (size,) = {row["size"] for row in world.products}
        for row in world.products[::2]:
            row["size"] = None
        measured = checked(world.url, tmp_path, pins=pins, name="hst").measured
    assert measured.file_bytes == size


def test_kept_answers_are_read_by_the_parsers(simulator: str, tmp_path: Path) -> None:
    report = checked(simulator, tmp_path / "data", tmp_path / "kept")
    answers = json.loads((tmp_path / "kept" / "answers.json").read_text())
    assert report.measured.num_requests == len(answers)
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
        files_each=0.2,
        bytes_each=20e6,
        file_bytes=200e6,
        bytes_per_pixel=12.0,
    )
    fetch, tiles = FetchSettings(connections=8), TileSettings()
    made = estimate(measured, fetch, tiles)
    assert made is not None
    assert made.num_files == 20_000
    assert made.copy_s == pytest.approx(made.files_s / 10)
    assert made.fetched_bytes == 20_000 * 100e6
    assert made.files_s == pytest.approx(20_000 * 100e6 / (8 * 2e6))
    assert made.metadata_s == 20 * (2.5 + 9.0) + 1_000 * 2.0 / 8
    assert made.num_tiles == 20_000 * (8**2 / 2 + 1)  # a grid of 8 by 8, half of it kept, and one overview
    assert estimate(Measured(), fetch, tiles) is None


@pytest.mark.slow
@pytest.mark.parametrize("num_proposals", [12, 60])
def test_files_and_bytes_are_estimated_within_a_factor_of_two(num_proposals: int, tmp_path: Path) -> None:
    sky = SKY.model_copy(update={"num_proposals": num_proposals})
    with running_simulator(sky) as url:
        report = checked(url, tmp_path, pins=pins_of(sky))
        archive = archive_at(url, tmp_path)
        products, _ = archive.list_products(observe(archive))
    made = estimate(report.measured, FetchSettings(), TileSettings())
    assert made is not None
    for estimated, true in (
        (made.num_files, len(products)),
        (made.fetched_bytes, sum(product.size_bytes or 0 for product in products)),
    ):
        assert true / 2 <= estimated <= true * 2


@pytest.mark.slow
def test_the_time_is_estimated_within_a_factor_of_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page, list and file takes a time in proportion to its size, so that the machine's own speed is negligible."""
    limits = replace(LIMITS, page_rows=30)
    monkeypatch.setattr("hubbleclip.archives.check.estimate.LIMITS", limits)
    file = SparseFile(dict.fromkeys(("SCI", "WHT"), 160))
    made = [
        (observation(f"i{number:03d}{visit}010", str(1000 + number), "WFC3/UVIS", "F606W", 3), {"drz.fits": file})
        for number in range(60)
        for visit in ("01", "02", "03")
    ]
    with MadeArchive("HST", made) as world:
        answer, give_file = world.answer, world.give_file

        def slow_answer(query: dict[str, Any]) -> dict[str, Any]:
            table = answer(query)
            time.sleep(0.3 + 0.006 * len(table["data"]))
            return table

        def slow_file(name: str) -> Respond:
            return lambda handler: (time.sleep(0.6), give_file(name)(handler))

        monkeypatch.setattr(world, "answer", slow_answer)
        monkeypatch.setattr(world, "give_file", slow_file)
        fetch = FetchSettings(connections=4, requests_per_s=1000)
        settings = ArchiveSettings(mast_url=world.url, instruments=("WFC3*",))
        archive = MastArchive(settings, fetch, Layout(tmp_path), limits)
        pins = ArchivePins(released_mjd=(FIRST_MJD, FIRST_MJD + 2))
        estimated = estimate(check_archive(archive, pins).measured, fetch, TileSettings())
        started = time.monotonic()
        observations = observe(archive, mjd_of(settings.since))
        with ThreadPoolExecutor(fetch.connections) as pool:
            by_batch = [observations[start : start + 60] for start in range(0, 180, 60)]
            products = [one for found, _ in pool.map(archive.list_products, by_batch) for one in found]
            metadata_s = time.monotonic() - started
            list(pool.map(archive.fetch_product, products))
        files_s = time.monotonic() - started - metadata_s
    assert estimated is not None
    assert estimated.metadata_s / 2 <= metadata_s <= estimated.metadata_s * 2
    assert estimated.files_s / 2 <= files_s <= estimated.files_s * 2


def test_a_request_takes_no_less_than_the_rate_limit_allows() -> None:
    assert metadata_s(50_000, 0.0, 0.0, FetchSettings(requests_per_s=10)) == pytest.approx((10 + 500) / 10)


def test_a_preview_of_the_size_of_the_recorded_one_has_81_tiles_in_its_grid() -> None:
    assert tiles_per_file(4543 * 4423, TileSettings(views=("native",))) == 81 / 2


def test_the_pins_of_hst_are_twelve_files_of_six_visits() -> None:
    pins = MISSIONS["hst"].pins
    assert len(pins.file_names) == 12
    assert {MISSIONS["hst"].products.origin(name) for name in pins.file_names} == {"advanced"}
