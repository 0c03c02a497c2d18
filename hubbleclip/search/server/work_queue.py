"""A bounded queue in front of the model: a request gets an answer in time, or an error at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from hubbleclip.core.errors import HubbleclipError

Result = TypeVar("Result")
NUM_WORKERS, MAX_WAITING, MAX_S, RETRY_AFTER_S = 2, 64, 20.0, 2


class BusyError(HubbleclipError):
    """The server has more work than it can do in time."""


class WorkQueue:
    """Runs functions in a few threads; at most `max_waiting` calls wait.

    Parameters
    ----------
    num_workers
        Number of threads.
    max_waiting
        Largest number of calls that wait or run.
    max_s
        Longest time of a call in seconds, from its arrival.

    Attributes
    ----------
    num_open : int
        Number of calls that wait or run now.

    """

    def __init__(self, num_workers: int = NUM_WORKERS, max_waiting: int = MAX_WAITING, max_s: float = MAX_S) -> None:
        self.num_open = 0
        self._max_waiting, self._max_s, self._lock = max_waiting, max_s, threading.Lock()
        self._threads = ThreadPoolExecutor(num_workers, thread_name_prefix="search")

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run a function in a thread and wait for its result."""
        with self._lock:
            if self.num_open >= self._max_waiting:
                raise BusyError("the server is busy: try again in some seconds")
            self.num_open += 1
        work = self._threads.submit(function, *arguments)
        work.add_done_callback(self._end)
        result = asyncio.wrap_future(work)
        done, _ = await asyncio.wait({result}, timeout=self._max_s)
        if not done:
            result.cancel()
            raise BusyError(f"the search took longer than {self._max_s:g} s: try again")
        return result.result()

    def _end(self, _: Future[Any]) -> None:
        """Count a call as ended: in its thread, or where it was cancelled before it began."""
        with self._lock:
            self.num_open -= 1

    def close(self) -> None:
        """Drop the calls that wait, and return without waiting for those that run."""
        self._threads.shutdown(wait=False, cancel_futures=True)
