"""How far one kind of work is: a line in the log at most every ten seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

log = logging.getLogger("hubbleclip.pipeline")
LOG_EVERY_S = 10.0


@dataclass(slots=True, kw_only=True)
class Progress:
    """Counts of items; `started` and `logged` are of the monotonic clock, in seconds."""

    name: str
    total: int
    done: int = 0
    rejected: int = 0
    started: float = field(default_factory=time.monotonic)
    logged: float = field(default_factory=time.monotonic)
    show: Callable[[float, str], None] = lambda percent, text: None

    def add(self, num_done: int, num_rejected: int) -> None:
        """Add the items of one batch.

        Parameters
        ----------
        num_done
            Items that are finished, rejected ones included.
        num_rejected
            Items that were rejected.

        """
        self.done += num_done
        self.rejected += num_rejected
        if time.monotonic() - self.logged > LOG_EVERY_S:
            self.logged = time.monotonic()
            self.log()

    def log(self) -> None:
        """Log the counts, the rate and the time left."""
        rate = self.done / max(time.monotonic() - self.started, 1e-3)
        left_s = (self.total - self.done) / max(rate, 1e-3)
        text = f"{self.done} of {self.total} done, {self.rejected} rejected, {rate:.1f} per second, {left_s:.0f} s left"
        log.info("%s: %s", self.name, text)
        self.show(100 * self.done / self.total, text)
