"""Show log lines. On a terminal, also show one progress bar per kind of work, below the log lines."""

from __future__ import annotations

import logging
import threading
from copy import copy
from typing import TYPE_CHECKING

from rich.console import Console

from hubbleclip.core.errors import machine_error, without_control

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LIVE = "hubbleclip.live"
TIME = "%H:%M:%S"


class PrintableFormatter(logging.Formatter):
    """Formatter that removes control characters, because messages may quote untrusted texts.

    Records of Prefect are shown without their traceback: the command reports the error in one line, and Prefect's
    server stores the traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        if (record.name or "").startswith("prefect."):
            record = copy(record)  # other handlers need the traceback
            record.exc_info = record.exc_text = None
        return without_control(super().format(record))


class TerminalHandler(logging.Handler):
    """Prints log lines above progress bars. Log records that have `work`, `done` and `total` move the bars.

    Parameters
    ----------
    console
        The terminal.

    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        work = getattr(record, "work", None)
        if work is not None:
            self._move(work, record)
        elif not getattr(record, "is_step", False):
            self.console.print(self.format(record), markup=False, highlight=False, soft_wrap=True)

    def _move(self, work: str, record: logging.LogRecord) -> None:
        """Move the bar of one kind of work, and remove it when the work ends."""
        done, total = record.__dict__["done"], record.__dict__["total"]
        bars = self._opened()
        if work not in self._tasks:
            self._tasks[work] = bars.add_task(work, total=total, text="")
        if done < total:
            bars.update(self._tasks[work], completed=done, total=total, text=without_control(record.getMessage()))
            return
        bars.remove_task(self._tasks.pop(work))
        if not self._tasks:
            self.close()

    def _opened(self) -> Progress:
        """Return the bars; the first call shows them."""
        if self._bars is None:
            from rich.progress import BarColumn, Progress, TextColumn

            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.percentage:>3.0f} %", markup=False),
                TextColumn("{task.fields[text]}", markup=False),
                console=self.console,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bars.start()
        return self._bars

    def close(self) -> None:
        """Remove the bars from the terminal."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._tasks.clear()
        super().close()


def log_thread_error(failed: threading.ExceptHookArgs) -> None:
    """Log one line if a thread failed with a machine error, such as a full disk; print other errors in full."""
    if failure := machine_error(failed.exc_value):
        logging.getLogger("hubbleclip.cli").warning("%s", failure)
    else:
        threading.__excepthook__(failed)


def start_logging() -> logging.Handler:
    """Log to standard error. Libraries log errors only, because this project's own messages report the progress."""
    console = Console(stderr=True)
    is_live = console.is_terminal and not console.is_dumb_terminal
    handler = TerminalHandler(console) if is_live else logging.StreamHandler()
    threading.excepthook = log_thread_error
    handler.setFormatter(PrintableFormatter("%(asctime)s %(message)s", datefmt=TIME))
    logging.basicConfig(level=logging.ERROR, handlers=[handler])
    logging.getLogger("hubbleclip").setLevel(logging.INFO)
    logging.getLogger("stamina").setLevel(logging.ERROR)
    if is_live:
        logging.getLogger(LIVE).addHandler(handler)
    return handler
