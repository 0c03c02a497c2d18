"""Circuit breaker, which stops a run when a host is down, so that the remaining files are not requested in vain."""

from __future__ import annotations

import threading
import time

from hubbleclip.core.errors import ArchiveDownError


class CircuitBreaker:
    """Circuit breaker that counts consecutive failed requests over all threads, and opens when there are too many.

    An open breaker never closes again. The event `is_open` wakes the threads that wait to send a request.
    """

    def __init__(self, max_failures: int, min_s: float) -> None:
        self.is_open = threading.Event()
        self._max_failures = max_failures
        self._min_s = min_s  # from the first failure to the last: a brief outage can break many connections at once
        self._num_failures = 0
        self._first_failure_at = 0.0  # value of time.monotonic(), in seconds
        self._message = ""
        self._lock = threading.Lock()

    def record_success(self) -> None:
        """Reset the count of failures. Every complete response counts, also 404 or a damaged file: the host works."""
        self._num_failures = 0

    def record_failure(self, host: str, reason: str) -> None:
        """Count a failed request, and open the breaker if the limits are reached."""
        with self._lock:
            now = time.monotonic()
            if not self._num_failures:
                self._first_failure_at = now
            self._num_failures += 1
            is_down = self._num_failures >= self._max_failures and now - self._first_failure_at >= self._min_s
            if is_down and not self.is_open.is_set():
                self._message = (
                    f"{host} is down: {self._num_failures} consecutive requests failed, the last with: {reason}."
                    " Run the same command again later; it resumes where it stopped"
                )
                self.is_open.set()

    def check(self) -> None:
        """Raise ArchiveDownError if the breaker is open."""
        if self.is_open.is_set():
            raise ArchiveDownError(self._message)
