"""Short makers of records and files for the calls in `evaluation.json`."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from valid_catalog import make

from hubbleclip.core.records import Metric, Sample
from hubbleclip.evaluation.benchmarks.catalogue import RADIUS, VOTES, SkyObject
from hubbleclip.evaluation.benchmarks.items import ItemSet
from hubbleclip.evaluation.benchmarks.leaderboard import FACTS, SEEN
from hubbleclip.evaluation.forgetting import FORGETTING, PHOTOGRAPHS
from hubbleclip.evaluation.metrics.protocols import Estimate
from hubbleclip.evaluation.metrics.retrieval import TiedRanks
from hubbleclip.evaluation.test_set import TestSet

COLUMNS = ("ra_deg", "dec_deg", "class", RADIUS, VOTES)
"""Columns of a file of objects."""
RESULT: dict[str, Any] = dict.fromkeys((*FACTS, SEEN), 1) | {
    "metrics": [{"model": "model", "name": "ap", "value": 1, "low": 0, "high": 2}]
}


def samples(**columns: Iterable[Any]) -> list[Sample]:
    """A sample per value of the columns."""
    rows = zip(*columns.values(), strict=False)
    return [make(Sample, **dict(zip(columns, row, strict=True))) for row in rows]


def rows_of(names: str, *rows: Sequence[Any], **common: Any) -> list[dict[str, Any]]:
    """Values of metrics by name, which is one of `names` or common to all."""
    return [common | dict(zip(names.split(), row, strict=True)) for row in rows]


def metrics(names: str, *rows: Sequence[Any], **common: Any) -> list[Metric]:
    return [make(Metric, **row) for row in rows_of(names, *rows, **common)]


def photographs(models: Iterable[str]) -> list[dict[str, Any]]:
    """Accuracies of models on photographs."""
    values = {"protocol": FORGETTING, "name": PHOTOGRAPHS, "value": 0.5, "low": 0.4, "high": 0.6}
    return [values | {"model": model} for model in models]


def objects(classes: str, votes: Sequence[float] = (1.0,) * 9) -> list[SkyObject]:
    """Objects of classes of one letter."""
    pairs = zip(classes, votes, strict=False)
    return [SkyObject(ra_deg=0.0, dec_deg=0.0, class_name=name, votes=vote) for name, vote in pairs]


def estimate(scorer: str, value: float, **changes: Any) -> Estimate:
    """An estimate that differs little between resamples of 40 groups."""
    draws_b = np.full(9, value) + np.tile([-0.02, 0, 0.02], 3)
    values = {"protocol": "fair", "name": "x", "draws_b": draws_b, "sizes_g": np.ones(40, int)} | changes
    return Estimate(scorer=scorer, value=value, **values)


def test_set(samples: Iterable[Any], caption_t: Sequence[int], group_c: Sequence[int]) -> TestSet:
    captions = tuple(f"caption {number}" for number in range(len(group_c)))
    return TestSet(
        samples=tuple(samples), caption_t=np.array(caption_t), captions_c=captions, group_c=np.array(group_c)
    )


def item_set(samples: Sequence[Sample], texts: str, grades: Any, groups: Sequence[int] = (0, 0, 0)) -> ItemSet:
    """Items whose texts are ids of one letter, and the same letters in upper case."""
    return ItemSet(
        benchmark="b",
        samples=tuple(samples),
        text_ids=tuple(texts),
        texts=tuple(texts.upper()),
        group_t=np.array(groups[: len(samples)]),
        grades_tk=np.array(grades, float),
    )


def ranks(above: int, tied: int, positives: int) -> TiedRanks:
    """Ranks of one query of nine items."""
    return TiedRanks(above_q=np.array([above]), tied_q=np.array([tied]), positives_q=np.array([positives]), num_items=9)


def write_table(path: Path, **columns: Sequence[Any]) -> Path:
    pq.write_table(pa.table({name: list(values) for name, values in columns.items()}), path)
    return path


def square(ra: float) -> list[float]:
    """Corners of a tile of 0.01 degrees."""
    return [ra, 0.0, ra + 0.01, 0.0, ra + 0.01, 0.01, ra, 0.01]
