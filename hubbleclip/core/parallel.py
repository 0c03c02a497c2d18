"""Apply a function to many items in parallel.

`MapFn` is the type of a parallel `map`. `ahead` is a parallel `map` that keeps a limited number of results in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class MapFn(Protocol[Item, Result]):
    """A function like the built-in `map` that may run the calls in other processes.

    The results are in the order of the items. `work`, the items and the results may be pickled, so `work` must be a
    module-level function or a `partial` of one, and never a lambda.
    """

    def __call__(self, work: Callable[[Item], Result], items: Sequence[Item], /) -> Iterable[Result]:
        """Call `work` with every item and return the results in the order of the items."""


def ahead(pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], most: int) -> Iterator[Result]:
    """Yield `work(item)` for each item, in order; at most `most` results are computed in advance.

    The number of items may be infinite. If the caller stops iterating early, calls that have not started are cancelled.
    """
    # `Executor.map` would submit all items at once
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
