"""Text search over every tile of a dataset, with the features that a report keeps."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from hubbleclip.core.errors import EvaluationError
from hubbleclip.dataset.build import read_dataset
from hubbleclip.evaluation.embed import embed_texts
from hubbleclip.evaluation.metrics.phrases import nearest
from hubbleclip.evaluation.metrics.retrieval import Floats
from hubbleclip.training.checkpoints import load_run_model

COLUMNS = ("tile_id", "proposal_id", "split", "title", "target_name", "target_class", "instrument", "filter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A tile that a text found; `score` is the cosine similarity."""

    tile_id: str
    score: float
    proposal_id: str
    split: str
    title: str
    target: str | None
    target_class: str | None
    instrument: str | None
    filter: str | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embeddings:
    """Features (n, d) of length 1 of the tiles `tile_ids`, made by one run from one dataset."""

    tile_ids: tuple[str, ...]
    feat_nd: Floats
    dataset_digest: str
    run_id: str


def read_embeddings(report_dir: Path) -> Embeddings:
    """Embeddings of a report. Raises EvaluationError when it has none."""
    path = report_dir / "embeddings.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Embeddings(
                tile_ids=tuple(arrays["tile_id"].tolist()), feat_nd=arrays["feat_nd"].astype(np.float64),
                dataset_digest=str(arrays["dataset_digest"]), run_id=str(arrays["run_id"]),
            )  # fmt: skip
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise EvaluationError(f"{path} cannot be read: run `hubbleclip evaluate` first") from error


def search(text: str, dataset_dir: Path, run_dir: Path, report_dir: Path, k: int) -> list[Hit]:
    """The `k` tiles of all splits nearest to a text, best first; a long text counts with all its sentences.

    Raises EvaluationError when the text is empty or the report belongs to another dataset.
    """
    if not text.strip() or k < 1:
        raise EvaluationError("search needs some text and k of at least 1")
    info = read_dataset(dataset_dir)
    embeddings = read_embeddings(report_dir)
    if embeddings.dataset_digest != info.digest:
        raise EvaluationError(f"report {report_dir.name} is of another dataset: run `hubbleclip evaluate` again")
    query_qd = embed_texts(load_run_model(run_dir), [text], batch_size=64)
    matches = nearest(query_qd, embeddings.feat_nd, k)[0]
    found = [embeddings.tile_ids[match.index] for match in matches]
    table = info.manifest.select(COLUMNS).filter(pc.field("tile_id").isin(found))
    rows = {row["tile_id"]: row for row in table.to_pylist()}
    hits = []
    for tile_id, match in zip(found, matches, strict=True):
        row = rows[tile_id]
        hits.append(Hit(target=row.pop("target_name"), score=round(match.score, 6), **row))
    return hits
