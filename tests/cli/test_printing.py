"""Tables show what the catalog holds, to the letter."""

import io
import logging
import os
import pty
import sys

import pytest

from hubbleclip.archives.base import reject
from hubbleclip.archives.http.response_errors import DamagedError
from hubbleclip.cli import output, searching
from hubbleclip.cli.live import PrintableFormatter
from hubbleclip.core.errors import ArchiveError, ImageError
from hubbleclip.search.records import GroupBy


def test_brackets_in_a_text_are_no_markup(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(output, "console", output.Console(width=100))
    title = "Ages and [alpha/Fe] of [O III] emitters, the [/Fe] ratio"
    output.print_rows([{"title": title, "pi": None}])
    assert title in capsys.readouterr().out


def test_a_hit_takes_two_lines_of_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (output, searching):
        monkeypatch.setattr(module, "console", output.Console(width=60, force_terminal=True, color_system=None))
    row = {"tile_id": "7" * 32, "score": 0.5, "instrument": "WFC3/UVIS", "filter": None, "target_name": "A\x1b[2J" * 20}
    searching.print_hits([row | {"title": "A long title " * 9, "num_folded": 3}], searching.Format.TABLE, GroupBy.NONE)
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith(f"0.500  {'7' * 8}  WFC3/UVIS  A\ufffd")
    assert second.startswith("       A long title")
    assert max(map(len, (first, second))) <= 60


def test_a_text_from_outside_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_rows([{"title": "a\x1b[2Jb\x9bc"}])
    output.print_facts({"title": "a\x1b]0;owned\x07"})
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x9b" not in out
    assert "\x07" not in out


def test_a_message_that_quotes_a_text_from_outside_cannot_command_the_terminal() -> None:
    escapes = "\x1b[2J\x9b\x07\u202e"
    for error in (ArchiveError(escapes), DamagedError(escapes), ImageError("unreadable", escapes)):
        assert not set("\x1b\x9b\x07\u202e") & set(f"{error}{getattr(error, 'detail', '')}")
    rejection = reject("product", "x", "fetch", reason="html", detail=escapes, settings_digest="")
    assert not set(rejection.detail) & set("\x1b\x9b\x07\u202e")
    line = PrintableFormatter().format(logging.makeLogRecord({"msg": "a %s", "args": (escapes,)}))
    assert line == "a \ufffd[2J\ufffd\ufffd\ufffd"


def test_a_csv_from_outside_cannot_command_the_terminal_either(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = pty.openpty()
    content = b'"a\x1b[2Jb\xc2\x9bc"\n'
    with os.fdopen(there, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        output.print_bytes(content)
        terminal.flush()
        shown = os.read(here, 1000).decode()
    os.close(here)
    assert "a\ufffd[2Jb\ufffdc" in shown
    with io.TextIOWrapper(io.BytesIO()) as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        output.print_bytes(content)
        pipe.flush()
        assert pipe.buffer.getvalue() == content


def test_lines_of_a_narrow_terminal_end_between_words_and_paths_stay_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "console", output.Console(width=40))
    output.print_wrapped("rejected 50 in tiles: a calibration exposure (such as a dark)")
    output.print_wrapped(f"report   /{'long/' * 10}index.html")
    assert capsys.readouterr().out.splitlines() == [
        "rejected 50 in tiles: a calibration",
        "         exposure (such as a dark)",
        "report",
        f"         /{'long/' * 10}index.html",
    ]
