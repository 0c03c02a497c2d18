"""Tables show what the catalog holds, to the letter."""

import pytest

from hubbleclip.cli import output


def test_brackets_in_a_text_are_no_markup(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(output, "console", output.Console(width=100))
    title = "Ages and [alpha/Fe] of [O III] emitters, the [/Fe] ratio"
    output.print_rows([{"title": title, "pi": None}])
    assert title in capsys.readouterr().out
