"""Upload an exported model to a folder, an object store or the Hugging Face hub."""

from __future__ import annotations

import logging
from pathlib import Path

from hubbleclip.config.model import OPEN_CLIP_CONFIG
from hubbleclip.core.errors import TrainingError
from hubbleclip.dataset.storage import HUB, commit_to_hub, open_storage
from hubbleclip.training.models.trained_model import load_folder

log = logging.getLogger(__name__)


def publish_model(folder: Path, url: str) -> str:
    """Load an exported model as a check, then upload its files."""
    if not (folder / OPEN_CLIP_CONFIG).is_file():
        raise TrainingError(f"{folder} is no exported model: run `hubbleclip export RUN {folder}` first")
    load_folder(folder)
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != OPEN_CLIP_CONFIG)
    files.append(folder / OPEN_CLIP_CONFIG)  # the configuration is last, because readers accept a folder that has it
    if url.startswith(HUB):
        return commit_to_hub(url, {path.name: path for path in files}, "Upload a model of hubbleclip")
    storage, address = open_storage(url), url.rstrip("/")
    for path in files:
        storage.upload(path, f"{address}/{path.name}")
    log.info("published %s: %d files were uploaded", address, len(files))
    return address
