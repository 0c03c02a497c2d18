"""End a command on Ctrl-C with one line and within seconds, whatever its threads are doing."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

GRACE_S = 2.0
"""Time in seconds that a command has to end after Ctrl-C. Then the process ends at once, and the next run resumes."""
INTERRUPTED = 128 + signal.SIGINT
"""Exit code that shells report for a process that Ctrl-C ended."""
MESSAGE = b"hubbleclip: stopped; run the same command again to resume\n"
SHOW_CURSOR = b"\x1b[?25h"
"""Code that shows the cursor of a terminal, which a live bar hides."""
STDERR = 2


@contextmanager
def ending_on_interrupt() -> Iterator[None]:
    """Exit with one line on the first Ctrl-C in a `with` block, and ignore later ones, which would disturb the cleanup.

    Yields
    ------
    None
        SIGINT raises KeyboardInterrupt in the block.

    """
    before = signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        if signal.getsignal(signal.SIGINT) is _interrupt:
            signal.signal(signal.SIGINT, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Print the line, raise KeyboardInterrupt, and end the process later if it has not ended by itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    is_terminal = os.isatty(STDERR)  # which shows ^C on the same line, and whose cursor a live bar may hide
    os.write(STDERR, (b"\n" + SHOW_CURSOR) * is_terminal + MESSAGE)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), STDERR)  # libraries that are interrupted print tracebacks
    threading.Thread(target=_end_after_grace, name="end-after-interrupt", daemon=True).start()
    raise KeyboardInterrupt


def _end_after_grace() -> None:
    """End this process and its worker processes. Child servers end when the pipe from this process closes."""
    time.sleep(GRACE_S)
    for worker in sys.modules["multiprocessing"].active_children() if "multiprocessing" in sys.modules else ():
        worker.kill()
    os._exit(INTERRUPTED)
