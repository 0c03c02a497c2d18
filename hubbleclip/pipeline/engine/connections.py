"""Connections of a stage to an archive. All batches of the stage share these connections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from hubbleclip.archives.base import ProcessLocal
from hubbleclip.core.errors import ArchiveDownError, DiskFullError, HubbleclipError, SettingsError

Item = TypeVar("Item")
Batch = dict[str, list[Any]]
"""Rows of each table, by table name; the key `failure` holds Rejections of items that a later run retries."""
STOPPED = "stopped"
"""Key under which a batch from a separate process holds the error that closed the connections."""


def merged(parts: Iterable[Batch]) -> Batch:
    """Merge several batches into one."""
    whole: Batch = {}
    for part in parts:
        for name, rows in part.items():
            whole.setdefault(name, []).extend(rows)
    return whole


class Connections(ProcessLocal):
    """Limits the number of items that are fetched at the same time to `num`, over all batches together.

    When the archive is down or the disk is full, the connections are closed. Items that are already fetched are kept.
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
        """Whether further items may be fetched."""
        return self._is_open and self.error is None

    def map(self, work: Callable[[Item], Batch], items: Sequence[Item]) -> Batch:
        """Call `work` for each item; at most `num` calls run at a time, over all batches together."""
        return merged([*self._pool.map(partial(self._try, work), items), self._reported()])

    def _reported(self) -> Batch:
        """Return the error as a batch, because the main process cannot see the attributes of a worker process."""
        return {STOPPED: [self.error]} if self.is_worker_copy and self.error else {}

    def _try(self, work: Callable[[Item], Batch], item: Item) -> Batch:
        if not self.is_open:
            return {}
        try:
            return work(item)
        except (ArchiveDownError, DiskFullError, SettingsError) as error:
            self.error = error
            return {}
