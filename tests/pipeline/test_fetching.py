"""Files: fetched side by side, numbered as their contents follow each other, and kept only where that is asked."""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stages import cut_pending, fetched, product, stage_at
from synthetic_fits import starry_sky, write_drz
from valid_catalog import tile

from hubbleclip.archives import Archive
from hubbleclip.archives.base import Delivery
from hubbleclip.archives.http.client import RequestLimits
from hubbleclip.archives.mast.archive import MastArchive
from hubbleclip.catalog.pending import pending_fetch, pending_tiles, product_batches
from hubbleclip.config.settings import ArchiveSettings, SimulatorSettings
from hubbleclip.core.errors import ArchiveDownError, DiskFullError, DownloadError
from hubbleclip.core.io import sha256_bytes, write_bytes
from hubbleclip.core.records import Attempt, Observation, Product
from hubbleclip.pipeline.engine.attempts import MAX_RUNS, Batch, Step
from hubbleclip.pipeline.engine.batches import run_batches
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.pipeline.ingest.fetch import fetch_pending, remove_strays, write_fetched
from hubbleclip.pipeline.shards import read_material
from hubbleclip.pipeline.tiles.run import cut_product, fetch_and_cut, without_repeated, write_cut
from hubbleclip.simulator.server.launcher import running_simulator

SKY = SimulatorSettings(num_proposals=6, frame_px=96)
QUICK = {"fetch": {"timeout_s": 5, "connections": 2, "min_free_gb": 0}, "tiles": {"size_px": 64, "min_side_px": 32}}
NOT_KEPT = QUICK | {"fetch": QUICK["fetch"] | {"keep_fits": False}}


class Shelf:
    """An archive whose files are these texts by URI; a text that is an error is raised."""

    name = "hst"

    def __init__(self, stage: Stage, texts: Mapping[str, str | bytes | Exception]) -> None:
        self.layout = stage.layout
        self.texts = texts

    def fetch_product(self, item: Product) -> Delivery:
        text = self.texts[item.uri]
        if isinstance(text, Exception):
            raise text
        data = text if isinstance(text, bytes) else text.encode()
        path = self.layout.product(sha256_bytes(data), item.file_name)
        write_bytes(path, data)
        known = fetched(item.obs_id, sha256_bytes(data), item.archive_version)
        facts = {n: getattr(known, n) for n in ("sha256", "fetched_at", "source", "fetched_version")}
        return Delivery(replace(item, **facts, path=self.layout.relative(path), size_bytes=len(data)))


def known(stage: Stage, uri: str = "mast:a") -> Product:
    return Product(**stage.catalog.rows("FROM product WHERE uri = ?", [uri])[0])


def with_observations(stage: Stage, *products: Product) -> None:
    stage.catalog.upsert({"product": list(products)})


def test_a_new_content_is_the_next_version_and_an_old_file_that_no_product_has_goes(tmp_path: Path) -> None:
    with stage_at(tmp_path) as stage:
        with_observations(stage, product("a"), product("b"))
        left = stage.layout.products
        for version, content, number, contents in (
            ("v1", "same", 1, ["same"]),
            ("v2", "same", 1, ["same"]),  # nothing changes but the version that was fetched
            ("v3", "other", 2, ["other", "same"]),  # which product b has
            ("v4", "third", 3, ["same", "third"]),
        ):
            stage.catalog.upsert({"product": [replace(known(stage), archive_version=version)]})
            fetch_pending(stage, Shelf(stage, {"mast:a": content, "mast:b": "same"}))
            item = known(stage)
            assert (item.version, item.fetched_version) == (number, version)
            assert stage.layout.absolute(item.path).read_text() == content
            assert sorted(path.read_text() for path in left.rglob("*.fits")) == contents
        rows = stage.catalog.rows(
            "SELECT version, archive_version FROM product_version WHERE uri = 'mast:a' ORDER BY 1"
        )
        assert [tuple(row.values()) for row in rows] == [(1, "v1"), (2, "v3"), (3, "v4")]


def test_a_failing_file_waits_is_given_up_and_comes_when_tried_anew(tmp_path: Path) -> None:
    with stage_at(tmp_path, {"fetch": {"retry_hours": 0}}) as stage:
        with_observations(stage, product("a"), product("b"))
        broken = Shelf(stage, {"mast:a": DownloadError("html", "a page"), "mast:b": "b"})
        for _ in range(MAX_RUNS - 1):
            fetch_pending(stage, broken)
        (waiting,) = [Attempt(**row) for row in stage.catalog.rows("FROM waiting_item")]
        assert (waiting.entity_id, waiting.attempts, waiting.error) == ("mast:a", MAX_RUNS - 1, "html")
        fetch_pending(stage, broken)
        assert [row["reason"] for row in stage.catalog.rows("FROM rejection")] == ["html"]
        assert pending_fetch(stage.catalog, stage.settings) == []
        stage.catalog.run("clear_all_failures")
        fetch_pending(stage, Shelf(stage, {"mast:a": "a"}))
        assert known(stage).version == 1
        assert (stage.catalog.counts()["attempt"], stage.catalog.counts()["rejection"]) == (0, 0)


