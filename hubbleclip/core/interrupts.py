"""End a command on Ctrl-C with one line and within seconds, whatever its threads are doing."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

GRACE_S = 2.0
"""Time in seconds that a command has to end after Ctrl-C. After this time, the process is ended without cleanup."""
INTERRUPTED = 128 + signal.SIGINT
"""Exit code that shells report for a process that Ctrl-C ended."""
STOPPED = b"hubbleclip: stopped\n"
RESUMABLE = b"hubbleclip: stopped; run the same command again to resume\n"
SHOW_CURSOR = b"\x1b[?25h"
"""Escape sequence that makes a terminal's cursor visible again after a live progress bar has hidden it."""
STDERR = 2


@contextmanager
def ending_on_interrupt(*, can_resume: bool) -> Iterator[None]:
    """Exit with a one-line message if Ctrl-C is pressed in a `with` block. Further Ctrl-C is ignored."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        write_stopped(can_resume=can_resume)
        end_soon()
        raise KeyboardInterrupt

    # `atexit` calls the lambda function last, because the function is registered first. After Ctrl-C, the function ends
    # the process at once, because the normal end would take seconds.
    exit_codes: list[int] = []
    atexit.register(lambda: exit_codes and os._exit(exit_codes[0]))
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # Ctrl-C was pressed, even if another error followed
            signal.setitimer(signal.ITIMER_REAL, 0)
            exit_codes.append(INTERRUPTED)
            sys.exit(INTERRUPTED)
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, before)


def end_soon(exit_code: int = INTERRUPTED) -> None:
    """Ignore further Ctrl-C, discard standard error, and end the process after `GRACE_S` if it is still running."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    silence()
    # While a library holds the interpreter lock, the thread below cannot run; this kernel timer then ends the process.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, GRACE_S + 1.0)
    ending = threading.Timer(GRACE_S, _end_at_once, [exit_code])
    ending.daemon = True
    ending.start()


def silence() -> None:
    """Discard standard error from now on, because libraries print tracebacks if interrupted or out of memory."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), STDERR)


def write_stopped(*, can_resume: bool = False) -> None:
    """Write to standard error that the command was stopped."""
    is_terminal = os.isatty(STDERR)  # a terminal shows ^C on the same line, and a live progress bar may hide the cursor
    os.write(STDERR, (b"\n" + SHOW_CURSOR) * is_terminal + (RESUMABLE if can_resume else STOPPED))


def _end_at_once(exit_code: int) -> None:
    """End the worker processes and this process at once, without cleanup."""
    for worker in sys.modules["multiprocessing"].active_children() if "multiprocessing" in sys.modules else ():
        worker.kill()
    os._exit(exit_code)


def end_with_parent() -> None:
    """Make this worker process ignore Ctrl-C, and exit when its parent process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_await_parent, name="end-with-parent", daemon=True).start()


def _await_parent() -> None:
    sys.modules["multiprocessing"].parent_process().join()
    os._exit(INTERRUPTED)
