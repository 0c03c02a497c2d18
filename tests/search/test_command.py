"""The command `search`: its options, its formats, and what it imports."""

import gc
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from commands import Outcome
from search_site import tile_id_of
from stub_server import StubServer

from hubbleclip.cli.app import main
from hubbleclip.config.model import OPEN_CLIP_CONFIG
from hubbleclip.config.settings import Settings
from hubbleclip.core.layout import Layout
from hubbleclip.search import embedding_process
from hubbleclip.search.embedding_process import TextsAhead, embed_ahead, hide_unused_libraries
from hubbleclip.search.engine import Search
from hubbleclip.search.params import SearchParams
from hubbleclip.search.selections import change_selection
from hubbleclip.training.runs import BASE


@pytest.fixture
def search(site: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The command in this process; with these words it starts no other."""
    monkeypatch.setattr("atexit.register", lambda *_: None)

    def call(*words: str) -> Outcome:
        code = 0
        try:
            main(["search", *words, "--data", str(site.data)])
        except SystemExit as ended:
            code = ended.code or 0
        return Outcome(code, *capsys.readouterr())

    return call


def test_a_text_gives_a_table_whose_ids_are_whole_when_piped(search) -> None:
    found = search("planetary", "nebula", "--mode", "words", "-k", "2", "--group", "none")
    assert found.code == 0, found.err
    assert sum(tile_id_of(p, n) in found.out for p in (3, 7) for n in range(6)) == 2


def test_hits_are_sorted_and_of_a_selection(search, site: Settings) -> None:
    chosen = [tile_id_of(1, number) for number in (2, 4, 3)]
    path = Layout(site.root).selections
    change_selection(path, "arcs", add=chosen)
    found = json.loads(search("--selection", "arcs", "--sort", "exposure", "--group", "none", "--json").out)
    path.unlink()
    assert [hit["tile_id"] for hit in found] == [tile_id_of(1, number) for number in (4, 3, 2)]


def test_a_picture_is_searched_for_and_an_empty_cone_is_said(search, site: Settings) -> None:
    tile_id = tile_id_of(5, 1)
    picture = str(Layout(site.root).tile(tile_id))
    assert json.loads(search("--image", picture, "-k", "1", "--json").out)[0]["tile_id"] == tile_id
    assert search("--cone", "200 80 0.1").out == "no tile was found\n"


def test_hits_are_ranked_again_by_the_grades_of_a_model_that_reads_pictures(
    search, site: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("planetary", "nebula", "--mode", "words", "--group", "none", "--json", "-k")
    ids = [row["tile_id"] for row in json.loads(search(*words, "50").out)]
    digests = {Layout(site.root).tile(tile_id).read_bytes(): number for number, tile_id in enumerate(ids)}
    with StubServer() as stub:
        stub.grade_of = lambda text, picture: 9 if digests[picture] == 2 else 3
        server = ("--set", f"captions.base_url={stub.url}", "--set", "captions.model=made")
        found = search(*words, "3", "--rerank", *server)
        num_requests = len(stub.requests)
        monkeypatch.setattr("hubbleclip.captions.backends.openai_compatible.NUM_RANKED", 2)
        stub.grade_of = lambda text, picture: digests[picture]
        few = json.loads(search(*words, "3", "--rerank", *server).out)
    assert [row["tile_id"] for row in json.loads(found.out)] == [ids[2], ids[0], ids[1]], found.err
    assert [row["tile_id"] for row in few] == [ids[1], ids[0], ids[2]]
    assert (num_requests, len(stub.requests)) == (len(ids), len(ids) + 2)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((" ", "--like", "0" * 32, "--rerank"), "--rerank needs a text"),
        (("x", "--rerank"), "captions.model is empty"),
        ((), "nothing to search for"),
        (("--image", "missing.png"), "missing.png"),
        (("x", "--mode", "words", "-k", "0"), "greater than or equal to 1"),
    ],
)
def test_mistakes_are_one_line(search, arguments: tuple[str, ...], word: str) -> None:
    found = search(*arguments)
    assert found.code == 2
    (line,) = found.err.strip().splitlines()
    assert word in line


@pytest.mark.slow
def test_another_process_embeds_the_text_with_the_same_model(site: Settings) -> None:
    ahead = embed_ahead(Layout(site.root), ["spiral galaxy"])
    assert np.array_equal(ahead.features["spiral galaxy"], Search.open(site)._opened.model.embed_text("spiral galaxy"))


@pytest.mark.parametrize(("run", "code", "is_used"), [(None, 0, True), (None, -9, False), ("runs/other", 0, False)])
def test_features_of_another_process_are_used_if_it_ended_well_and_had_the_run_that_answers(
    run: str | None, code: int, is_used: bool, site: Settings
) -> None:
    search, content, feat_nd = Search.open(site), io.BytesIO(), np.eye(2, 64, dtype=np.float32)
    np.save(content, feat_nd)
    process = SimpleNamespace(communicate=lambda: (content.getvalue(), None), returncode=code)
    search.expect(TextsAhead(run=run or search._opened.current.run, texts=["spiral", "galaxy"], process=process))
    assert np.array_equal(search._opened.model.embed_text("galaxy"), feat_nd[1]) == is_used
    assert search.has_model != is_used


def test_the_other_process_gets_the_run_and_the_texts(
    search, site: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, layout = tmp_path / "python", Layout(site.root)
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {tmp_path}/words\ncat {tmp_path}/features.npy')
    program.chmod(0o755)
    np.save(tmp_path / "features.npy", np.eye(2, 64, dtype=np.float32))
    monkeypatch.setattr(sys, "executable", str(program))
    ahead = embed_ahead(layout, ["a b", "c"])
    run = Search.open(site)._opened.current.run
    assert (ahead.run, ahead.texts, ahead.process.wait()) == (run, ["a b", "c"], 0)
    for more in ((" dust ", "--not", "star"), ("dust", "--mode", "words")):
        assert search(*more).code == 0
    words = ["-P", "-m", "hubbleclip.search.embedding_process", str(layout.absolute(run))]
    assert (tmp_path / "words").read_text().splitlines() == [*words, "a b", "c", *words, "dust", "star"]


def test_a_process_embeds_each_text_and_hides_what_its_model_does_not_need(
    site: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    texts, opened = ["spiral", "a galaxy"], Search.open(site)._opened
    monkeypatch.setattr(embedding_process, "USED_BY", {})
    monkeypatch.setattr(sys, "argv", ["", str(opened.layout.absolute(opened.current.run)), *texts])
    embedding_process.main()
    gc.enable()
    gc.unfreeze()
    found = np.load(io.BytesIO(capsysbinary.readouterr().out))
    assert np.array_equal(found, [opened.model.embed_text(text) for text in texts])
    monkeypatch.setattr(embedding_process, "USED_BY", {"made_one": '"timm_', "made_two": '"hf_', "json": '"a_'})
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    hide_unused_libraries(tmp_path)
    assert "made_one" not in sys.modules
    config = tmp_path / BASE / OPEN_CLIP_CONFIG
    config.parent.mkdir()
    config.write_text('{"timm_model_name": "a"}')
    hide_unused_libraries(tmp_path)
    assert [sys.modules.get(name, 0) for name in ("made_one", "made_two", "json")] == [0, None, json]


def test_nothing_is_embedded_without_an_index_or_a_text(site: Settings, tmp_path: Path) -> None:
    assert embed_ahead(Layout(tmp_path), ["galaxy"]) is None
    assert embed_ahead(Layout(site.root), []) is None


def test_a_search_by_words_or_like_a_tile_does_not_load_the_model(site: Settings) -> None:
    search = Search.open(site)
    for terms in ({"q": "galaxy", "mode": "words"}, {"like": tile_id_of(1, 1)}):
        assert search.run(SearchParams(**terms)).hits
    assert not search.has_model
