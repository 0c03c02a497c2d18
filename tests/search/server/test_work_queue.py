"""The queue before the model is bounded in number and in time, and gives its places back."""

import asyncio
import threading
from types import SimpleNamespace

import pytest

from hubbleclip.search import sky
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
        assert await service.run(service.search.sesame.find, "nothing") is None
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
    search.load_model = lambda: seen.append((service.health(), service.queue.max_s > MAX_S))
    service = SearchService(search=search, explain=dict)
    service.load_model()
    assert seen == [("loading the model", True)]
    assert service.queue.max_s == MAX_S
    assert service.health() == "ok"  # a new index has a model that the next query loads
