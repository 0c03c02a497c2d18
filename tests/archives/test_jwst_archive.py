"""JWST: the check looks at a mosaic, an exposure, an APT file and the bucket, and the mosaic is chosen and fetched."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from hubbleclip.archives.http.client import RequestLimits
from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.cli.app import main
from hubbleclip.config.settings import read_settings
from hubbleclip.core.layout import Layout
from tests.archives.conftest import LIMITS, observe
from tests.bad_server import give
from tests.made_archive import MadeArchive, jwst_archive


def archive_of(world: MadeArchive, root: Path, max_product_mb: int) -> MastArchive:
    asked = {"mast_url": world.url, "max_product_mb": max_product_mb}
    settings = read_settings("jwst", {"data": str(root), "archive": asked, "fetch": {"min_free_gb": 0}})
    return MastArchive(settings.archive, settings.fetch, Layout(settings.root), LIMITS)


def test_the_check_looks_at_a_mosaic_an_exposure_an_apt_file_and_the_bucket_and_gives_an_estimate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with jwst_archive() as world, pytest.raises(SystemExit) as ended:
        main(["check-archive", "--profile=jwst", f"--data={tmp_path}", "--json", f"--set=archive.mast_url={world.url}"])
    report = json.loads(capsys.readouterr().out)
    assert (ended.value.code, report["level"]) == (1, "differs")
    levels = {one["what"]: one["level"] for one in report["findings"]}
    looked_at = ("combined file, content", "exposure file, content", "public copy of combined file", "APT file of 1001")
    assert [levels[what] for what in looked_at] == ["ok"] * 4
    assert {what for what, level in levels.items() if level != "ok"} == {"search API"}
    assert (report["estimate"]["num_observations"], report["estimate"]["num_files"]) == (7, 2)


@pytest.mark.parametrize(("side", "max_product_mb"), [(750, 5), pytest.param(13_887, 2000, marks=pytest.mark.nightly)])
def test_a_mosaic_is_fetched_of_which_the_read_part_is_small_enough(
    side: int, max_product_mb: int, tmp_path: Path
) -> None:
    with jwst_archive(side, num=1) as world:
        archive = archive_of(world, tmp_path, max_product_mb)
        products, _ = archive.list_products(observe(archive))
        assert products[0].file_name.endswith("_i2d.fits")
        assert products[0].size_bytes > 3 * max_product_mb * 1e6 * 0.8
        fetched = archive.fetch_product(products[0])
        assert fetched.sha256
        assert (tmp_path / "jwst" / str(fetched.path)).stat().st_size < max_product_mb * 1e6


def test_a_mosaic_that_is_too_large_is_told_and_other_modes_are_refused_before_a_request(tmp_path: Path) -> None:
    with jwst_archive(750, num=1) as world:
        archive = archive_of(world, tmp_path, 4)
        products, rejections = archive.list_products(observe(archive))
        told = {item.entity_id: (item.reason, item.detail) for item in rejections}
        asked = [seen["body"] for seen in world.seen if "Caom.Products" in seen["body"]]
        asked_ids = {json.loads(parse_qs(body)["request"][0])["params"]["obsid"] for body in asked}
    assert [item.file_name for item in products][:1] == ["jw01001001001_02101_00001_nrca1_cal.fits"]
    assert told["jw01001-o001_t001_nircam_clear-f200w"] == (
        "too_large",
        "jw01001-o001_t001_nircam_clear-f200w_i2d.fits: 5 MB would be fetched: raise archive.max_product_mb",
    )
    assert told["jw01001-o009_t001_nircam_maskrnd-f210m"][0] == "not_an_image"
    assert asked_ids == {"1,2,4"}


def command(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert not ended.value.code, capsys.readouterr().err
    return capsys.readouterr().err


@pytest.mark.slow
def test_one_ingest_of_a_bad_night_ends_with_all_the_rest_done_and_nothing_wrong_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Equal mosaics of 5.4 GB, 15 minutes without a connection (3 s here), and 403 for each page after the check."""
    scale, num_files, num_pages = 300, itertools.count(1), itertools.count(1)
    limits = RequestLimits(backoff_s=0.5 / scale, breaker_s=60 / scale, outage_s=3600 / scale)
    monkeypatch.setattr("hubbleclip.archives.http.client.LIMITS", limits)
    monkeypatch.setattr("hubbleclip.archives.http.client.MAX_WAIT_S", 30 / scale)
    with jwst_archive(300, num=7, unread_side=16_432) as world:
        respond = world.respond

        def failing(handler: Any) -> None:
            if handler.path.startswith("/api/v0.1/Download/") and next(num_files) == 5:
                world.begin_outage(15 * 60 / scale)
                handler.close_connection = True
            elif handler.path.startswith("/jwst-program-info/") and next(num_pages) > 2:
                give(b"", 403)(handler)
            else:
                respond(handler)

        world.respond = failing  # type: ignore[method-assign]
        fetch = ("min_free_gb=0", "keep_fits=true", "requests_per_s=1000", "connections=2")
        sets = [f"archive.mast_url={world.url}", "flows.batch_size=1", *(f"fetch.{one}" for one in fetch)]
        place = ["--profile=jwst", f"--data={tmp_path}", *(f"--set={one}" for one in sets)]
        told = command(capsys, "ingest", *place)
    command(capsys, "tiles", *place, "--set=tiles.size_px=128", "--set=flows.max_rejected_share=1")
    with read_catalog(Layout(tmp_path / "jwst")) as catalog:
        fetched = catalog.rows("SELECT * FROM product ORDER BY file_name")
        failures = catalog.rows("SELECT DISTINCT entity, error FROM attempt")
        rejected = catalog.rows("SELECT DISTINCT entity, reason FROM rejection ORDER BY ALL")
        cut = {row["proposal_id"] for row in catalog.rows("SELECT proposal_id FROM tile")}
    mosaics = [row for row in fetched if "o001" in row["file_name"] and "9999" not in row["file_name"]]
    assert (len(fetched), len(mosaics), {row["size_bytes"] > 5.4e9 for row in mosaics}) == (8, 7, {True})
    assert len({row["sha256"] for row in mosaics}) == 1 and all(row["sha256"] for row in fetched)
    assert [tuple(row.values()) for row in failures] == [("proposal", "unanswered")]
    observation, product = ["covered", "not_an_image"], ["repeated"]
    assert [row["reason"] for row in rejected] == [*observation, *product]
    assert len(cut) == 2, "equal files are of one proposal"
    assert "the other proposals wait for the next run" in told
    assert next(num_files) > 15, "files were requested again after the outage"
