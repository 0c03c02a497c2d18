"""Work on many items, wherever their user has it done: what a library function takes in place of `map`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


class Spread(Protocol[Item, Made]):
    """As the built-in `map`: what `work` makes of each item, in the order of the items.

    Items, what is made of them and `work` itself cross to other processes by pickle; so `work` is a `partial` of a
    function of a module, never a lambda.
    """

    def __call__(self, work: Callable[[Item], Made], items: Sequence[Item], /) -> Iterable[Made]:
        """See the class."""


def ahead(pool: Executor, work: Callable[[Item], Made], items: Iterable[Item], most: int) -> Iterator[Made]:
    """What `work` makes of each item, in order, begun for at most `most` items that nobody has taken yet: the `map` of
    a pool would hold all. Who stops early leaves nothing to do but what is under way.
    """
    waiting: deque[Future[Made]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for one in waiting:
            one.cancel()
