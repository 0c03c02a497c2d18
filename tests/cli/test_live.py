"""A live bar on a terminal, plain lines in a log, and the result at the end."""

import io
import logging
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

from hubbleclip.cli import listing, output
from hubbleclip.cli.live import LIVE, PrintableFormatter, TerminalHandler
from hubbleclip.cli.options import Options
from hubbleclip.pipeline.engine.progress import Progress

ANSI = re.compile(r"\x1b\[[\d?;]*[A-Za-z]")


@pytest.fixture
def screen() -> io.StringIO:
    """A terminal that shows the records of the pipeline."""
    screen = io.StringIO()
    handler = TerminalHandler(Console(file=screen, force_terminal=True, width=100, _environ={"TERM": "xterm"}))
    handler.setFormatter(PrintableFormatter())
    loggers = [logging.getLogger(name) for name in (LIVE, "hubbleclip.pipeline")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    yield screen
    handler.close()
    for logger in loggers:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def test_an_error_that_prefect_logs_has_a_traceback_for_its_server_alone() -> None:
    try:
        raise ValueError("the cause")
    except ValueError:
        error = sys.exc_info()
    record = logging.LogRecord("prefect.flow_runs", logging.ERROR, "file.py", 1, "an error", (), error)
    assert PrintableFormatter("%(message)s").format(record) == "an error"
    assert "the cause" in logging.Formatter().format(record)


def test_a_terminal_shows_a_bar_and_only_the_last_line_of_the_counts(screen: io.StringIO) -> None:
    progress = Progress(name="tiles: cut", total=4, logged=-100.0)
    progress.add(2, 0)
    logging.getLogger("hubbleclip.pipeline").info("a line [of text] \x1b[2J")
    progress.add(2, 0)
    progress.log()
    shown = ANSI.sub("", screen.getvalue())
    assert re.search(r"tiles: cut .*━+.* 0 %", shown)
    assert "a line [of text] \ufffd" in shown
    assert shown.count("tiles: cut: 4 of 4 done") == 1
    assert "2 of 4 done, 0 rejected" not in "".join(line for line in shown.splitlines() if "━" not in line)
    assert screen.getvalue().rstrip().count("\x1b[?25h") >= 1  # the cursor is shown again


RESULT = {
    "run": "20260101T000000-1",
    "problem": "",
    "headline": "81.6 % (65.1-92.5)",
    "chance": "9.9 %",
    "page": "/data/demo/reports/r 1/index.html",
}


def test_the_end_is_told_in_columns_on_a_terminal_and_in_lines_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "hubbleclip.pipeline.history.newest_result", lambda _, run, **own: RESULT | {"run": f"{run} {own}"}
    )
    listing.print_summary(Options(data=tmp_path), "2026", is_own=True)
    shown = capsys.readouterr().out.splitlines()
    assert shown[::2][:2] == ["run      2026 {'is_own': True}", "report   /data/demo/reports/r 1/index.html"]
    screen = io.StringIO()
    monkeypatch.setattr(output, "console", Console(file=screen, force_terminal=True, width=80))
    listing.print_summary(Options(data=tmp_path))
    texts = [line[:9] for line in ANSI.sub("", screen.getvalue()).splitlines()]
    assert texts[1:4] == ["result   ", "         ", "report   "]  # a long line continues in its column
