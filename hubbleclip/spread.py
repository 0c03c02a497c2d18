"""Work on many items, wherever their user has it done: what a library function takes in place of `map`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