STEP = Step(name="fetch-products", stage="fetch", entity="product", digest="d", key="uri", is_retried=True)


@pytest.mark.parametrize("error", [ArchiveDownError("down"), DiskFullError("full")])
def test_what_ends_the_run_keeps_what_was_done_before(error: Exception, tmp_path: Path) -> None:
    started: list[str] = []

    def work(item: Product) -> Batch:
        started.append(item.uri)
        if item.uri == "mast:d":
            raise error
        time.sleep(0.3 * (item.uri > "mast:d"))
        return {"product": [item]}

    with stage_at(tmp_path) as stage:
        items, step = [product(name) for name in "abcdefghij"], replace(STEP, connections=1)
        with pytest.raises(type(error)):
            run_batches(stage, step, work, items, total=len(items))
        assert {row["uri"] for row in stage.catalog.rows("FROM product")} == {*started} - {"mast:d"}
    assert {"mast:a", "mast:b", "mast:c", "mast:d"} <= {*started} < {item.uri for item in items}


def test_one_slow_item_holds_up_no_other_and_the_connections_are_never_exceeded(tmp_path: Path) -> None:
    lock, others_done, busy, seen, left = threading.Lock(), threading.Event(), 0, [], 64

    def work(item: Product) -> Batch:
        nonlocal busy, left
        with lock:
            busy += 1
            seen.append(busy)
        if item.uri == "mast:slow":
            assert others_done.wait(60)
        time.sleep(0.01)
        with lock:
            busy -= 1
            left -= item.uri != "mast:slow"
            if not left:
                others_done.set()
        return {"product": [item]}

    items = [product("slow"), *(product(f"{number}") for number in range(64))]
    with stage_at(tmp_path, {"flows": {"batch_size": 8}}) as stage:
        run_batches(stage, replace(STEP, connections=3), work, items, total=len(items))
        assert stage.catalog.counts()["product"] == 65
    assert max(seen) == 3


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_simulator(SKY) as address:
        yield address


def archive_at(url: str, stage: Stage, limits: RequestLimits | None = None, **asked: Any) -> Archive:
    served = ArchiveSettings(name="simulated", mast_url=url, **asked)
    return MastArchive(served, stage.settings.fetch, stage.layout, limits)


def listed(archive: Archive) -> tuple[list[Observation], list[Product]]:
    observations = [item for page in archive.query_observations(48005.0) for item in page]
    return observations, archive.list_products(observations)[0]


def cut(stage: Stage, archive: Archive) -> set[tuple[str, str]]:
    """Cut the pending files, which are fetched where they are not kept; the tiles' ids and hashes."""
    if stage.settings.fetch.keep_fits:
        fetch_pending(stage, archive)
        cut_pending(stage)
    else:
        fetch_and_cut(stage, archive, pending_tiles(stage.catalog, stage.settings))
    assert pending_tiles(stage.catalog, stage.settings) == []
    return {(row["tile_id"], row["png_sha256"]) for row in stage.catalog.rows("FROM tile")}


def test_files_that_are_not_kept_are_fetched_cut_and_deleted_and_one_that_failed_is_cut_at_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_once(item: Product, *given: Any) -> Batch:
        if item.uri in failing:
            failing.remove(item.uri)
            raise ZeroDivisionError
        return cut_product(item, *given)

    failing = ["mast:d"] * 2
    monkeypatch.setattr("hubbleclip.pipeline.tiles.run.cut_product", fail_once)
    a, d = (write_drz(tmp_path / "x.fits", starry_sky((64, 64), seed)).read_bytes() for seed in (1, 2))
    with stage_at(tmp_path / "data", NOT_KEPT | {"flows": {"max_rejected_share": 1}}) as stage:
        with_observations(stage, *map(product, "abcd"))
        write_bytes(stage.layout.part("mast:c"), b"half")
        shelf = Shelf(stage, {"mast:a": a, "mast:b": b"no FITS", "mast:c": DownloadError("stalled"), "mast:d": d})
        fetch, counts = shelf.fetch_product, []

        def counted(item: Product) -> Delivery:
            counts.append(len([path for path in files_in(stage.layout.products) if path.suffix == ".fits"]))
            return fetch(item)

        monkeypatch.setattr(shelf, "fetch_product", counted)
        for cut_now, waiting in (
            ({"mast:a"}, [("mast:c", "fetch", "stalled", 1), ("mast:d", "tiles", "unexpected", 1)]),
            ({"mast:a"}, [("mast:c", "fetch", "stalled", 2), ("mast:d", "tiles", "unexpected", 2)]),
            ({"mast:a", "mast:d"}, [("mast:c", "fetch", "stalled", 3)]),
        ):
            cut(stage, shelf)
            assert {row["product_uri"] for row in stage.catalog.rows("FROM tile")} == cut_now
            rows = stage.catalog.rows("SELECT entity_id, stage, error, attempts FROM attempt ORDER BY ALL")
            assert [tuple(row.values()) for row in rows] == waiting
            stage.catalog.connection.execute("UPDATE attempt SET next_try_at = last_at")
        rows = stage.catalog.rows("SELECT entity_id, stage, reason FROM rejection WHERE entity = 'product'")
        assert [tuple(row.values()) for row in rows] == [("mast:b", "tiles", "unreadable")]
        rows = stage.catalog.rows("SELECT path, version FROM product ORDER BY uri")
        assert [tuple(row.values()) for row in rows] == [(None, 1), (None, 1), (None, None), (None, 1)]
        assert files_in(stage.layout.products) == []
        assert len(counts) == 8
        assert max(counts) <= 1  # the file of the other connection


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in {".fits", ".part"} and path.is_file()]


