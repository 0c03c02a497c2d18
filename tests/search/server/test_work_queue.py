"""The queue before the model is bounded in number and in time, and gives its places back."""

import asyncio
import threading

import pytest

from hubbleclip.search.server.search_service import BusyError, WorkQueue


def test_results_and_errors_come_back() -> None:
    async def check() -> None:
        queue = WorkQueue()
        assert await queue.run(lambda a, b: a + b, 1, 2) == 3
        with pytest.raises(ZeroDivisionError):
            await queue.run(lambda: 1 / 0)
        await asyncio.sleep(0)
        assert queue.num_open == 0

    asyncio.run(check())


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


def test_a_late_call_that_still_runs_keeps_its_place() -> None:
    async def check() -> None:
        queue, release = WorkQueue(num_workers=1, max_waiting=1, max_s=0.1), threading.Event()
        with pytest.raises(BusyError, match="longer"):
            await queue.run(release.wait, 30)
        with pytest.raises(BusyError, match="busy"):
            await queue.run(lambda: 1)
        release.set()
        while queue.num_open:
            await asyncio.sleep(0.01)
        assert await queue.run(lambda: 1) == 1

    asyncio.run(check())


def test_a_late_result_is_given_up_and_a_waiting_call_leaves_the_queue() -> None:
    async def check() -> None:
        queue, release = WorkQueue(num_workers=1, max_waiting=3, max_s=0.1), threading.Event()
        calls = [asyncio.create_task(queue.run(release.wait, 30)) for _ in range(2)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, BusyError) for result in results)
        release.set()
        for _ in range(100):
            await asyncio.sleep(0.02)
            if queue.num_open == 0:
                break
        assert queue.num_open == 0
        assert await queue.run(lambda: 1) == 1

    asyncio.run(check())
