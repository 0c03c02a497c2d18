"""JWST: the check looks at a mosaic, an exposure, an APT file and the bucket, and the mosaic is chosen and fetched."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.cli.app import main
from hubbleclip.config.settings import read_settings
from hubbleclip.core.layout import Layout
from tests.archives.conftest import LIMITS, observe
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
        fetched = archive.fetch_product(products[0]).product
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
