"""The command `search`: its options, its formats, and what it imports."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import Outcome, run
from search_site import tile_id_of
from stub_server import StubServer

from hubbleclip.config.settings import Settings
from hubbleclip.core.layout import Layout
from hubbleclip.search.embedding_process import embed_ahead
from hubbleclip.search.engine import Search
from hubbleclip.search.selections import change_selection


@pytest.fixture
def search(site: Settings):
    def call(*words: str) -> Outcome:
        return run("search", *words, data=site.data)

    return call


@pytest.mark.slow
def test_a_text_gives_a_table_whose_ids_are_whole_when_piped(search) -> None:
    found = search("planetary", "nebula", "--mode", "words", "-k", "2", "--group", "none")
    assert found.code == 0, found.err
    assert sum(tile_id_of(p, n) in found.out for p in (3, 7) for n in range(6)) == 2


@pytest.mark.slow
def test_hits_are_sorted_and_of_a_selection(search, site: Settings) -> None:
    chosen = [tile_id_of(1, number) for number in (2, 4, 3)]
    path = Layout(site.root).selections
    change_selection(path, "arcs", add=chosen)
    found = json.loads(search("--selection", "arcs", "--sort", "exposure", "--group", "none", "--json").out)
    path.unlink()
    assert [hit["tile_id"] for hit in found] == [tile_id_of(1, number) for number in (4, 3, 2)]


@pytest.mark.slow
def test_a_picture_is_searched_for_and_an_empty_cone_is_said(search, site: Settings) -> None:
    tile_id = tile_id_of(5, 1)
    picture = str(Layout(site.root).tile(tile_id))
    assert json.loads(search("--image", picture, "-k", "1", "--json").out)[0]["tile_id"] == tile_id
    assert search("--cone", "200 80 0.1").out == "no tile was found\n"


@pytest.mark.slow
def test_hits_are_ranked_again_by_the_grades_of_a_model_that_reads_pictures(search, site: Settings) -> None:
    words = ("planetary", "nebula", "--mode", "words", "--group", "none", "--json", "-k")
    ids = [row["tile_id"] for row in json.loads(search(*words, "50").out)]
    digests = {Layout(site.root).tile(tile_id).read_bytes(): number for number, tile_id in enumerate(ids)}
    with StubServer() as stub:
        stub.grade_of = lambda text, picture: 9 if digests[picture] == 2 else 3
        server = ("--set", f"captions.base_url={stub.url}", "--set", "captions.model=made")
        found = search(*words, "3", "--rerank", *server)
    assert [row["tile_id"] for row in json.loads(found.out)] == [ids[2], ids[0], ids[1]], found.err
    assert len(stub.requests) == len(ids)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--like", "0" * 32, "--rerank"), "--rerank needs a text"),
        (("x", "--rerank"), "captions.model is empty"),
        ((), "nothing to search for"),
        (("--image", "missing.png"), "missing.png"),
        (("x", "-k", "0"), "greater than or equal to 1"),
    ],
)
def test_mistakes_are_one_line(search, arguments: tuple[str, ...], word: str) -> None:
    found = search(*arguments)
    assert found.code == 2
    (line,) = found.err.strip().splitlines()
    assert word in line


@pytest.mark.slow
def test_another_process_embeds_the_text_with_the_same_model_and_a_killed_one_changes_no_hit(site: Settings) -> None:
    text = "spiral galaxy"
    ahead = embed_ahead(Layout(site.root), [text])
    assert ahead
    search = Search.open(site)
    expected = search._opened.model.embed_text(text)
    assert np.array_equal(ahead.features[text], expected)
    for run_path, is_killed, is_loaded in (
        (ahead.run, False, False),
        (ahead.run, True, True),
        ("runs/other", False, True),
    ):
        search, one = Search.open(site), replace(embed_ahead(Layout(site.root), [text]), run=run_path)
        if is_killed:
            one.process.kill()
        search.expect(one)
        assert np.array_equal(search._opened.model.embed_text(text), expected)
        assert (search._opened.model._loaded is not None) == is_loaded
        one.process.wait()


def test_nothing_is_embedded_without_an_index_or_a_text(site: Settings, tmp_path: Path) -> None:
    assert embed_ahead(Layout(tmp_path), ["galaxy"]) is None
    assert embed_ahead(Layout(site.root), []) is None


@pytest.mark.slow
def test_a_search_by_words_or_like_a_tile_does_not_load_the_model(site: Settings, tmp_path: Path) -> None:
    for words in (["galaxy", "--mode", "words"], ["--like", tile_id_of(1, 1)]):
        code = f"""
import sys
from hubbleclip.cli.app import main
try:
    main({["search", *words, "--data", str(site.data)]!r})
except SystemExit as ended:
    assert ended.code in (None, 0)
print(*sorted(sys.modules.keys() & {{"torch", "open_clip", "prefect", "matplotlib"}}), file=sys.stderr)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.strip()) == (0, "")
        assert done.stdout
