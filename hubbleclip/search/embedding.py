"""Embed the terms of a search: texts, pictures, FITS files. The model is loaded once, when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import UnidentifiedImageError

from hubbleclip.core.errors import ImageError, SearchError
from hubbleclip.core.layout import product_suffix
from hubbleclip.core.vectors import unit

if TYPE_CHECKING:
    from hubbleclip.config.tiles import TileSettings
    from hubbleclip.search.embedding_process import TextsAhead
    from hubbleclip.search.stores.base import Floats
    from hubbleclip.training.models.builder import LoadedModel

TEXT_BATCH = 64
CACHED_TEXTS = 1024
"""Number of texts whose features are cached, because the next page of a search needs the same features."""
FITS_START, GZIP_START = b"SIMPLE  =", b"\x1f\x8b"
FITS_SUFFIXES = (".fits", ".fits.gz", ".fit", ".fit.gz")


class QueryModel:
    """The model of a run, which embeds texts and images; any number of threads may use it.

    Parameters
    ----------
    run_dir
        Folder of the run.
    precision
        Precision of the weights: `fp32`, `bf16` or `auto`.

    Attributes
    ----------
    ahead
        Texts that another process embeds; `embed_text` takes their features from that process.

    """

    def __init__(self, run_dir: Path, precision: str = "fp32") -> None:
        self.run_dir = run_dir
        self.precision = precision
        self._lock = threading.Lock()
        self._loaded: LoadedModel | None = None
        self.ahead: TextsAhead | None = None
        self.embed_text = lru_cache(CACHED_TEXTS)(self._embed_text)

    def load(self) -> LoadedModel:
        """Load the model unless it is loaded."""
        with self._lock:
            if self._loaded is None:
                from hubbleclip.training.checkpoints import load_run_model  # noqa: PLC0415
                from hubbleclip.training.embeddings import prepare_for_embedding  # noqa: PLC0415 - imports torch: seconds

                self._loaded = prepare_for_embedding(load_run_model(self.run_dir), self.precision)
            return self._loaded

    @property
    def is_loaded(self) -> bool:
        """Whether the model is loaded."""
        return self._loaded is not None

    def _embed_text(self, text: str) -> Floats:
        """Embed a text of any length; `embed_text` is the cached version of this method."""
        if self.ahead and text in (known := self.ahead.features):
            return known[text]
        from hubbleclip.training.embeddings import embed_texts  # noqa: PLC0415 - imports torch: seconds

        return np.asarray(embed_texts(self.load(), [text], TEXT_BATCH)[0], np.float32)

    def decode(self, encoded: bytes) -> npt.NDArray[np.uint8]:
        """Decode a tile or picture at the size of the model's input."""
        from hubbleclip.dataset.reader import decode_resized  # noqa: PLC0415 - a search by text needs no pictures

        return decode_resized(encoded, self.load().image_size)

    def embed_images(self, images: Sequence[npt.NDArray[np.uint8]]) -> Floats:
        """Embed pictures."""
        import torch  # noqa: PLC0415 - takes seconds

        model = self.load()
        if not len(images):
            return np.empty((0, 0), np.float32)
        return np.asarray(model.encode_images(torch.from_numpy(np.stack(images)[:, None])).numpy())

    def embed_file(self, path: Path, settings: TileSettings) -> Floats:
        """Embed a picture, or a FITS file as the normalised mean of the features of its tiles."""
        try:
            images = [self.decode(encoded) for encoded in _pictures(path, settings)]
        except ImageError as error:
            raise SearchError(f"{path.name} gives no tile: {error}") from error
        except MemoryError as error:
            raise SearchError(f"{path.name} needs more memory than there is: search with a smaller file") from error
        except UnidentifiedImageError as error:  # the text of this error has an address in memory
            raise SearchError(f"{path.name} is no readable PNG, JPEG or FITS file") from error
        except (OSError, SyntaxError, ValueError) as error:
            detail = " ".join(str(error).split())
            raise SearchError(f"{path.name} is no readable PNG, JPEG or FITS file ({detail})") from error
        return np.asarray(unit(self.embed_images(images).astype(np.float64).sum(axis=0)), np.float32)


def _pictures(path: Path, settings: TileSettings) -> list[bytes]:
    """Read a picture as it is, or cut a FITS file into tiles."""
    with path.open("rb") as file:
        start = file.read(len(FITS_START))
    if not start.startswith((FITS_START, GZIP_START)):
        return [path.read_bytes()]
    from hubbleclip.images.tiling import tile_file  # noqa: PLC0415 - compiles kernels: seconds

    suffix = ".fits.gz" if start.startswith(GZIP_START) else ".fits"
    name = path.name if product_suffix(path.name) in FITS_SUFFIXES else f"{path.name}{suffix}"
    found = tile_file(path, settings=settings, file_name=name)
    if not found.tiles:
        reasons = ", ".join(dict.fromkeys(one.reason for one in found.rejections))
        raise SearchError(f"{path.name} gives no tile: {reasons or 'it has no image'}")
    return [tile.encoded for tile in found.tiles]
