"""The study of captions changes the texts of a test set and nothing else, and its pages have the figures of its data."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from synthetic_samples import make_samples_with_pngs

from experiments.captions.report import FILE, PAGE, table
from experiments.captions.scores import query_scores, with_summaries
from experiments.short_queries.judgements import DrawnTile, read_queries
from hubbleclip.evaluation.test_set import TestSet, make_test_set

ROOT = Path(__file__).parents[2]
KINDS = ["abstract", "summary@rules-1.1"]


def made_test_set() -> TestSet:
    samples, _ = make_samples_with_pngs()
    return make_test_set(
        [replace(s, split="test", caption_kinds=KINDS, captions=[s.captions[0], s.title]) for s in samples]
    )


def test_summaries_replace_the_abstracts_of_the_same_proposals() -> None:
    test_set = made_test_set()
    changed = with_summaries(test_set)
    assert np.array_equal(changed.caption_t, test_set.caption_t)
    numbers = [text.split(",")[0].split()[-1] for text in test_set.captions_c]
    assert [text.split() for text in changed.captions_c] == [["Title", number] for number in numbers]


def test_a_perfect_ranking_scores_one_and_a_reversed_one_less() -> None:
    test_set = made_test_set()
    kinds = list(read_queries().values())
    wanted = next(iter(kinds[2])).partition(":")[0]
    tiles = {
        one.tile_id: DrawnTile(
            proposal_id=one.proposal_id,
            split="test",
            variant="",
            kind=wanted if one.proposal_id == "made:3" else "other",
        )
        for one in test_set.samples
    }
    is_wanted_t = np.array([tiles[sample.tile_id].kind == wanted for sample in test_set.samples], float)
    best = query_scores(np.tile(is_wanted_t, (len(kinds), 1)), test_set, tiles)
    worst = query_scores(np.tile(-is_wanted_t, (len(kinds), 1)), test_set, tiles)
    assert 0 < len(best) < len(kinds)  # queries that no tile answers are not scored
    assert best.tolist() == [1.0] * len(best)
    assert (worst < best).all()


def test_the_pages_have_the_figures_of_the_data_or_none() -> None:
    path = ROOT / "docs/demo" / FILE
    result = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    text = (ROOT / PAGE).read_text(encoding="utf-8").partition("<!-- caption study -->\n")[2]
    assert text.partition("<!-- end of caption study -->")[0].strip() == (table(result) if result else "")
