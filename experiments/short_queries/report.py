"""`make search-quality`: measure how well each mode of the search answers the short queries, for docs/search.md."""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from cyclopts import App

from experiments.running import (
    ROOT,
    difference_with_interval,
    markdown,
    run,
    update_page,
    with_interval,
    write_results,
)
from experiments.short_queries.judgements import DrawnTile, Gains, drawn_tiles, read_queries
from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.cli.options import Options
from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.layout import Layout
from hubbleclip.evaluation.metrics.bootstrap import draw_weights, resampled_means
from hubbleclip.evaluation.metrics.intervals import percentile_interval
from hubbleclip.evaluation.metrics.ranking import NUM_TOP
from hubbleclip.search.engine import Search
from hubbleclip.search.params import SearchParams, as_written
from hubbleclip.search.records import GroupBy, Mode

app = App()
FILE = "short_queries.json"
NUM_LIKED, LIKE_DEPTH = 80, 60
"""Number of test tiles to which like ones are searched, and of hits among which those of other proposals are found."""
Floats = npt.NDArray[np.float64]
COLUMNS = {
    "model": (Mode.MODEL,),
    "words": (Mode.WORDS,),
    "both": (Mode.BOTH,),
    "both minus model": (Mode.BOTH, Mode.MODEL),
    "both minus words": (Mode.BOTH, Mode.WORDS),
}
"""Columns of the table: a mode, or two modes whose paired difference is shown."""
EVERY, TEST = "all tiles", "tiles of the split test"
SPLITS: dict[str, tuple[str, ...]] = {EVERY: (), TEST: ("test",)}


def ndcg(gains: Sequence[int], possible: Sequence[int]) -> float:
    """Compute the normalised discounted cumulative gain (nDCG) at `NUM_TOP` of a ranking with graded gains.

    A gain is divided by log2(r + 1) at rank r (Jarvelin & Kekalainen 2002).
    """

    def discounted(ranked: Sequence[int]) -> float:
        top = np.asarray(ranked[:NUM_TOP], np.float64)
        return float(np.sum(top / np.log2(np.arange(2, len(top) + 2))))

    return discounted(gains) / discounted(sorted(possible, reverse=True))


def score_query(
    search: Search, text: str, gains: Gains, tiles: Mapping[str, DrawnTile], splits: tuple[str, ...]
) -> dict[str, float]:
    """Score the first page of a query in each mode; as on the page of the search, a proposal has one hit."""
    possible: dict[str, int] = {}
    for tile in tiles.values():
        if not splits or tile.split in splits:
            possible[tile.proposal_id] = max(possible.get(tile.proposal_id, 0), tile.gain(gains))
    if not any(possible.values()):
        return {}
    scores = {}
    for mode in Mode:
        found = search.run(SearchParams(q=as_written(text), split=splits, mode=mode, k=NUM_TOP)).hits
        scores[mode.value] = ndcg([tiles[hit.tile_id].gain(gains) for hit in found], list(possible.values()))
    return scores


def score_likes(search: Search, tiles: Mapping[str, DrawnTile]) -> list[dict[str, Any]]:
    """Find, for seeded test tiles, the share of the same kind among the first 10 hits of other proposals."""
    test = sorted(tile_id for tile_id, tile in tiles.items() if tile.split == "test")
    scored = []
    for tile_id in random.Random(0).sample(test, min(NUM_LIKED, len(test))):
        liked, found = tiles[tile_id], search.run(SearchParams(like=tile_id, k=LIKE_DEPTH, group=GroupBy.NONE)).hits
        others = [one for hit in found if (one := tiles[hit.tile_id]).proposal_id != liked.proposal_id][:NUM_TOP]
        share = float(np.mean([one.kind == liked.kind for one in others]))
        scored.append({"tile_id": tile_id, "proposal_id": liked.proposal_id, "share": share})
    return scored


def shares_a_word(text: str, gains: Gains) -> bool:
    """Whether a query has a word of the name of a kind that it asks for."""
    wanted = " ".join(name for name, gain in gains.items() if gain == max(gains.values()))
    return bool({*re.findall(r"\w+", text.lower())} & {*re.findall(r"\w+", wanted.lower())})


def measure(settings: Settings) -> dict[str, Any]:
    """Answer every query in every mode, and summarise the scores."""
    if settings.archive.name != "simulated":
        raise HubbleclipError(f"{settings.root} is not of the simulated archive: the kind of its objects is unknown")
    search, queries = Search.open(settings), read_queries()
    with read_catalog(Layout(settings.root)) as catalog:
        tiles = drawn_tiles(catalog, settings.simulator)
    scored = [
        {"text": text, "is_first": number % 2 == 0, "shares_a_word": shares_a_word(text, gains)}
        | {name: score_query(search, text, gains, tiles, splits) for name, splits in SPLITS.items()}
        for number, (text, gains) in enumerate(queries.items())
    ]
    likes = score_likes(search, tiles)
    return {
        "queries": scored,
        "rows": summarise(scored, settings.evaluation.bootstrap),
        "likes": likes,
        "like": summarise_likes(likes, settings.evaluation.bootstrap),
        "num_tiles": len(tiles),
        "num_proposals": len({tile.proposal_id for tile in tiles.values()}),
        "run": Path(search.opened.current.run).name,
    }


