"""Tables show what the catalog holds, to the letter."""

import io
import logging
import os
import pty
import sys
from pathlib import Path

import pytest

from hubbleclip.archives.http.responses import DamagedError
from hubbleclip.cli import models, output, searching
from hubbleclip.cli.app import main
from hubbleclip.cli.live import PrintableFormatter
from hubbleclip.cli.searching import Format
from hubbleclip.core.errors import ArchiveError, ImageError
from hubbleclip.core.records import reject
from hubbleclip.search.params import SearchParams
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
    row = {"tile_id": "7" * 32, "score": 0.5, "instrument": "WFC3/UVIS", "filter": "F1", "target_name": "A\x1b[2J" * 20}
    for group, num, more in (
        (GroupBy.SKY, 2, ["F814W  +2", "field"]),
        (GroupBy.PROPOSAL, 1, ["F814W  +1", "proposal"]),
    ):
        searching.print_hits([row | {"filter": "F814W", "target_name": None, "num_folded": num}], Format.TABLE, group)
        first, title, *meaning = capsys.readouterr().out.splitlines()
        said = f"+N: further tiles of the same {more[1]}, which --group none shows"
        assert first.endswith(more[0]) and not title.strip() and " ".join(" ".join(meaning).split()).endswith(said)
    searching.print_hits([row | {"title": "A long title " * 9, "num_folded": 0}], Format.TABLE, GroupBy.NONE)
    first, second, meaning = capsys.readouterr().out.splitlines()
    assert meaning == "score: higher is better, comparable within one search only"
    assert first.startswith(f"0.500  {'7' * 8}  WFC3/UVIS  F1  A\ufffd")
    assert second.startswith("       A long title")
    assert max(map(len, (first, second))) <= 60


def test_scores_have_a_column_per_model_and_their_intervals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "console", output.Console(width=200))
    low_high = {"low": 0.1234, "high": 0.5}
    row = {"model": "m", "name": models.SHOWN[0], "value": 0.25, **low_high}
    result = {"benchmark": "b", "model": "m", "num_tiles": 3, "num_captions": 4, "num_programs": 2}
    result |= {"items_sha256": "f" * 64, "metrics": [row, row | {"model": "n", "value": 0.5, "low": None}]}
    for num, said in ((0, "0"), (None, "an unknown number")):
        models.print_captions(result | {"num_programs_in_train": num})
        out = capsys.readouterr().out
        cells = [one.strip() for one in next(line for line in out.splitlines() if models.SHOWN[0] in line).split("│")]
        assert cells[1:-1] == [models.SHOWN[0], "0.25 (0.123-0.5)", "0.5"]
        assert f"2 programmes, {said} of them in the model's training set; digest of items {'f' * 16}\n" in out
    rows = [
        {"scope": scope, "class": kind, "model": "m", "name": name, "value": value + gain, **low_high}
        for scope, gain in (("all", 0), ("unseen", 0.01))
        for kind, name, value in (("star", "ap", 0.75), (None, "ap", 0.5), ("star", "ndcg_at_10", 0.125))
    ]
    objects = {"metrics": rows, "classes": [{"class": "star"}], "num_tiles": 9, "num_in_tiles": 5}
    models.print_objects(objects | {"num_objects": 6, "num_in_training": None})
    out = capsys.readouterr().out
    cells = [[one.strip() for one in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
    values = {kind: [value.partition(" ")[0] for name, value in cells if name == kind] for kind in ("star", "mean")}
    assert values == {"star": ["0.75", "0.125", "0.76", "0.135"], "mean": ["0.5", "", "0.51", ""]}
    assert out.index("nDCG at 10, all tiles") < out.index("average precision, unseen tiles")
    assert "5 of 6 objects are in tiles\n9 tiles are ranked; the proposals of an unknown number of objects" in out


def test_a_server_is_asked_for_pages_until_it_has_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask(server: object, url: str) -> dict[str, object]:
        asked.append(url)
        num = 100 if len(asked) < 3 else 7
        return {"hits": [{"tile_id": "a", "page": "x", "picture": "y"}] * num, "has_more": num == 100}

    monkeypatch.setattr("hubbleclip.search.server.running_server.ask", ask)
    for k, num_rows, num_pages in ((300, 207, 3), (101, 101, 2)):
        asked.clear()
        rows = searching.ask_for_rows(None, SearchParams(q=["dust"], k=k))
        assert (len(rows), rows[0]) == (num_rows, {"tile_id": "a"})
        assert [("page=" in url, "k=100" in url) for url in asked] == [(n > 0, True) for n in range(num_pages)]


def test_a_text_is_sent_to_the_running_server_but_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[Path, str]] = []
    nothing = {"hits": [], "has_more": False}
    monkeypatch.setattr("hubbleclip.search.server.running_server.find_server", lambda path: path)
    monkeypatch.setattr("hubbleclip.search.server.running_server.ask", lambda *given: asked.append(given) or nothing)
    (tmp_path / "demo").mkdir()
    place = ["--data", str(tmp_path)]
    for words in (["spiral", "galaxy", "-k", "3", "--not", "dust lane"], ["--image", "x.png"]):
        with pytest.raises(SystemExit):
            main(["search", *words, *place])
    assert asked == [(tmp_path / "demo/search-server.json", "/api/v1/search?q=spiral+galaxy&not=dust+lane&k=3")]
    printed = capsys.readouterr()
    assert printed.out == "no tile was found\n"
    assert f"run `hubbleclip index --data {tmp_path}`" in printed.err  # there is no index for the picture


def test_a_text_from_outside_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_rows([{"title": "a\x1b[2Jb\x9bc"}])
    output.print_facts({"title": "a\x1b]0;owned\x07"})
    assert not set("\x1b\x9b\x07") & set(capsys.readouterr().out)


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