@pytest.mark.slow
def test_previews_not_kept_never_touch_the_disk_and_give_the_same_tiles(url: str, tmp_path: Path) -> None:
    tiles = []
    for overrides in (QUICK, NOT_KEPT):
        with stage_at(tmp_path / str(len(tiles)), overrides) as stage:
            archive = archive_at(url, stage, products="preview")
            observations, products = listed(archive)
            stage.catalog.upsert({"observation": observations, "product": products})
            tiles.append(cut(stage, archive))
    assert not stage.layout.products.exists()
    assert tiles[0] == tiles[1]
    assert len(tiles[0]) > 3


@pytest.mark.parametrize("nights", [[["hst:1", "hst:2"]], [["hst:2"], ["hst:1"]], [["hst:1", "hst:1"]]], ids=str)
@pytest.mark.parametrize("is_kept", [True, False])
def test_of_equal_files_the_first_is_cut_and_keeps_its_tiles(
    tmp_path: Path, is_kept: bool, nights: list[list[str]]
) -> None:
    with stage_at(tmp_path) as stage:

        def cut_all() -> None:
            """Cut each pending file into one tile, whose id follows from the content."""
            uris = pending_tiles(stage.catalog, stage.settings)
            files, of = (
                [known(stage, uri) for uri in reversed(uris)],
                {"settings_digest": stage.settings.tiles.digest()},
            )
            tiles = [
                tile("1", product_uri=one.uri, product_sha256=one.sha256, proposal_id=one.proposal_id, **of)
                for one in files
            ]
            if is_kept:
                write_cut(stage, {"tile": tiles})
            else:  # the common file is deleted after the first of them is cut
                write_fetched(stage, without_repeated(stage, {"product": files, "tile": tiles[-1:]}))
            assert pending_tiles(stage.catalog, stage.settings) == []

        for night, proposals in enumerate(nights):
            with_observations(stage, *(fetched(f"{night}{n}", proposal=of) for n, of in enumerate(proposals)))
            cut_all()
            (row,) = stage.catalog.rows("FROM tile")
            assert (row["proposal_id"], row["product_uri"]) == (nights[0][0], "mast:00")
        rows = stage.catalog.rows("SELECT reason, detail FROM rejection WHERE entity = 'product'")
        assert [tuple(row.values()) for row in rows] == [("repeated", "equal to mast:00")]
        linked = [(link.one, link.other) for link in read_material(stage).same_files]
        assert linked == ([("hst:1", "hst:2")] if "hst:2" in str(nights) else [])
        kept = known(stage, "mast:00")
        stage.catalog.upsert({"product": [replace(kept, superseded_at=kept.fetched_at)]})
        stage.catalog.run("release_repeated")
        cut_all()
        assert [row["product_uri"] for row in stage.catalog.rows("FROM tile")] in (["mast:01"], ["mast:10"])


def test_what_waits_is_read_in_order_a_few_runs_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubbleclip.catalog.pending.BATCHES_PER_READ", 2)
    with stage_at(tmp_path) as stage:
        with_observations(stage, *(product(name) for name in "fbdeca"))
        pending = pending_fetch(stage.catalog, stage.settings)
        read = product_batches(stage.catalog, pending, size=2)
        assert [item.uri for item in next(read)] == pending[:2] == ["mast:a", "mast:b"]
        stage.catalog.upsert({"product": [replace(product("f"), size_bytes=7)]})
        assert [[item.uri for item in some] for some in read] == [pending[2:4], pending[4:]]
        assert list(product_batches(stage.catalog, [], size=2)) == []


def test_strays_of_a_killed_run_are_removed_and_named_files_stay(tmp_path: Path) -> None:
    with stage_at(tmp_path) as stage:
        item = fetched("a")
        with_observations(stage, item)
        stray, part = stage.layout.product("b" * 64, "b.fits"), stage.layout.part("mast:c")
        for path in (stage.layout.absolute(item.path), stray, part, part.with_suffix(".etag")):
            write_bytes(path, b"x")
        remove_strays(stage)
        assert [path for path in stage.layout.products.rglob("*") if path.is_file()] == [
            stage.layout.absolute(item.path)
        ]
