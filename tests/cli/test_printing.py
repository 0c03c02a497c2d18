"""Tables show what the catalog holds, to the letter."""

import pytest

from hubbleclip.cli import output as printing


def test_brackets_in_a_text_are_no_markup(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(printing, "out", printing.Console(width=100))
    title = "Ages and [alpha/Fe] of [O III] emitters, the [/Fe] ratio"
    printing.print_rows([{"title": title, "pi": None}])
    assert title in capsys.readouterr().out
