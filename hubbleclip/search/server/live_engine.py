"""The engine of a running server: a new index is opened in the background and replaces the old one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable

from hubbleclip.core.errors import HubbleclipError
from hubbleclip.search.server.protocol import SearchEngine

log = logging.getLogger(__name__)
CHECK_EVERY_S = 2.0


class LiveEngine:
    """Opens an engine, and opens it again when its index changes.

    Parameters
    ----------
    open_engine
        Function that opens the newest index.
    version
        Function that returns a value which changes when a new index exists; it is called every few seconds.
    check_every_s
        Shortest time between two checks, in seconds.

    Notes
    -----
    If a new index cannot be opened, the old one continues to answer and one line is logged.

    """

    def __init__(
        self, open_engine: Callable[[], SearchEngine], version: Callable[[], Hashable],
        check_every_s: float = CHECK_EVERY_S,
    ) -> None:  # fmt: skip
        self._open, self._version, self._check_every_s = open_engine, version, check_every_s
        self._opened_version = version()  # read first: an index that changes meanwhile is opened again
        self._engine = open_engine()
        self._checked = time.monotonic()
        self._lock = threading.Lock()

    def current(self) -> SearchEngine:
        """Return the engine of the newest index that could be opened.

        Returns
        -------
        SearchEngine
            An engine, which stays usable while a newer one is opened.

        """
        with self._lock:
            is_due = time.monotonic() - self._checked >= self._check_every_s
            if is_due:
                self._checked = time.monotonic()
        if is_due:
            self._renew()
        return self._engine

    def _renew(self) -> None:
        """Open a new index, if there is one, in a thread, because this takes seconds."""
        version = self._version()
        if version != self._opened_version:
            self._opened_version = version
            threading.Thread(target=self._open_newest, name="open-index", daemon=True).start()

    def _open_newest(self) -> None:
        """Replace the engine, or keep it if the new index is unusable."""
        try:
            self._engine = self._open()
        except (HubbleclipError, OSError, ValueError) as error:
            log.warning("search: the new index cannot be opened and the old one answers: %s", error)
        else:
            log.info("search: a new index answers, %d tiles", self._engine.status().num_tiles)
