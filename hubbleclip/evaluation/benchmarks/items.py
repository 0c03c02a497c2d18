"""The items of a benchmark: images, texts and the grade of each pair, frozen to a Parquet file or read from one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hubbleclip.core.errors import EvaluationError
from hubbleclip.core.io import atomic_write, sha256_bytes
from hubbleclip.core.records import Sample
from hubbleclip.core.vectors import first_non_finite_row, unit
from hubbleclip.evaluation.metrics.retrieval import Floats, Ints

NUM_NAMED = 3
"""Number of missing ids that a message names."""
GRADES = pa.list_(pa.struct([("text", pa.string()), ("grade", pa.float64())]))
COLUMNS = {"kind": pa.string(), "id": pa.string(), "sha256": pa.string(), "text": pa.string()}
COLUMNS |= {"group": pa.string(), "grades": GRADES, "sample": pa.string()}
HASHED = ("kind", "id", "sha256", "text", "group", "grades")
"""Columns from which the digest is computed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ItemSet:
    """The t images and the k texts of a benchmark, and a grade from 0 to 1 for each pair of image and text.

    Each image belongs to a group, and the bootstrap resamples groups. `dataset_digest` identifies the dataset of the
    images.
    """

    benchmark: str
    dataset_digest: str = ""
    samples: tuple[Sample, ...]
    text_ids: tuple[str, ...]
    texts: tuple[str, ...]
    group_t: Ints
    grades_tk: Floats

    @property
    def image_ids(self) -> list[str]:
        """Ids of the images."""
        return [sample.tile_id for sample in self.samples]

    @property
    def digest(self) -> str:
        """Hash of ids, pictures, texts, groups and grades; scores are comparable only if the digests are equal."""
        return digest_of(self.to_table())

    def to_table(self) -> pa.Table:
        """Make a table with one row per image, with the image's grades above 0, and one row per text."""
        rows = [
            {
                "kind": "image",
                "id": sample.tile_id,
                "sha256": sample.png_sha256,
                "group": str(group),
                "grades": [{"text": self.text_ids[k], "grade": float(grade_k[k])} for k in np.flatnonzero(grade_k)],
                "sample": json.dumps(asdict(sample)),
            }
            for sample, group, grade_k in zip(self.samples, self.group_t, self.grades_tk, strict=True)
        ]
        rows += [
            {"kind": "text", "id": name, "sha256": sha256_bytes(text.encode()), "text": text}
            for name, text in zip(self.text_ids, self.texts, strict=True)
        ]
        return pa.Table.from_pylist(rows, schema=pa.schema(COLUMNS.items()))


def digest_of(table: pa.Table) -> str:
    """Compute the digest of items."""
    return sha256_bytes(json.dumps(table.select(HASHED).to_pylist(), sort_keys=True).encode())


def _content_digest(table: pa.Table, facts: Mapping[str, str]) -> str:
    """Compute the digest of a table and of the facts in the metadata of the Parquet file."""
    return sha256_bytes(json.dumps([table.to_pylist(), facts], sort_keys=True).encode())


def write_items(path: Path, items: ItemSet) -> None:
    """Freeze items to a Parquet file."""
    table = items.to_table()
    facts = {"benchmark": items.benchmark, "dataset_digest": items.dataset_digest, "items_sha256": digest_of(table)}
    table = table.replace_schema_metadata(facts | {"content_sha256": _content_digest(table, facts)})
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary)


def read_items(path: Path) -> ItemSet:
    """Read frozen items, and check that nothing in the file has changed."""
    try:
        table = pq.read_table(path)
        facts = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
        is_whole = facts.pop("content_sha256") == _content_digest(table, facts)
        images = table.filter(pa.compute.equal(table["kind"], "image")).to_pylist()
        texts = table.filter(pa.compute.equal(table["kind"], "text")).to_pylist()
        column_of = {row["id"]: column for column, row in enumerate(texts)}
        grades_tk = np.zeros((len(images), len(texts)))
        for row, image in zip(grades_tk, images, strict=True):
            for one in image["grades"]:
                row[column_of[one["text"]]] = one["grade"]
        items = ItemSet(
            benchmark=facts["benchmark"],
            dataset_digest=facts["dataset_digest"],
            samples=tuple(Sample(**json.loads(image["sample"])) for image in images),
            text_ids=tuple(column_of),
            texts=tuple(row["text"] for row in texts),
            group_t=np.array([int(image["group"]) for image in images], dtype=np.int64),
            grades_tk=grades_tk,
        )
    except (OSError, pa.ArrowException, ValueError, TypeError, KeyError, AttributeError) as error:
        raise unreadable(path, error, "give a file that `hubbleclip benchmark --freeze` wrote") from error
    if not is_whole:
        raise EvaluationError(f"{path} was changed after it was frozen: get it again")
    return items


