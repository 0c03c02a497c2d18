"""Send files to a repository of the Hugging Face hub."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from hubbleclip.core.errors import DatasetError
from hubbleclip.dataset.storage import service_errors

log = logging.getLogger(__name__)

HUB, DATASETS = "hf://", "hf://datasets/"
TOKEN, ENDPOINT = "HF_TOKEN", "HF_ENDPOINT"
"""Environment variables of huggingface_hub: an access token, and the address of another hub."""


def commit_to_hub(url: str, files: Mapping[str, Path | bytes], message: str) -> str:
    """Send files, by name, in one commit to `hf://datasets/owner/name`, or to the models' `hf://owner/name`.

    A repository that does not exist is created. Large files that a failed commit has sent are not sent again.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token  # noqa: PLC0415 - takes 1 s
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415

    token = os.environ.get(TOKEN) or get_token()
    if not token:
        raise DatasetError(f"{url} needs an access token of the hub: set {TOKEN}, or run hf auth login")
    kind, prefix = ("dataset", DATASETS) if url.startswith(DATASETS) else ("model", HUB)
    hub, name = HfApi(endpoint=os.environ.get(ENDPOINT), token=token), url.removeprefix(prefix)
    added = [CommitOperationAdd(path, source) for path, source in files.items()]
    try:
        with service_errors(url):
            if not hub.repo_exists(name, repo_type=kind):
                hub.create_repo(name, repo_type=kind)
            done = hub.create_commit(name, added, commit_message=message, repo_type=kind)
    except HFValidationError as error:
        raise DatasetError(f"{url} is no address of a repository ({error}): write {prefix}owner/name") from error
    log.info("published %s: %s", url, done.commit_url)
    return str(done.repo_url)