def summarise(scored: Sequence[Mapping[str, Any]], num_resamples: int) -> list[dict[str, Any]]:
    """Average the scores over sets of queries, with 95 % intervals from a bootstrap over the queries."""
    sets = (
        ("all queries", EVERY, list(scored)),
        ("first of each pair", EVERY, [one for one in scored if one["is_first"]]),
        ("second of each pair", EVERY, [one for one in scored if not one["is_first"]]),
        ("no word of the kind's name", EVERY, [one for one in scored if not one["shares_a_word"]]),
        ("all queries", TEST, list(scored)),
    )
    answered = [(name, tiles, [one[tiles] for one in chosen if one[tiles]]) for name, tiles, chosen in sets]
    return [
        {"name": name, "tiles": tiles, "num_queries": len(scores)} | intervals(scores, num_resamples)
        for name, tiles, scores in answered
    ]


def intervals(scores: Sequence[Mapping[str, float]], num_resamples: int) -> dict[str, dict[str, float]]:
    """Average scores, and differences between two modes, with 95 % intervals."""
    values_qm: Floats = np.array(
        [[score[modes[0]] - (score[modes[1]] if modes[1:] else 0) for modes in COLUMNS.values()] for score in scores]
    )
    weights_bq = draw_weights(len(scores), num_resamples)
    means_bm = resampled_means(values_qm, np.arange(len(scores)), weights_bq)
    ends = [percentile_interval(means_b, len(scores)) for means_b in means_bm.T]
    return {
        name: {"value": round(float(value), 6), "low": round(low, 6), "high": round(high, 6)}
        for name, value, (low, high) in zip(COLUMNS, values_qm.mean(axis=0), ends, strict=True)
    }


def summarise_likes(likes: Sequence[Mapping[str, Any]], num_resamples: int) -> dict[str, float]:
    """Average the shares of `score_likes`, with a 95 % interval from a bootstrap over proposals."""
    _, group_n = np.unique([one["proposal_id"] for one in likes], return_inverse=True)
    share_n, num_groups = np.array([one["share"] for one in likes]), int(group_n.max()) + 1
    means_b1 = resampled_means(share_n[:, None], group_n, draw_weights(num_groups, num_resamples))
    low, high = percentile_interval(means_b1[:, 0], num_groups)
    return {"value": round(float(share_n.mean()), 6), "low": round(low, 6), "high": round(high, 6)}


def changes(results: Mapping[str, Any], before: Mapping[str, Any], num_resamples: int) -> dict[str, Any]:
    """Subtract earlier results from new ones of the same tiles, query by query, in the form of `measure`."""
    shares = {one["tile_id"]: one["share"] for one in before["likes"]}
    if shares.keys() != {one["tile_id"] for one in results["likes"]}:
        raise HubbleclipError("the earlier results are of other tiles: measure both on the same data")
    former = {one["text"]: one for one in before["queries"]}
    scored = []
    for one in results["queries"]:
        old = former[one["text"]]
        scored.append(one | {n: {mode: score - old[n][mode] for mode, score in one[n].items()} for n in SPLITS})
    likes = [one | {"share": one["share"] - shares[one["tile_id"]]} for one in results["likes"]]
    return {"rows": summarise(scored, num_resamples), "likes": likes, "like": summarise_likes(likes, num_resamples)}


def table(results: Mapping[str, Any], *, is_change: bool = False) -> str:
    """Format results, or their changes, as a Markdown table."""

    def cell(value: Mapping[str, float], column: str) -> str:
        show = difference_with_interval if is_change or len(COLUMNS[column]) > 1 else with_interval
        return show(*(value[name] for name in ("value", "low", "high")), digits=2)

    rows = [
        [f"{row['name']} ({row['num_queries']})", row["tiles"], *(cell(row[name], name) for name in COLUMNS)]
        for row in results["rows"]
    ]
    like = [f"`like`, share of the same kind ({len(results['likes'])})", EVERY, cell(results["like"], "model")]
    return markdown(["queries", "tiles", *COLUMNS], [*rows, [*like, *[""] * (len(COLUMNS) - 1)]])


@app.default
def report(out_dir: Path, options: Options = Options(), *, before: Path | None = None) -> None:
    """Measure the search of a profile, write the results to `out_dir`, and update the table of `docs/search.md`.

    If `before` has the results of other code for the same tiles, only print the changes, paired by query.
    """
    settings = options.settings()
    results = measure(settings)
    if before:
        found = changes(results, json.loads(before.read_bytes()), settings.evaluation.bootstrap)
        sys.stdout.write(f"{table(found, is_change=True)}\n")
        return
    write_results(out_dir / FILE, results)
    update_page(ROOT / "docs/search.md", {"short queries": table(results)})


if __name__ == "__main__":
    run(app)
