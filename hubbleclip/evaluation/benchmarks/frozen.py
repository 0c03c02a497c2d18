"""The frozen image-text benchmark: its test set, embeddings that others made of it, and their scores.

`README.md` in this folder is the protocol. The test set consists of all tiles of a dataset whose programmes belong to
the benchmark, in any split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hubbleclip.config.settings import EvaluationSettings
from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.records import Sample
from hubbleclip.core.vectors import first_non_finite_row, unit
from hubbleclip.dataset.splits.schemes import BENCHMARK, is_benchmark_program, program_number
from hubbleclip.evaluation.estimates import as_metric
from hubbleclip.evaluation.metrics.bootstrap import draw_weights
from hubbleclip.evaluation.metrics.protocols import Scores, chance_estimates, fair_estimates
from hubbleclip.evaluation.metrics.retrieval import Floats
from hubbleclip.evaluation.test_set import TestSet, make_test_set

NUM_NAMED = 3
"""Number of missing ids that a message names."""


def benchmark_set(samples: Sequence[Sample]) -> TestSet:
    """Select the tiles whose programmes belong to the benchmark, with their captions and groups."""
    chosen = [sample for sample in samples if is_drawn(sample)]
    if len({sample.group_id for sample in chosen}) < 2:
        raise EvaluationError(
            f"the dataset has {len({sample.proposal_id for sample in chosen})} programmes of the benchmark {BENCHMARK}"
            " in fewer than 2 groups: build a dataset of more programmes"
        )
    return make_test_set([replace(sample, split="test") for sample in chosen])


def is_drawn(sample: Sample) -> bool:
    """Return whether the programme of a tile belongs to the benchmark."""
    number = program_number(sample.proposal_id)
    return number is not None and is_benchmark_program(number)


def caption_ids(test_set: TestSet) -> list[str]:
    """Make the id of each caption: the first `caption_key`, in alphabetical order, of its tiles."""
    first: dict[int, str] = {}
    for caption, sample in zip(test_set.caption_t.tolist(), test_set.samples, strict=True):
        first[caption] = min(sample.caption_key, first.get(caption, sample.caption_key))
    return [first[caption] for caption in range(len(test_set.captions_c))]


def items_table(test_set: TestSet) -> pa.Table:
    """List the tiles and the captions of a test set, which a model must embed."""
    images = [{"id": sample.tile_id, "kind": "image", "text": None} for sample in test_set.samples]
    texts = [
        {"id": name, "kind": "text", "text": text}
        for name, text in zip(caption_ids(test_set), test_set.captions_c, strict=True)
    ]
    schema = pa.schema([("id", pa.string()), ("kind", pa.string()), ("text", pa.string())])
    return pa.Table.from_pylist([*images, *texts], schema=schema)


def read_embeddings(path: Path, test_set: TestSet) -> tuple[Floats, Floats]:
    """Read the vectors of all items from a Parquet file, and scale them to length 1; other ids are ignored."""
    try:
        table = pq.read_table(path, columns=["id", "vector"])
        ids = [str(name) for name in table["id"].to_pylist()]
        vectors_nd = np.array(table["vector"].to_pylist(), dtype=np.float64)
    except (OSError, pa.ArrowException, ValueError, TypeError, KeyError) as error:
        detail = str(error).partition("\n")[0]
        raise EvaluationError(
            f"{path} cannot be read ({detail}): write Parquet with `id` and `vector`, lists of one common length"
        ) from error
    row_of = {name: row for row, name in enumerate(ids)}
    wanted = [[sample.tile_id for sample in test_set.samples], caption_ids(test_set)]
    missing = [name for names in wanted for name in names if name not in row_of]
    if missing or len(row_of) < len(ids):
        problem = f"lacks {len(missing)} ids, such as {', '.join(missing[:NUM_NAMED])}" if missing else "repeats an id"
        raise EvaluationError(f"{path} {problem}: `hubbleclip benchmark --frozen --items FILE` lists what is needed")
    feat_nd = unit(vectors_nd.reshape(len(ids), -1))
    bad = first_non_finite_row(np.where((feat_nd**2).sum(axis=1, keepdims=True) > 0, feat_nd, np.nan))
    if bad is not None:
        raise EvaluationError(f"the vector of {ids[bad]} in {path} is zero or not finite: embed it again")
    tiles_td, captions_cd = (feat_nd[[row_of[name] for name in names]] for names in wanted)
    return tiles_td, captions_cd


def read_scores(path: Path, test_set: TestSet) -> Scores:
    """Read the score of each image and text from a Parquet file; pairs of other ids are ignored."""
    try:
        table = pq.read_table(path, columns=["image", "text", "score"])
        images, texts = ([str(name) for name in table[column].to_pylist()] for column in ("image", "text"))
        score_n = table["score"].to_numpy().astype(np.float64)
    except (OSError, pa.ArrowException, ValueError, TypeError, KeyError) as error:
        detail = str(error).partition("\n")[0]
        raise EvaluationError(
            f"{path} cannot be read ({detail}): write Parquet with `image`, `text` and `score`"
        ) from error
    tile_of = {sample.tile_id: tile for tile, sample in enumerate(test_set.samples)}
    caption_of = {name: caption for caption, name in enumerate(caption_ids(test_set))}
    scores_tc = np.full((len(tile_of), len(caption_of)), np.nan)
    for image, text, score in zip(images, texts, score_n, strict=True):
        if image in tile_of and text in caption_of:
            scores_tc[tile_of[image], caption_of[text]] = score
    if num_missing := int((~np.isfinite(scores_tc)).sum()):
        raise EvaluationError(
            f"{path} lacks {num_missing} of {scores_tc.size} scores: give one for each image and text that "
            "`hubbleclip benchmark --frozen --items FILE` lists"
        )
    return Scores(scorer="model", i2t_tc=scores_tc, t2i_ct=scores_tc.T)


def score(test_set: TestSet, scores: Scores, settings: EvaluationSettings, samples: Sequence[Sample]) -> dict[str, Any]:
    """Estimate the metrics of a model's scores in both directions, beside text search and chance."""
    weights_bg = draw_weights(test_set.num_groups, settings.bootstrap)
    scorers = (scores, Scores.of_text_search(test_set))
    estimates = [estimate for one in scorers for estimate in fair_estimates(one, test_set, weights_bg)]
    estimates += chance_estimates(test_set, weights_bg)
    rows = [as_metric(estimate, "") for estimate in estimates]
    metrics = [{name: getattr(row, name) for name in ("model", "name", "value", "low", "high")} for row in rows]
    return identity(test_set, samples) | {"metrics": metrics}


def identity(test_set: TestSet, samples: Sequence[Sample]) -> dict[str, Any]:
    """Identify a test set by a hash and its counts; scores are comparable only on the same test set."""
    names = caption_ids(test_set)
    pairs = [(one.tile_id, names[index]) for one, index in zip(test_set.samples, test_set.caption_t, strict=True)]
    pairs += zip(names, test_set.captions_c, strict=True)
    content = "\n".join("\t".join(pair) for pair in pairs)
    seen = {sample.proposal_id for sample in samples if sample.split == "train" and is_drawn(sample)}
    return {
        "benchmark": BENCHMARK,
        "items_sha256": sha256_bytes(content.encode()),
        "num_tiles": len(test_set.samples),
        "num_captions": len(test_set.captions_c),
        "num_programs": len({sample.proposal_id for sample in test_set.samples}),
        "num_groups": test_set.num_groups,
        "num_programs_in_train": len(seen),
    }
