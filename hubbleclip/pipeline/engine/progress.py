"""Report progress: by a line in the log, at most every ten seconds, and by a bar on a terminal."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass, field

log = logging.getLogger("hubbleclip.pipeline")
live = logging.getLogger("hubbleclip.live")
"""Logger of every change of progress. Only the bars on a terminal and on Prefect pages use its messages."""
live.propagate = False
LOG_EVERY_S = 10.0
WINDOW_S = 60.0
"""Length (s) of the time window of the rate. A pause before the window, such as a compilation, has no effect."""
MIN_POINTS = 3


@dataclass(slots=True)
class Pace:
    """Rate of finished items over the last minute, and the estimated remaining time.

    `points` are pairs of a time, in seconds of the monotonic clock, and the number of items finished up to this time.
    """

    points: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, done: int, now_s: float | None = None) -> None:
        """Record the number of finished items."""
        now_s = time.monotonic() if now_s is None else now_s
        self.points.append((now_s, done))
        while len(self.points) > MIN_POINTS and self.points[0][0] < now_s - WINDOW_S:
            self.points.popleft()

    @property
    def rate(self) -> float:
        """Items per second; 0 if unknown."""
        if len(self.points) < 2:
            return 0.0
        (first_s, first), (last_s, last) = self.points[0], self.points[-1]
        return (last - first) / max(last_s - first_s, 1e-3)

    def left(self, total: int) -> str:
        """Format the estimated time until `total` items are finished, such as `40 s left`; empty if unknown."""
        if not self.points or (self.rate <= 0 and self.points[-1][1] < total):
            return ""
        return f"{duration((total - self.points[-1][1]) / max(self.rate, 1e-9))} left"


def duration(seconds: float) -> str:
    """Format a duration."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def report_live(name: str, done: int, total: int, text: str) -> None:
    """Update the progress bars on a terminal and on Prefect pages."""
    live.info("%s", text, extra={"work": name, "done": done, "total": total})


@dataclass(slots=True, kw_only=True)
class Progress:
    """Numbers of finished items, of rejected items, and of failed items that wait for a later run.

    `logged` is the time of the last log line, in seconds of the monotonic clock.
    """

    name: str
    total: int
    done: int = 0
    rejected: int = 0
    waiting: int = 0
    logged: float = field(default_factory=time.monotonic)
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        """Begin to measure the rate, and show an empty bar."""
        self.pace.add(0)
        report_live(self.name, 0, self.total, "begun")

    def add(self, num_done: int, num_rejected: int, num_waiting: int = 0) -> None:
        """Add the items of one batch to the counts, and log the progress if the last log line is old enough."""
        self.done += num_done
        self.rejected += num_rejected
        self.waiting += num_waiting
        self.pace.add(self.done)
        report_live(self.name, self.done, self.total, self.text)
        if time.monotonic() - self.logged > LOG_EVERY_S:
            self.logged = time.monotonic()
            self.log()

    @property
    def text(self) -> str:
        """The counts, the rate and the estimated remaining time."""
        waiting = f", {self.waiting} wait for a later run" if self.waiting else ""
        counts = f"{self.done} of {self.total} done, {self.rejected} rejected{waiting}"
        rate = f"{counts}, {self.pace.rate:.1f} per second"
        return ", ".join(filter(None, (rate, self.pace.left(self.total))))

    def log(self) -> None:
        """Log the counts, the rate and the estimated remaining time."""
        # A terminal with a progress bar shows only the last line, because it hides lines whose `is_step` is true.
        log.info("%s: %s", self.name, self.text, extra={"is_step": self.done < self.total})
