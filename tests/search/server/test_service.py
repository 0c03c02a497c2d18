"""The queue before the model, and what answers while an index is new, damaged or restored."""

import asyncio
import os
import threading
from types import SimpleNamespace

import pytest
from search_site import add_tiles
from web_search import client_of, service_of

from hubbleclip.config.settings import Settings
from hubbleclip.core.io import write_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.pipeline import index as stage
from hubbleclip.search import sky
from hubbleclip.search.engine import Search
from hubbleclip.search.params import SearchParams
from hubbleclip.search.server.search_service import MAX_NAMES, MAX_S, BusyError, SearchService, WorkQueue
from hubbleclip.search.sky import Sesame


def test_a_full_queue_refuses_at_once_and_recovers() -> None:
    async def check() -> None:
        queue, release = WorkQueue(num_workers=1, max_waiting=3), threading.Event()
        waiting = [asyncio.create_task(queue.run(release.wait, 30)) for _ in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises(BusyError):
            await queue.run(lambda: 1)
        release.set()
        assert await asyncio.gather(*waiting) == [True] * 3
        assert await queue.run(lambda: 1) == 1

    asyncio.run(check())


def test_a_late_result_is_given_up_and_a_waiting_call_leaves_the_queue() -> None:
    async def check() -> None:
        queue, release = WorkQueue(num_workers=1, max_waiting=3, max_s=1.0), threading.Event()
        calls = [asyncio.create_task(queue.run(release.wait, 30)) for _ in range(2)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, BusyError) for result in results)
        assert queue.num_open == 1  # the call that still runs keeps its place
        release.set()
        for _ in range(100):
            await asyncio.sleep(0.02)
            if queue.num_open == 0:
                break
        assert queue.num_open == 0
        assert await queue.run(lambda: 1) == 1

    asyncio.run(check())


def test_a_name_is_looked_up_outside_the_queue_of_the_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    release, asked = threading.Event(), []

    def ask(name: str) -> tuple[float, float] | None:
        asked.append(name)
        release.wait(30)
        return (1.0, 2.0) if name == "M 51" else None

    monkeypatch.setattr(sky, "ask_sesame", ask)
    service = SearchService(search=SimpleNamespace(sesame=Sesame(is_asked_ahead=True)), explain=dict)

    async def check() -> None:
        slow = [asyncio.create_task(service.run(service.search.sesame.find, name)) for name in ("M 51", "nothing")]
        await asyncio.sleep(0.05)
        assert [await service.run(lambda: 1) for _ in range(8)] == [1] * 8
        release.set()
        assert await asyncio.gather(*slow) == [(1.0, 2.0), None]
        again = [await service.run(service.search.sesame.find, name) for name in ("nothing", "M 51")]
        assert again == [None, (1.0, 2.0)]
        assert sorted(asked) == ["M 51", "nothing"]

    asyncio.run(check())


def test_a_call_asks_for_few_names_and_ends_though_an_answer_expires_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(sky, "ask_sesame", asked.append)
    monkeypatch.setattr(sky, "UNKNOWN_S", 0.0)
    service = SearchService(search=SimpleNamespace(sesame=Sesame(is_asked_ahead=True)), explain=dict)

    async def check() -> None:
        call = service.run(lambda: [service.search.sesame.find(f"M {n}") for n in range(16)])
        assert await asyncio.wait_for(call, 5) == [None] * 16

    asyncio.run(check())
    assert len(asked) == MAX_NAMES


def test_calls_may_wait_while_the_model_is_loaded() -> None:
    seen = []
    search = SimpleNamespace(has_model=False, is_damaged=False)
    search.load_model = lambda: seen.append(
        (client_of(service).get("/healthz").status_code, service.health(), service.queue.max_s > MAX_S)
    )
    service = SearchService(search=search, explain=dict)
    service.load_model()
    assert seen == [(200, "loading the model", True)]
    assert service.queue.max_s == MAX_S
    assert service.health() == "ok"  # a new index has a model that the next query loads


def test_a_damaged_index_is_not_read_again_for_every_request(
    own_index: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    layout = Layout(own_index.root)
    search = Search(layout)
    for path in layout.index.glob("*/index.json"):
        write_bytes(path, b"damage")
    assert {search.num_tiles for _ in range(20)} == {48}
    assert caplog.text.count("cannot be opened") == 1


def test_health_tells_a_damaged_index_and_a_missing_model_until_they_are_restored(own_index: Settings) -> None:
    layout = Layout(own_index.root)
    service = service_of(Search(layout))
    with client_of(service) as client:

        def health() -> tuple[int, str]:
            answer = client.get("/healthz")
            return answer.status_code, answer.json()["status"]

        (run,) = layout.runs.glob("*-*")
        run.rename(layout.root / "moved")
        service.load_model()
        assert (health(), service.queue.max_s) == ((503, "the model cannot be loaded"), MAX_S)
        (layout.root / "moved").rename(run)
        assert client.get("/api/v1/search?q=galaxy").status_code == 200
        for path in (*layout.index.glob("*/*.f16"), *layout.index.glob("*/*.i8")):
            content = path.read_bytes()
            os.truncate(path, len(content) - 1)
            assert health() == (503, "a file of the index is damaged")
            assert client.get("/api/v1/search?q=galaxy").status_code == (503 if path.suffix == ".f16" else 200)
            path.with_suffix(".whole").write_bytes(content)
            path.with_suffix(".whole").rename(path)
            service.search._retry_at = 0
            assert health() == (200, "ok")


def test_a_status_is_that_of_the_index_that_answers(own_index: Settings) -> None:
    search = Search(Layout(own_index.root))
    with client_of(service_of(search)) as client:
        add_tiles(own_index, range(2), range(6, 7))
        stage.index(own_index)
        assert search.status.num_tiles == 48  # no new index is opened for it
        assert "hubbleclip_index_tiles 48.0" in client.get("/metrics").text
        assert search.run(SearchParams(k=1)).index.num_tiles == 50
        assert search.status.num_tiles == 50
        assert "hubbleclip_index_tiles 50.0" in client.get("/metrics").text
