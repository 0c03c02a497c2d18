"""Files: fetched side by side, numbered as their contents follow each other, and kept only where that is asked."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stages import fetched, product, rejection, stage_at

from hubbleclip.archives import Archive
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
from hubbleclip.pipeline.ingest.fetch import (
    dropped,
    fetch_pending,
    remove_strays,
)
from hubbleclip.pipeline.shards.splitting import read_material
from hubbleclip.pipeline.tiles.run import cut_pending, fetch_and_cut
from hubbleclip.simulator.server.launcher import running_simulator

SKY = SimulatorSettings(num_proposals=6, frame_px=96)
QUICK = {
    "fetch": {"timeout_s": 5, "connections": 2, "min_free_gb": 0},
    "tiles": {"size_px": 64, "min_side_px": 32},
}
NOT_KEPT = QUICK | {"fetch": QUICK["fetch"] | {"keep_fits": False}}


class Shelf:
    """An archive whose files are these texts by URI; a text that is an error is raised."""

    name = "hst"

    def __init__(self, stage: Stage, texts: dict[str, str | Exception]) -> None:
        self.layout = stage.layout
        self.texts = texts

    def fetch_product(self, item: Product) -> Product:
        text = self.texts[item.uri]
        if isinstance(text, Exception):
            raise text
        data = text.encode()
        path = self.layout.product(sha256_bytes(data), item.file_name)
        write_bytes(path, data)
        known = fetched(item.obs_id, sha256_bytes(data), item.archive_version)
        return replace(
            item,
            **{n: getattr(known, n) for n in ("sha256", "fetched_at", "source", "fetched_version")},
            path=self.layout.relative(path),
            size_bytes=len(data),
        )


def known(stage: Stage, uri: str = "mast:a") -> Product:
    return Product(**stage.catalog.rows("FROM product WHERE uri = ?", [uri])[0])


def with_observations(stage: Stage, *products: Product) -> None:
    stage.catalog.upsert({"product": list(products)})


def test_a_new_content_is_the_next_version_and_the_old_file_goes(tmp_path: Path) -> None:
    with stage_at(tmp_path) as stage:
        with_observations(stage, product("a"))
        fetch_pending(stage, Shelf(stage, {"mast:a": "first"}))
        first = stage.layout.absolute(known(stage).path)
        assert first.read_text() == "first"
        stage.catalog.upsert({"product": [replace(known(stage), archive_version="v2")]})
        fetch_pending(stage, Shelf(stage, {"mast:a": "second"}))
        assert (known(stage).version, known(stage).fetched_version) == (2, "v2")
        assert stage.layout.absolute(known(stage).path).read_text() == "second"
        assert not first.exists()
        rows = stage.catalog.rows("SELECT version, archive_version FROM product_version ORDER BY version")
        assert [tuple(row.values()) for row in rows] == [(1, "v1"), (2, "v2")]


def test_the_same_bytes_in_another_version_change_nothing_but_the_version_that_was_fetched(tmp_path: Path) -> None:
    with stage_at(tmp_path) as stage:
        with_observations(stage, product("a"))
        fetch_pending(stage, Shelf(stage, {"mast:a": "first"}))
        stage.catalog.upsert({"product": [replace(known(stage), archive_version="v2")]})
        fetch_pending(stage, Shelf(stage, {"mast:a": "first"}))
        assert (known(stage).version, known(stage).fetched_version) == (1, "v2")
        assert stage.catalog.counts()["product_version"] == 1
        assert stage.layout.absolute(known(stage).path).exists()


def test_an_old_content_that_another_product_has_stays(tmp_path: Path) -> None:
    with stage_at(tmp_path) as stage:
        with_observations(stage, product("a"), product("b"))
        fetch_pending(stage, Shelf(stage, {"mast:a": "same", "mast:b": "same"}))
        stage.catalog.upsert({"product": [replace(known(stage), archive_version="v2")]})
        fetch_pending(stage, Shelf(stage, {"mast:a": "other"}))
        assert stage.layout.absolute(known(stage, "mast:b").path).exists()


def test_a_new_content_is_cut_although_the_old_one_gave_nothing(tmp_path: Path) -> None:
    with stage_at(tmp_path) as stage:
        with_observations(stage, product("a"))
        fetch_pending(stage, Shelf(stage, {"mast:a": "first"}))
        stage.catalog.upsert(
            {"rejection": [rejection("product", "mast:a", "tiles", "empty", stage.settings.tiles.digest())]}
        )
        assert pending_tiles(stage.catalog, stage.settings) == []
        stage.catalog.upsert({"product": [replace(known(stage), archive_version="v2")]})
        fetch_pending(stage, Shelf(stage, {"mast:a": "second"}))
        assert pending_tiles(stage.catalog, stage.settings) == ["mast:a"]


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


def test_a_failed_file_is_not_pending_before_its_time(tmp_path: Path) -> None:
    with stage_at(tmp_path) as stage:
        with_observations(stage, product("a"))
        fetch_pending(stage, Shelf(stage, {"mast:a": DownloadError("stalled")}))
        assert pending_fetch(stage.catalog, stage.settings) == []


def test_without_files_nothing_is_to_be_fetched(tmp_path: Path) -> None:
    for overrides in ({"fetch": {"files": False}}, {"archive": {"from_raw": True}}):
        with stage_at(tmp_path, overrides) as stage:
            with_observations(stage, product("a"))
            assert pending_fetch(stage.catalog, stage.settings) == []


STEP = Step(name="fetch-products", stage="fetch", entity="product", digest="d", key="uri", is_retried=True)


@pytest.mark.parametrize("error", [ArchiveDownError("down"), DiskFullError("full")])
def test_what_ends_the_run_keeps_what_was_done_before(error: Exception, tmp_path: Path) -> None:
    started: list[str] = []

    def work(item: Product) -> Batch:
        started.append(item.uri)
        if item.uri == "mast:d":
            raise error
        time.sleep(1.0 * (item.uri > "mast:d"))
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


@pytest.mark.slow
def test_a_file_that_is_cut_at_last_no_longer_waits(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with stage_at(tmp_path, NOT_KEPT | {"flows": {"max_rejected_share": 1}}) as stage:
        archive = archive_at(url, stage)
        observations, products = listed(archive)
        stage.catalog.upsert({"observation": observations, "product": products[:1]})
        with monkeypatch.context() as patch:
            patch.setattr("hubbleclip.pipeline.tiles.run.cut_content", fail)
            cut(stage, archive)
        assert [row["error"] for row in stage.catalog.rows("FROM attempt")] == ["unexpected"]
        stage.catalog.connection.execute("UPDATE attempt SET next_try_at = last_at")
        assert cut(stage, archive)
        assert stage.catalog.rows("FROM attempt") == []


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in {".fits", ".part"} and path.is_file()]


@pytest.mark.slow
def test_files_not_kept_never_exceed_the_connections_and_give_the_same_tiles(url: str, tmp_path: Path) -> None:
    with stage_at(tmp_path / "kept", QUICK) as stage:
        archive = archive_at(url, stage)
        observations, products = listed(archive)
        stage.catalog.upsert({"observation": observations, "product": products})
        expected = cut(stage, archive)
    with stage_at(tmp_path / "dropped", NOT_KEPT) as stage:
        stage.catalog.upsert({"observation": observations, "product": products})
        dropping, counts = archive_at(url, stage), []

        def fetch(item: Product) -> Product:
            file = dropping.fetch_product(item)
            counts.append(len(files_in(stage.layout.products)))
            return file

        found = cut(stage, SimpleNamespace(name="hst", fetch_product=fetch))
        assert {*counts} <= {1, 2}
        assert len(counts) == len(products)
        assert files_in(stage.layout.products) == []
        rows = stage.catalog.rows("SELECT DISTINCT path, version FROM product")
        assert rows == [{"path": None, "version": 1}]
    assert found == expected


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


@pytest.mark.slow
@pytest.mark.parametrize("nights", [[["hst:1", "hst:2"]], [["hst:2"], ["hst:1"]], [["hst:1", "hst:1"]]], ids=str)
@pytest.mark.parametrize("overrides", [QUICK, NOT_KEPT], ids=["kept", "not kept"])
def test_of_equal_files_the_first_is_cut_and_keeps_its_tiles(
    url: str, tmp_path: Path, overrides: dict[str, Any], nights: list[list[str]]
) -> None:
    first = nights[0][0]
    with stage_at(tmp_path, overrides) as stage:
        archive = archive_at(url, stage)
        original = listed(archive)[1][0]

        def fetch(item: Product) -> Product:
            named = {name: getattr(item, name) for name in ("uri", "obs_id", "proposal_id")}
            return replace(archive.fetch_product(original), **named)

        twins = SimpleNamespace(name="hst", fetch_product=fetch)
        for night, proposals in enumerate(nights):
            with_observations(stage, *(product(f"{night}{n}", proposal=of) for n, of in enumerate(proposals)))
            for _ in range(2):
                tiles = cut(stage, twins)
                assert {row["proposal_id"] for row in stage.catalog.rows("FROM tile")} == {first}
                assert (stage.catalog.counts()["tile"], stage.catalog.counts()["attempt"]) == (len(tiles), 0)
        rows = stage.catalog.rows("SELECT reason, detail FROM rejection WHERE entity = 'product'")
        assert [tuple(row.values()) for row in rows] == [("repeated", "equal to mast:00")]
        linked = [(link.one, link.other) for link in read_material(stage).same_files]
        assert linked == ([("hst:1", "hst:2")] if "hst:2" in str(nights) else [])
        kept = known(stage, "mast:00")
        stage.catalog.upsert({"product": [replace(kept, superseded_at=kept.fetched_at)]})
        stage.catalog.run("release_repeated")
        assert cut(stage, twins) == tiles
        assert {row["product_uri"] for row in stage.catalog.rows("FROM tile")}.isdisjoint({"mast:00"})


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


def test_a_file_outside_the_profile_is_never_removed(tmp_path: Path) -> None:
    own = tmp_path / "own.fits"
    own.write_bytes(b"x")
    with stage_at(tmp_path / "data") as stage:
        item = replace(fetched("a"), path=str(own))
        assert dropped(item, stage.layout) == item
        assert own.exists()


def test_a_failed_fetch_leaves_no_partial_file_where_files_are_not_kept(tmp_path: Path) -> None:
    with stage_at(tmp_path, NOT_KEPT) as stage:
        with_observations(stage, product("a"))
        write_bytes(stage.layout.part("mast:a"), b"half")
        cut(stage, Shelf(stage, {"mast:a": DownloadError("stalled")}))
        assert files_in(stage.layout.products) == []
        assert stage.catalog.counts()["attempt"] == 1
