"""Search the tiles of a dataset by text, with the image features that an evaluation report stores."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from hubbleclip.core.errors import EvaluationError
from hubbleclip.dataset.build import read_dataset
from hubbleclip.evaluation.embed import embed_texts
from hubbleclip.evaluation.metrics.retrieval import Floats
from hubbleclip.evaluation.metrics.vocabulary import find_nearest
from hubbleclip.training.checkpoints import load_run_model

COLUMNS = ("tile_id", "proposal_id", "split", "title", "target_name", "target_class", "instrument", "filter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A tile that a search found; `score` is the cosine similarity of the tile and the query, in [-1, 1]."""

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
    """Features (n, d) of the tiles `tile_ids` of one dataset, by the model of one run; each row has length 1."""

    tile_ids: tuple[str, ...]
    feat_nd: Floats
    dataset_digest: str
    run_id: str


def read_embeddings(report_dir: Path) -> Embeddings:
    """Read the tile embeddings that an evaluation report stores.

    Parameters
    ----------
    report_dir : Path
        Folder of the report, which contains `embeddings.npz`.

    Returns
    -------
    Embeddings
        Embeddings of the tiles of all splits; the features are float64.

    Raises
    ------
    EvaluationError
        If the file is missing or damaged.

    """
    path = report_dir / "embeddings.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:  # loading pickled objects could run arbitrary code
            return Embeddings(
                tile_ids=tuple(arrays["tile_id"].tolist()), feat_nd=arrays["feat_nd"].astype(np.float64),
                dataset_digest=str(arrays["dataset_digest"]), run_id=str(arrays["run_id"]),
            )  # fmt: skip
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise EvaluationError(f"{path} cannot be read: run `hubbleclip evaluate` first") from error


def search(text: str, dataset_dir: Path, run_dir: Path, report_dir: Path, k: int) -> list[Hit]:
    """Find the tiles of all splits that are nearest to a text.

    Parameters
    ----------
    text : str
        Query of any length; every sentence of a long query is used.
    dataset_dir : Path
        Folder of the dataset that was embedded.
    run_dir : Path
        Folder of the run whose model embeds the query; the report must belong to the same run.
    report_dir : Path
        Folder of the evaluation report that stores the embeddings of the tiles.
    k : int
        Maximum number of hits; at least 1.

    Returns
    -------
    list of Hit
        At most `k` hits, best first.

    Raises
    ------
    EvaluationError
        If the text is empty, `k` is below 1, or the report has no embeddings or belongs to another dataset.

    """
    if not text.strip() or k < 1:
        raise EvaluationError(
            f"cannot search for {text!r} with k = {k}: give a text that is not empty, and k of at least 1"
        )
    info = read_dataset(dataset_dir)
    embeddings = read_embeddings(report_dir)  # the model that made these also embeds the query
    if embeddings.dataset_digest != info.digest:
        raise EvaluationError(f"report {report_dir.name} belongs to another dataset: run `hubbleclip evaluate` again")
    query_qd = embed_texts(load_run_model(run_dir), [text], batch_size=64)
    matches = find_nearest(query_qd, embeddings.feat_nd, k)[0]
    tile_ids = [embeddings.tile_ids[match.index] for match in matches]
    table = info.manifest.select(COLUMNS).filter(pc.field("tile_id").isin(tile_ids))
    rows = {row["tile_id"]: row for row in table.to_pylist()}  # by id: the table is not in the order of the hits
    hits = []
    for tile_id, match in zip(tile_ids, matches, strict=True):
        row = rows[tile_id]
        hits.append(Hit(target=row.pop("target_name"), score=round(match.score, 6), **row))
    return hits
