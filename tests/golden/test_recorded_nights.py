"""Nights of an archive in memory are those recorded: questions, rows, files, log, status and pending work of each step."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from made_sky import Diary, Sky, fits_bytes, patched

from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.core.errors import DownloadError
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline.captions import captions
from hubbleclip.pipeline.dataset import dataset, read_growth
from hubbleclip.pipeline.drop import drop
from hubbleclip.pipeline.engine.attempts import retry
from hubbleclip.pipeline.engine.stage import layout_of
from hubbleclip.pipeline.ingest.run import ingest, poll
from hubbleclip.pipeline.shards import shards
from hubbleclip.pipeline.tiles.run import tiles

GIVEN = {
    "archive": {"check_first": False, "since": "2029-12-28", "relist_days": 9},
    "tiles": {"size_px": 64, "min_side_px": 32, "views": ["native"]},
    "captions": {"backend": "rules"},
    "splits": {"val_share": 0.2, "test_share": 0.3},
    "shards": {"caption_kinds": ["abstract", "title", "summary"]},
    "flows": {"workers": 1, "batch_size": 2},
}
FETCH = {"connections": 1, "min_free_gb": 0}


def settings_of(data: Path, store: str = "", *, keep_fits: bool = True) -> Settings:
    kept = {"store": store, "keep_local": not store, "fetch": FETCH | {"keep_fits": keep_fits}}
    return read_settings("hubble", {"data": str(data)}, GIVEN | kept)


def made_sky(layout: Layout) -> Sky:
    """Five proposals: with good, blank, broken, stalled and equal files, without a file, text or number."""
    sky = Sky(layout)
    sky.add("a1", "1", -9, fits_bytes(1), ra_deg=10.0)
    sky.add("a2", "1", -8.6, DownloadError("stalled", "no bytes"))
    sky.add("a3", "1", -8.4, None)
    sky.add("b1", "2", -3, fits_bytes(2, 128, 70), target_name="67P", is_moving=True)
    sky.add("c1", "3", -2, b"no FITS")
    sky.add("c2", "3", -1.5, fits_bytes(3))
    sky.add("d1", "4", -1.4, fits_bytes(4))
    sky.add("e1", "5", -1, fits_bytes(1))
    sky.add("f1", "unknown", -0.9, None)
    sky.add("g1", "5", -0.8, None, exposure_s=-1.0)
    for number, text in zip("1245", ("We image a spiral galaxy.", "The dust of a comet.", "N/A", None), strict=True):
        sky.publish(number, text)
    return sky


def next_night(sky: Sky) -> None:
    """A file is made anew, one comes at last, an observation is withdrawn, another new, and a proposal is found."""
    sky.products["a1"] = replace(sky.products["a1"], archive_version="v2", size_bytes=None)
    sky.files |= {"mast:a1": fits_bytes(6), "mast:a2": fits_bytes(7)}
    del sky.rows["d1"]
    sky.add("c3", "3", 7, fits_bytes(8))
    sky.publish("3", "A cluster of white dwarfs.")
    sky.publish("5", "Lensed quasars.")


def kept_files(data: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    settings = settings_of(data)
    sky = made_sky(layout_of(settings))
    diary = Diary(settings, sky, patch)
    diary.step(0, "ingest", lambda: ingest(settings))
    diary.step(0.1, "tiles", lambda: tiles(settings))
    diary.step(0.2, "captions", lambda: captions(settings))
    diary.step(0.3, "shards", lambda: shards(settings))
    diary.step(0.4, "dataset without news", lambda: dataset(settings))
    next_night(sky)
    diary.step(8, "poll", lambda: poll(settings))
    diary.step(8, "dataset", lambda: dataset(settings))
    diary.step(8, "poll without news", lambda: poll(settings))
    return diary.numbered()


def faults(data: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    settings = settings_of(data)
    layout = layout_of(settings)
    sky = made_sky(layout)
    diary = Diary(settings, sky, patch)
    sky.broken_after = 4
    diary.step(0, "dataset of half an answer", lambda: dataset(settings))
    sky.broken_after = None
    diary.step(1, "dataset", lambda: dataset(settings))
    layout.absolute(diary.row("tile", product_uri="mast:d1")["path"]).write_bytes(b"damaged")
    layout.absolute(diary.row("product", obs_id="d1")["path"]).unlink()
    diary.step(2, "shards of a damaged tile", lambda: shards(settings))
    diary.step(2, "tiles of a lost file", lambda: tiles(settings))
    diary.step(2, "ingest of a lost file", lambda: ingest(settings, retry=True))
    diary.step(2, "retry", lambda: retry(settings, ["unreadable"]))
    sky.files["mast:c1"] = fits_bytes(9)
    diary.step(3, "drop", lambda: drop(settings, "2", bool))
    diary.step(3, "dataset again", lambda: dataset(settings))
    diary.step(3, "growth", lambda: read_growth(layout))
    return diary.numbered()


def with_a_store(data: Path, patch: pytest.MonkeyPatch, *, keep_fits: bool) -> dict[str, Any]:
    here, there = (settings_of(data / name, f"file://{data}/store", keep_fits=keep_fits) for name in ("a", "b"))
    sky = made_sky(layout_of(here))
    diary, other = (Diary(one, sky, patch) for one in (here, there))
    diary.step(0, "ingest", lambda: ingest(here))
    diary.step(0, "tiles", lambda: tiles(here))
    diary.step(0, "shards", lambda: shards(here))
    next_night(sky)
    other.step(8, "dataset elsewhere", lambda: dataset(there))
    diary.step(9, "dataset after another machine", lambda: dataset(here))
    return diary.numbered() | {f"other {key}": value for key, value in other.numbered().items()}


STORIES: dict[str, Callable[[Path, pytest.MonkeyPatch], dict[str, Any]]] = {
    "nights.json": kept_files,
    "nights_of_faults.json": faults,
    "nights_with_files_in_a_store.json": partial(with_a_store, keep_fits=True),
    "nights_without_files_in_a_store.json": partial(with_a_store, keep_fits=False),
}


@pytest.fixture(scope="module", params=STORIES)
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    with patched() as patch:
        return request.param, STORIES[request.param](tmp_path_factory.mktemp("nights"), patch)


def test_nights_are_those_recorded(story: tuple[str, dict[str, Any]], compare_recorded: Callable[..., None]) -> None:
    compare_recorded(*story)
