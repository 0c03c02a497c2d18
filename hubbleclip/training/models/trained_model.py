"""Load a trained model in one line, embed texts and pictures with the model, and publish the model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from hubbleclip.config.model import LOCAL_DIR, OPEN_CLIP_CONFIG, ModelSettings
from hubbleclip.core.errors import TrainingError
from hubbleclip.dataset.reader import GreyLevels, decode_resized, resized
from hubbleclip.dataset.storage import HUB, commit_to_hub, open_storage
from hubbleclip.training.checkpoints import load_run_model
from hubbleclip.training.embeddings import embed_texts
from hubbleclip.training.models import builder
from hubbleclip.training.models.builder import LoadedModel
from hubbleclip.training.models.model_folder import CONFIG
from hubbleclip.training.runs import RUN

log = logging.getLogger(__name__)
Item = str | Path | Image.Image | npt.NDArray[np.uint8]
"""A text, or a picture: the path of a PNG or JPEG file, a Pillow image, or grey levels (h, w)."""
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")


class TrainedModel:
    """A model that embeds texts and pictures in the same space.

    Parameters
    ----------
    loaded
        The model with its tokenizer and preprocessing; on a GPU if there is one.
    batch_size
        Items per forward pass.

    """

    def __init__(self, loaded: LoadedModel, batch_size: int = 64) -> None:
        self.loaded = loaded
        self.batch_size = batch_size

    def embed(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        """Embed texts of any length, and pictures.

        Parameters
        ----------
        items
            A `str` is a text. A `Path` is a PNG or JPEG file; a Pillow image or an array of grey levels (h, w), uint8,
            is a picture too. A picture is converted to grey and resized as in training.

        Returns
        -------
        ndarray
            Features (n, d) of length 1, in the order of the items. The product of two features is their similarity.

        Raises
        ------
        TrainingError
            If there is no item, or a picture cannot be read.

        Examples
        --------
        >>> model = load_model("exported")  # doctest: +SKIP
        >>> image_d, text_d = model.embed([Path("tile.png"), "a spiral galaxy"])  # doctest: +SKIP

        """
        if isinstance(items, str | Path) or not len(items):
            raise TrainingError("give embed a list of at least one text or picture")
        is_text = np.array([isinstance(item, str) for item in items])
        texts = [_checked_text(item) for item in items if isinstance(item, str)]
        pictures = [_grey_levels(item, self.loaded.image_size) for item in items if not isinstance(item, str)]
        parts = []
        if texts:
            parts.append(embed_texts(self.loaded, texts, self.batch_size).astype(np.float32))
        for start in range(0, len(pictures), self.batch_size):
            levels_b1hw = torch.from_numpy(np.stack(pictures[start : start + self.batch_size])[:, None])
            parts.append(self.loaded.encode_images(levels_b1hw).numpy())
        feat_nd = np.concatenate(parts)
        features: npt.NDArray[np.float32] = np.empty_like(feat_nd)
        features[np.argsort(~is_text, kind="stable")] = feat_nd  # `feat_nd` has all texts first, then the pictures
        return features


def _checked_text(text: str) -> str:
    """Return a text unchanged. Raises TrainingError if it is the name of a picture, which should be given as a path."""
    if text.lower().endswith(PICTURE_SUFFIXES):
        raise TrainingError(f"{text!r} would be embedded as words: give the picture as pathlib.Path({text!r})")
    return text


def _grey_levels(item: Path | Image.Image | npt.NDArray[np.uint8], size_px: int) -> GreyLevels:
    """Read a picture as grey levels (size_px, size_px). Raises TrainingError if the picture cannot be read."""
    try:
        if isinstance(item, Path):
            return decode_resized(item.read_bytes(), size_px)
        image = item if isinstance(item, Image.Image) else Image.fromarray(item)
        return resized(image.convert("L"), size_px)
    except (OSError, SyntaxError, ValueError, TypeError, AttributeError) as error:
        name = item if isinstance(item, Path) else type(item).__name__
        raise TrainingError(f"no picture can be read from {name} ({error}): give PNG, JPEG or uint8 levels") from error


def load_model(folder: str | Path) -> TrainedModel:
    """Load the model of a folder, on the GPU if there is one, without network access.

    Parameters
    ----------
    folder
        A folder that `hubbleclip export` wrote, any other folder in the layout of open_clip (`open_clip_config.json`
        and weights), a CLIP, SigLIP or SigLIP 2 model of transformers (`config.json` and `model.safetensors`), or the
        folder of a run.

    Returns
    -------
    TrainedModel
        The model.

    Raises
    ------
    TrainingError
        The folder has no model, or its weights are damaged.

    """
    loaded = load_folder(Path(folder))
    loaded.model.to("cuda" if torch.cuda.is_available() else "cpu")
    return TrainedModel(loaded)


def load_folder(folder: Path) -> LoadedModel:
    """Load the model of a folder on the CPU; see `load_model`."""
    if (folder / RUN).is_file():
        return load_run_model(folder)
    if any((folder / name).is_file() for name in (OPEN_CLIP_CONFIG, CONFIG)):
        return builder.load_model(ModelSettings(name=f"{LOCAL_DIR}{folder}"), seed=0)
    raise TrainingError(f"{folder} has no model: give a folder that hubbleclip export wrote, or the folder of a run")


def publish_model(folder: Path, url: str) -> str:
    """Load an exported model as a check, then upload its files to a folder, an object store or the hub."""
    if not (folder / OPEN_CLIP_CONFIG).is_file():
        raise TrainingError(f"{folder} is no exported model: run `hubbleclip export RUN {folder}` first")
    load_folder(folder)
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != OPEN_CLIP_CONFIG)
    files.append(folder / OPEN_CLIP_CONFIG)  # uploaded last: a folder that has this file counts as complete
    if url.startswith(HUB):
        return commit_to_hub(url, {path.name: path for path in files}, "Upload a model of hubbleclip")
    storage, address = open_storage(url), url.rstrip("/")
    for path in files:
        storage.upload(path, f"{address}/{path.name}")
    log.info("published %s: %d files were uploaded", address, len(files))
    return address
