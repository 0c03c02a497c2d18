"""Upload an exported model to a folder, an object store or the Hugging Face hub."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from hubbleclip.config.model import OPEN_CLIP_CONFIG
from hubbleclip.core.errors import TrainingError
from hubbleclip.dataset.storage import open_storage, service_errors
from hubbleclip.training.models.trained_model import load_folder

log = logging.getLogger(__name__)

HUB = "hf://"
TOKEN, ENDPOINT = "HF_TOKEN", "HF_ENDPOINT"
"""Environment variables of huggingface_hub: an access token, and the address of another hub."""


def publish_model(folder: Path, url: str) -> str:
    """Load an exported model as a check, then upload its files."""
    if not (folder / OPEN_CLIP_CONFIG).is_file():
        raise TrainingError(f"{folder} is no exported model: run `hubbleclip export RUN {folder}` first")
    load_folder(folder)
    if url.startswith(HUB):
        return _publish_to_hub(folder, url)
    storage, address = open_storage(url), url.rstrip("/")
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != OPEN_CLIP_CONFIG)
    for path in (*files, folder / OPEN_CLIP_CONFIG):  # last, because readers accept a folder that has it
        storage.upload(path, f"{address}/{path.name}")
    log.info("published %s: %d files were uploaded", address, len(files) + 1)
    return address


def _publish_to_hub(folder: Path, url: str) -> str:
    """Upload all files to a model repository, which is created if it does not exist."""
    from huggingface_hub import HfApi  # noqa: PLC0415 - takes 1 s, and only the hub needs it
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415

    token = os.environ.get(TOKEN)
    if not token:
        raise TrainingError(f"{url} needs an access token of the hub: set {TOKEN}")
    hub, name = HfApi(endpoint=os.environ.get(ENDPOINT), token=token), url.removeprefix(HUB)
    try:
        with service_errors(url):
            if not hub.repo_exists(name):
                hub.create_repo(name)
            done = hub.upload_folder(repo_id=name, folder_path=folder, commit_message="Upload a model of hubbleclip")
    except HFValidationError as error:
        raise TrainingError(f"{url} is no address of a repository ({error}): write hf://owner/name") from error
    log.info("published %s: %s", url, done.commit_url)
    return str(done.repo_url)
