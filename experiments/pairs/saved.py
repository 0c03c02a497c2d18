"""Save a trained matcher with the pictures that it was trained on, and find pictures for a text with it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from experiments.pairs.alignment import Alignment, Words
from experiments.pairs.frozen_features import Floats, text_features
from hubbleclip.core.errors import DatasetError
from hubbleclip.core.io import write_bytes
from hubbleclip.training.models.builder import LoadedModel

MATCHER = "matcher.npz"
ARRAYS = tuple(one.name for one in fields(Alignment) if one.name != "words")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SavedMatcher:
    """A trained alignment, and the names (n) and embedded features (n, k) of the pictures that can be found with it."""

    alignment: Alignment
    names: tuple[str, ...]
    pictures_nk: Floats


def save_matcher(path: Path, saved: SavedMatcher) -> None:
    """Write a matcher to a file."""
    words = saved.alignment.words.weights
    arrays = {name: getattr(saved.alignment, name) for name in ARRAYS}
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        **arrays,
        words=np.array(list(words), dtype=np.str_),
        weights=np.array(list(words.values())),
        names=np.array(saved.names, dtype=np.str_),
        pictures_nk=saved.pictures_nk,
    )
    write_bytes(path, buffer.getvalue())


def read_matcher(path: Path) -> SavedMatcher:
    """Read a matcher that `save_matcher` wrote."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            words = Words(weights=dict(zip(stored["words"].tolist(), stored["weights"].tolist(), strict=True)))
            return SavedMatcher(
                alignment=Alignment(words=words, **{name: stored[name] for name in ARRAYS}),
                names=tuple(stored["names"].tolist()),
                pictures_nk=stored["pictures_nk"],
            )
    except (OSError, KeyError, ValueError) as error:
        raise DatasetError(
            f"{path} is not a trained matcher ({error}): run `python -m experiments.pairs` on the folder"
        ) from error


def find_pictures(saved: SavedMatcher, loaded: LoadedModel, texts: Sequence[str], num_pictures: int) -> list[list[str]]:
    """Find the pictures that match texts best."""
    scores_qn = saved.alignment.embed_texts(texts, text_features(loaded, texts)) @ saved.pictures_nk.T
    best_qk = np.argsort(-scores_qn, axis=1, kind="stable")[:, :num_pictures]
    return [[saved.names[row] for row in best_k] for best_k in best_qk]
