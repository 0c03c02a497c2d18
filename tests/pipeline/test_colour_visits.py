"""Colour tiles of visits: made once, made anew when a file is renewed, never of fewer than three filters."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from stages import cut_pending, fetched, observation, rejection, stage_at

from hubbleclip.catalog.pending import pending_fetch
from hubbleclip.core.io import sha256_file
from hubbleclip.core.records import Product
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.pipeline.pending_work import has_tiles
from hubbleclip.pipeline.tiles.run import colour_pending, pending_visits

pytest.importorskip("reproject")
TILES = {"tiles": {"size_px": 64, "min_side_px": 32, "colour": True, "views": ["native"]}}


def write_image(path: Path, band: str, seed: int, blank: slice = slice(0)) -> None:
    data = np.random.default_rng(seed).normal(5, 1, (64, 64)).astype(np.float32)
    data[28:36, 28:36] += 500
    data[:, blank] = np.nan
    wcs = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": 32.0, "CRPIX2": 32.0}
    camera = {"INSTRUME": "WFC3", "DETECTOR": "UVIS", "FILTER": band, "NDRIZIM": 4}
    cards = wcs | camera | {"CDELT1": -1e-5, "CDELT2": 1e-5}
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.PrimaryHDU(data, fits.Header(cards.items())).writeto(path, overwrite=True)


def with_visit(stage: Stage, bands: tuple[str, ...], blank_px: int = 0) -> list[Product]:
    """Write one file per band. Other columns are blank in each, `blank_px` of them."""
    products = []
    for number, band in enumerate(bands):
        path = stage.layout.products / f"{band}.fits"
        write_image(path, band, number, slice(number * blank_px, (number + 1) * blank_px))
        item = fetched(f"o{number}", sha256_file(path))
        products.append(replace(item, path=stage.layout.relative(path)))
        stage.catalog.upsert(
            {"observation": [replace(observation(f"o{number}"), visit="ib2s16", target_name="NEPTUNE")]}
        )
    stage.catalog.upsert({"product": products})
    cut_pending(stage)
    return products


def colour(stage: Stage) -> list[dict]:
    colour_pending(stage)
    return stage.catalog.rows("FROM tile WHERE view = 'colour'")


def test_a_visit_with_three_filters_gets_a_colour_tile_once_and_again_when_a_file_is_renewed(tmp_path: Path) -> None:
    with stage_at(tmp_path, TILES) as stage:
        products = with_visit(stage, ("F336W", "F814W", "F555W"))
        (before,) = colour(stage)
        assert (before["part_uris"], before["product_uri"]) == (["mast:o1", "mast:o2", "mast:o0"], "mast:o2")
        assert stage.layout.absolute(before["path"]).is_file()
        assert pending_visits(stage.catalog, stage.settings.tiles) == []
        path = stage.layout.absolute(products[1].path or "")
        assert before["cut_at"] > products[1].fetched_at.replace(tzinfo=None)
        write_image(path, "F814W", 9)
        newer = replace(products[1], sha256=sha256_file(path), fetched_at=datetime.now(UTC))
        stage.catalog.upsert({"product": [newer]})
        cut_pending(stage)
        assert len(pending_visits(stage.catalog, stage.settings.tiles)) == 1
        assert {tile["tile_id"] for tile in colour(stage)} > {before["tile_id"]}
        digest = stage.settings.tiles.digest()
        current = {tile["tile_id"] for tile in stage.catalog.named_query("current_tiles", settings_digest=digest)}
        assert before["tile_id"] not in current and len(current) == 3 + 1
        dropped = replace(products[0], sha256=None, path=None, fetched_at=None, version=None, source=None)
        stage.catalog.upsert({"product": [dropped]})
        assert {row["view"] for row in stage.catalog.named_query("current_tiles", settings_digest=digest)} == {"native"}


def test_a_visit_with_a_damaged_file_waits_until_the_file_is_fetched_again(tmp_path: Path) -> None:
    with stage_at(tmp_path, TILES) as stage:
        products = with_visit(stage, ("F336W", "F814W", "F555W"))
        stage.layout.absolute(products[0].path or "").write_bytes(b"lost")
        assert colour(stage) == []
        assert stage.catalog.counts()["rejection"] == 0
        assert pending_fetch(stage.catalog, stage.settings) == [products[0].uri]
        assert pending_visits(stage.catalog, stage.settings.tiles) == []
        write_image(stage.layout.absolute(products[0].path or ""), "F336W", 0)
        stage.catalog.upsert({"product": [products[0]]})
        assert len(colour(stage)) == 1


def test_a_visit_whose_colour_tiles_are_all_left_out_is_not_cut_again(tmp_path: Path) -> None:
    with stage_at(tmp_path, TILES) as stage:
        with_visit(stage, ("F336W", "F814W", "F555W"), blank_px=16)
        assert len(pending_visits(stage.catalog, stage.settings.tiles)) == 1
        tiles = stage.settings.tiles.model_copy(update={"colour": False})
        grey = replace(stage, settings=stage.settings.model_copy(update={"tiles": tiles}))
        cut_pending(grey)
        assert (has_tiles(stage), has_tiles(grey)) == (True, False)
        assert colour(stage) == []
        (left,) = stage.catalog.rows("FROM rejection WHERE stage = 'colour'")
        assert (left["entity"], left["reason"]) == ("visit", "too_little_valid")
        assert pending_visits(stage.catalog, stage.settings.tiles) == []


def test_a_visit_left_out_for_want_of_a_package_is_tried_again_on_request(tmp_path: Path) -> None:
    with stage_at(tmp_path, TILES) as stage:
        lacking = rejection("visit", "ib2s16 NEPTUNE", "colour", "settings")
        empty = rejection("visit", "ib2s17 NEPTUNE", "colour", "no_signal")
        stage.catalog.upsert({"rejection": [lacking, empty]})
        stage.catalog.run("clear_all_failures")
        assert [row["reason"] for row in stage.catalog.rows("FROM rejection")] == ["no_signal"]
