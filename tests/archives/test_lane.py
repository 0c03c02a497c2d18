"""The lane of small files: what is ordinary comes through it whole; everything else is left to the ordinary road."""

from __future__ import annotations

import io
import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hubbleclip.archives.http.client import Transport
from hubbleclip.archives.http.content_store import SMALL_BYTES
from hubbleclip.archives.http.lane import Lane, Transfer
from hubbleclip.archives.mast.archive import HstArchive
from hubbleclip.config.settings import FetchSettings
from hubbleclip.core.errors import ArchiveDownError
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.records import Product
from hubbleclip.simulator.server.fault_plan import FaultRule
from tests.archives.conftest import archive_at
from tests.archives.script_server import Answer, Script, drip, drip_head, give, reset

FETCH = FetchSettings(requests_per_s=1000, connections=4, timeout_s=1, stall_s=1)
JPEG_HEAD = {"Content_Type": "image/jpeg"}


def jpeg(side_px: int = 32) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(side_px**2, dtype=np.uint8).reshape(side_px, side_px)).save(buffer, "JPEG")
    return buffer.getvalue()


def ask(script: Script, num: int = 1, fetch: FetchSettings = FETCH) -> dict[int, Transfer | None]:
    return dict(Lane(Transport(fetch), 2).answers((i, f"{script.url}?{i}") for i in range(num)))


def preview(name: str, size_bytes: int | None = None) -> Product:
    return Product(
        uri=f"mast:HST/product/{name}", obs_id=name, proposal_id="hst:1", file_name=name, kind="preview",
        size_bytes=size_bytes, choice="the only one",
    )  # fmt: skip


def delivered(script: Script, tmp_path: Path, product: Product) -> bytes | None:
    archive = archive_at(f"http://{script.host}", tmp_path, FETCH)
    ((_, delivery),) = archive.deliver_small([product])
    return delivery and delivery.data


def test_every_item_comes_once_with_its_own_answer(scripted) -> None:
    script = scripted(*(give(b"%d" % i) for i in range(20)))
    found = ask(script, 20)
    assert sorted(found) == list(range(20))
    assert sorted(int(transfer.body) for transfer in found.values() if transfer) == list(range(20))


def test_connections_are_used_again(scripted) -> None:
    script = scripted(give(b"x"))
    ask(script, 20)
    assert len({seen["port"] for seen in script.seen}) <= 2


def test_the_next_file_is_asked_for_before_something_is_made_of_one(scripted) -> None:
    script, transport = scripted(give(b"x")), Transport(FETCH.model_copy(update={"requests_per_s": 1_000_000}))
    answers = Lane(transport, 1).answers((i, f"{script.url}?{i}") for i in range(2))
    next(answers)
    while len(script.seen) < 2:
        time.sleep(0.01)
    assert [item for item, _ in answers] == [1]


@pytest.mark.parametrize(
    "answer",
    [
        give(b"", 503),
        give(b"", 404),
        give(b"", 302, Location="http://127.0.0.1:9/x"),
        give(b"short", length=100),
        reset(b"beginning"),
        drip_head,
        drip(b"x" * 200, first=10),
        give(b"x" * (SMALL_BYTES + 1)),
        give(b"", length=10_000_000_000),
        give(b"x", X="y" * 2_000_000),
    ],
    ids=["503", "404", "redirect", "short", "reset", "slow-head", "drip", "large", "10GB", "long-head"],
)
def test_what_is_out_of_the_ordinary_is_left_to_the_other_road(scripted, answer: Answer) -> None:
    script = scripted(answer)
    assert ask(script) == {0: None}
    assert len(script.seen) == 1, "a lane asks once"


def test_a_server_that_asks_for_a_pause_gets_it_from_all(scripted) -> None:
    script, transport = scripted(give(b"", 503, Retry_After="100")), Transport(FETCH)
    assert dict(Lane(transport, 1).answers([(0, script.url)])) == {0: None}
    assert transport.limiter.try_turn(script.host) > 60


def test_an_open_breaker_ends_a_lane(scripted) -> None:
    transport = Transport(FETCH.model_copy(update={"breaker_failures": 1, "breaker_s": 0}))
    transport.breaker.failed("mast", "made so")
    with pytest.raises(ArchiveDownError):
        list(Lane(transport, 1).answers([(0, scripted(give(b"x")).url)]))


def test_lanes_give_their_connections_back_however_they_end(scripted) -> None:
    transport, script = Transport(FETCH), scripted(give(b"x"))
    answers = Lane(transport, 4).answers((i, script.url) for i in range(8))
    next(answers)
    answers.close()
    assert all(transport.slots.acquire(blocking=False) for _ in range(FETCH.connections))


