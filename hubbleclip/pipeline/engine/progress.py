"""Report the progress of one kind of work by a line in the log, at most every ten seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

log = logging.getLogger("hubbleclip.pipeline")
LOG_EVERY_S = 10.0


@dataclass(slots=True, kw_only=True)
class Progress:
    """Counts of finished and rejected items.

    `started` and `logged` are the times of the start and of the last log line, in seconds of the monotonic clock.
    `show` is called with a percentage (0-100) and a line of text.
    """

    name: str
    total: int
    done: int = 0
    rejected: int = 0
    started: float = field(default_factory=time.monotonic)
    logged: float = field(default_factory=time.monotonic)
    show: Callable[[float, str], None] = lambda percent, text: None

    def add(self, num_done: int, num_rejected: int) -> None:
        """Add the items of one batch to the counts, and log the progress if the last log line is old enough.

        Parameters
        ----------
        num_done
            Number of finished items, including the rejected items.
        num_rejected
            Number of rejected items.

        """
        self.done += num_done
        self.rejected += num_rejected
        if time.monotonic() - self.logged > LOG_EVERY_S:
            self.logged = time.monotonic()
            self.log()

    def log(self) -> None:
        """Log the counts, the rate and the estimated remaining time."""
        rate = self.done / max(time.monotonic() - self.started, 1e-3)
        left_s = (self.total - self.done) / max(rate, 1e-3)
        text = f"{self.done} of {self.total} done, {self.rejected} rejected, {rate:.1f} per second, {left_s:.0f} s left"
        log.info("%s: %s", self.name, text)
        self.show(100 * self.done / self.total, text)