def unreadable(path: Path, error: Exception, hint: str) -> EvaluationError:
    """Make the error for a file that cannot be read; only the first line of the cause is kept."""
    return EvaluationError(f"{path} cannot be read ({str(error).partition(chr(10))[0]}): {hint}")


def read_columns(path: Path, columns: Sequence[str], hint: str) -> list[Any]:
    """Read columns of a Parquet file that another program wrote: ids as text, other columns as arrays of floats."""
    try:
        table = pq.read_table(path, columns=list(columns))
        lists = [table[name].to_pylist() for name in columns]
        return [
            np.array(values, dtype=np.float64) if name in {"vector", "score"} else list(map(str, values))
            for name, values in zip(columns, lists, strict=True)
        ]
    except (OSError, pa.ArrowException, ValueError, TypeError, KeyError) as error:
        raise unreadable(path, error, hint) from error


def read_embeddings(path: Path, items: ItemSet) -> tuple[Floats, Floats]:
    """Read the vectors of all items from a Parquet file, and scale them to length 1; unknown ids are ignored."""
    hint = "write Parquet with `id` and `vector`, lists of one common length"
    ids, vectors_nd = read_columns(path, ("id", "vector"), hint)
    row_of = {name: row for row, name in enumerate(ids)}
    wanted: Sequence[Sequence[str]] = (items.image_ids, items.text_ids)
    missing = [name for names in wanted for name in names if name not in row_of]
    if missing or len(row_of) < len(ids):
        problem = f"lacks {len(missing)} ids, such as {', '.join(missing[:NUM_NAMED])}" if missing else "repeats an id"
        raise EvaluationError(f"{path} {problem}: `hubbleclip benchmark --freeze FILE` lists what is needed")
    feat_nd = unit(vectors_nd.reshape(len(ids), -1))
    bad = first_non_finite_row(np.where((feat_nd**2).sum(axis=1, keepdims=True) > 0, feat_nd, np.nan))
    if bad is not None:
        raise EvaluationError(f"the vector of {ids[bad]} in {path} is zero or not finite: embed it again")
    images_td, texts_kd = (feat_nd[[row_of[name] for name in names]] for names in wanted)
    return images_td, texts_kd


def read_scores(path: Path, items: ItemSet) -> Floats:
    """Read a score for each pair of image and text, (t, k), from a Parquet file; pairs with unknown ids are ignored."""
    hint = "write Parquet with `image`, `text` and `score`"
    images, texts, score_n = read_columns(path, ("image", "text", "score"), hint)
    row_of = {name: row for row, name in enumerate(items.image_ids)}
    column_of = {name: column for column, name in enumerate(items.text_ids)}
    scores_tk = np.full((len(row_of), len(column_of)), np.nan)
    row_n = np.array([row_of.get(name, -1) for name in images], dtype=np.int64)
    column_n = np.array([column_of.get(name, -1) for name in texts], dtype=np.int64)
    is_known_n = (row_n >= 0) & (column_n >= 0)
    scores_tk[row_n[is_known_n], column_n[is_known_n]] = score_n[is_known_n]
    num_missing = int((~np.isfinite(scores_tk)).sum())
    if num_missing or is_known_n.sum() > scores_tk.size:
        problem = f"lacks {num_missing} of {scores_tk.size} finite scores" if num_missing else "gives a score twice"
        raise EvaluationError(
            f"{path} {problem}: give a score for each image with each text of `hubbleclip benchmark --freeze FILE`"
        )
    return scores_tk