def test_a_file_in_memory_is_told_of_as_one_on_the_disk(scripted, tmp_path: Path) -> None:
    data = jpeg()
    script = scripted(give(data, ETag='"abc"', **JPEG_HEAD))
    archive, product = archive_at(f"http://{script.host}", tmp_path, FETCH), preview("a_drz.jpg")
    ((_, delivery),) = archive.deliver_small([product])
    kept = archive.fetch_product(product)
    assert delivery is not None and delivery.data == data
    assert replace(kept, path=None, fetched_at=None) == replace(delivery.product, fetched_at=None)
    assert delivery.product.sha256 == sha256_bytes(data)


@pytest.mark.parametrize(
    ("body", "size_bytes"),
    [(jpeg()[:-2], None), (b"<html>no</html>", None), (jpeg(), 10), (b"", None), (jpeg() + b"more", None)],
    ids=["cut", "html", "other-size", "empty", "longer"],
)
def test_a_body_that_is_not_the_file_is_not_delivered(
    scripted, tmp_path: Path, body: bytes, size_bytes: int | None
) -> None:
    assert delivered(scripted(give(body, **JPEG_HEAD)), tmp_path, preview("a_drz.jpg", size_bytes)) is None


def test_a_good_file_of_a_lane_ends_a_row_of_failures(scripted, tmp_path: Path) -> None:
    fetch, body = FETCH.model_copy(update={"breaker_failures": 2, "breaker_s": 0}), jpeg()
    archive = archive_at(f"http://{scripted(give(body, **JPEG_HEAD)).host}", tmp_path, fetch)
    breaker = archive.transport.breaker
    breaker.failed("host", "damaged")
    assert [delivery is not None for _, delivery in archive.deliver_small([preview("a_drz.jpg", len(body))])] == [True]
    breaker.failed("host", "damaged")
    assert not breaker.opened.is_set()
    breaker.failed("host", "damaged")
    assert breaker.opened.is_set()


@pytest.mark.parametrize(
    "product",
    [preview("a_drz.fits"), preview("a_drz.fits", SMALL_BYTES + 1), replace(preview("a_drz.jpg"), uri="s3://x/a.jpg")],
    ids=["unknown-size", "large", "elsewhere"],
)
def test_what_may_be_large_is_not_asked_for_by_a_lane(scripted, tmp_path: Path, product: Product) -> None:
    script = scripted(give(b"x"))
    assert delivered(script, tmp_path, product) is None
    assert script.seen == []


def test_what_is_begun_is_gone_on_with_by_the_other_road(scripted, tmp_path: Path) -> None:
    script, product = scripted(give(jpeg(), **JPEG_HEAD)), preview("a_drz.jpg")
    part = archive_at(f"http://{script.host}", tmp_path, FETCH).layout.part(product.uri)
    part.parent.mkdir(parents=True)
    part.write_bytes(b"begun")
    assert delivered(script, tmp_path, product) is None


def test_the_one_batch_of_another_process_has_all_connections(scripted, tmp_path: Path) -> None:
    together = threading.Barrier(FETCH.connections)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        together.wait()
        give(jpeg(), **JPEG_HEAD)(handler)

    archive = archive_at(f"http://{scripted(answer).host}", tmp_path, FETCH)
    there = pickle.loads(pickle.dumps(archive))
    products = [preview(f"{index}_drz.jpg") for index in range(2 * FETCH.connections)]
    assert all(delivery for _, delivery in there.deliver_small(products))


def test_turns_are_shared_between_lanes_and_others(scripted) -> None:
    transport = Transport(FETCH.model_copy(update={"requests_per_s": 0.001}))
    assert transport.limiter.try_turn() == 0
    assert transport.limiter.try_turn() > 900


@pytest.mark.parametrize("kind", ["truncated", "corrupted", "html"])
def test_what_a_faulty_server_gives_is_the_file_or_left(faulty: Callable[..., HstArchive], kind: str) -> None:
    archive = faulty(FaultRule(kind=kind, path="/api/v0.1/Download", share=0.4))
    observations = [one for page in archive.query_observations(0) for one in page]
    products = archive.list_products(observations)[0][:12]
    found = {product.uri: delivery for product, delivery in archive.deliver_small(products)}
    assert {uri for uri, delivery in found.items() if delivery} < set(found)
    for product in products:
        delivery = found[product.uri]
        assert delivery is None or delivery.product.sha256 == archive.fetch_product(product).sha256
