"""Turn a picture into the input of the model in this folder. This file needs NumPy and Pillow only.

Tiles are shrunk by averaging over areas, as in training. open_clip's own transform shrinks by bicubic interpolation,
which gives other features for a tile that is larger than the input of the model.
"""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

CONFIG = Path(__file__).with_name("open_clip_config.json")


def preprocess(image: Image.Image, config_path: Path = CONFIG) -> npt.NDArray[np.float32]:
    """Convert a picture to grey, resize it to a square, and normalise it."""
    config = json.loads(config_path.read_text(encoding="utf-8"))["preprocess_cfg"]
    size = config["size"]
    grey = image.convert("L")
    if grey.size != (size, size):
        kernel = Image.Resampling.BOX if min(grey.size) >= size else Image.Resampling.BICUBIC
        grey = grey.resize((size, size), kernel)
    levels_yx = np.asarray(grey, np.float32) / np.float32(255)
    mean, std = (np.array(config[name], np.float32)[:, None, None] for name in ("mean", "std"))
    normalised: npt.NDArray[np.float32] = (levels_yx - mean) / std
    return normalised
