"""Stopping a run when the archive is down, rather than asking it for every remaining file five times."""

from __future__ import annotations

import threading
import time

from hubbleclip.core.errors import ArchiveDownError


class CircuitBreaker:
    """Counts failed requests in a row over all threads; once open it stays so, and `opened` wakes those who wait.

    It opens where `max_failures` of them took `min_s` seconds: one moment may fail many connections.
    """

    def __init__(self, max_failures: int, min_s: float) -> None:
        self.opened = threading.Event()
        self._max_failures = max_failures
        self._min_s = min_s
        self._num_failures = 0
        self._since = 0.0
        self._words = ""
        self._lock = threading.Lock()

    def succeeded(self) -> None:
        """Note an answer. One that says no (404) is an answer."""
        self._num_failures = 0

    def failed(self, host: str, reason: str) -> None:
        """Note a request without a usable answer, and open at the last one allowed."""
        with self._lock:
            now = time.monotonic()
            if not self._num_failures:
                self._since = now
            self._num_failures += 1
            is_row = self._num_failures >= self._max_failures and now - self._since >= self._min_s
            if is_row and not self.opened.is_set():
                self._words = (
                    f"{host} is down: {self._num_failures} requests in a row failed, the last one so: {reason}."
                    " Run the same command again later; it goes on where it stopped"
                )
                self.opened.set()

    def check(self) -> None:
        """Raise ArchiveDownError once open."""
        if self.opened.is_set():
            raise ArchiveDownError(self._words)


class CircuitBreakers:
    """A breaker for each host: one that is down says nothing of the others."""

    def __init__(self, max_failures: int, min_s: float) -> None:
        self._limits = max_failures, min_s
        self._by_host: dict[str, CircuitBreaker] = {}

    def of(self, host: str) -> CircuitBreaker:
        """The host's own breaker."""
        found = self._by_host.get(host)
        return found or self._by_host.setdefault(host, CircuitBreaker(*self._limits))
