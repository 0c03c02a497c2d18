"""Circuit breaker: stop the run when a host is down, instead of retrying every remaining file against it."""

from __future__ import annotations

import threading
import time

from hubbleclip.core.errors import ArchiveDownError


class CircuitBreaker:
    """Counts consecutive failed requests over all threads and opens when there are too many.

    Once open it stays open; the event `is_open` wakes threads that wait for their turn.

    Parameters
    ----------
    max_failures
        Consecutive failures that open it.
    min_s
        It opens only if the failures span at least this time (s): a single moment may break many connections at once.

    """

    def __init__(self, max_failures: int, min_s: float) -> None:
        self.is_open = threading.Event()
        self._max_failures = max_failures
        self._min_s = min_s
        self._num_failures = 0
        self._first_failure_at = 0.0  # time.monotonic()
        self._message = ""
        self._lock = threading.Lock()

    def record_success(self) -> None:
        """Reset the count. A response that refuses (404) is a success too: the server works."""
        self._num_failures = 0

    def record_failure(self, host: str, reason: str) -> None:
        """Count a request without a usable response, and open if it was the last one allowed.

        Parameters
        ----------
        host
            The host, for the message.
        reason
            What failed, for the message.

        """
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
        """Do nothing while closed.

        Raises
        ------
        ArchiveDownError
            If the breaker is open.

        """
        if self.is_open.is_set():
            raise ArchiveDownError(self._message)


class CircuitBreakers:
    """One breaker per host, because one host that is down does not affect the others.

    Parameters
    ----------
    max_failures, min_s
        Limits of each breaker, see `CircuitBreaker`.

    """

    def __init__(self, max_failures: int, min_s: float) -> None:
        self._limits = max_failures, min_s
        self._by_host: dict[str, CircuitBreaker] = {}

    def of(self, host: str) -> CircuitBreaker:
        """Return the breaker of a host.

        Parameters
        ----------
        host
            Host name, with the port if the URL has one.

        Returns
        -------
        CircuitBreaker
            The same object for every call with this host.

        """
        breaker = self._by_host.get(host)
        # setdefault is atomic: two threads that create it at once share one
        return breaker or self._by_host.setdefault(host, CircuitBreaker(*self._limits))
