"""The connections of a stage to an archive, shared by all its batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from hubbleclip.core.errors import ArchiveDownError, DiskFullError, HubbleclipError, SettingsError
from hubbleclip.core.process_local import ProcessLocal

Item = TypeVar("Item")
Batch = dict[str, list[Any]]
"""Rows by table; `failure` holds rejections that a later run retries."""
STOPPED = "stopped"
"""Key of a batch from another process: the error that closed its connections."""


def merged(parts: Iterable[Batch]) -> Batch:
    """Several batches as one.

    Parameters
    ----------
    parts
        Batches; a table may occur in several.

    Returns
    -------
    dict
        The rows of all parts by table, in order.

    """
    whole: Batch = {}
    for part in parts:
        for name, rows in part.items():
            whole.setdefault(name, []).extend(rows)
    return whole


class Connections(ProcessLocal):
    """At most `num` items are fetched at a time, whatever the number of batches.

    An archive that is down or a full disk closes the connections; what was done before is kept.
    """

    def __init__(self, num: int) -> None:
        self.num = num
        self.error: HubbleclipError | None = None
        self._pool = ThreadPoolExecutor(num)
        self._is_open = True

    def __enter__(self) -> Connections:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_open = False
        self._pool.shutdown(wait=False)

    @property
    def is_open(self) -> bool:
        """Whether more work may start."""
        return self._is_open and self.error is None

    def map(self, work: Callable[[Item], Batch], items: Sequence[Item]) -> Batch:
        """Call `work` for each item, at most `num` at a time over all batches.

        Parameters
        ----------
        work
            Returns the rows of one item.
        items
            Items of one batch.

        Returns
        -------
        dict
            The rows of all items as one batch; items after the connections closed have none.

        """
        return merged([*self._pool.map(partial(self._try, work), items), self._reported()])

    def _reported(self) -> Batch:
        """The error, for a flow in another process that cannot see it."""
        return {STOPPED: [self.error]} if self.is_worker_copy and self.error else {}

    def _try(self, work: Callable[[Item], Batch], item: Item) -> Batch:
        if not self.is_open:
            return {}
        try:
            return work(item)
        except (ArchiveDownError, DiskFullError, SettingsError) as error:
            self.error = error
            return {}
