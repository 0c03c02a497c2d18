"""Parallel `map`: the type that library functions accept in place of the built-in, and a bounded one for pools."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class MapFn(Protocol[Item, Result]):
    """A function like the built-in `map`, possibly over other processes: results in the order of the items.

    Items, results and `work` may be pickled to other processes, so `work` is a `partial` of a module-level function,
    never a lambda.
    """

    def __call__(self, work: Callable[[Item], Result], items: Sequence[Item], /) -> Iterable[Result]:
        """See the class."""


def ahead(pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], most: int) -> Iterator[Result]:
    """Map over a pool with a bounded number of results that are started but not yet consumed.

    Parameters
    ----------
    pool
        Runs the work.
    work
        Called once per item.
    items
        Read lazily, so the iterable may be infinite.
    most
        Items submitted beyond the one that the caller waits for; bounds the memory.

    Yields
    ------
    Result
        In the order of the items.

    Notes
    -----
    `Executor.map` would submit all items at once. A caller that stops early cancels what has not started.

    """
    futures: deque[Future[Result]] = deque()
    try:
        for item in items:
            futures.append(pool.submit(work, item))
            if len(futures) > most:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()
    finally:
        for future in futures:
            future.cancel()
