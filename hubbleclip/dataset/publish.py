"""Metadata files that make a dataset usable by other programs, and its upload to a public place."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa

from hubbleclip.core.io import sha256_file, write_bytes
from hubbleclip.dataset.manifest import DESCRIPTION, MANIFEST, Row, read_dataset, write_table
from hubbleclip.dataset.metadata.card import dataset_card
from hubbleclip.dataset.metadata.croissant import croissant_metadata
from hubbleclip.dataset.metadata.sky_index import sky_index
from hubbleclip.dataset.shard_writer import canonical_json
from hubbleclip.dataset.storage import Storage, open_storage

log = logging.getLogger(__name__)

CARD, CROISSANT, SKY_INDEX = "README.md", "croissant.json", "sky.parquet"


def write_metadata(folder: Path, description: Row, manifest: pa.Table) -> None:
    """Write the card, the Croissant metadata and the sky index into a dataset folder, not yet synced to disk.

    Parameters
    ----------
    folder
        Dataset under construction; its manifest is already written.
    description
        See `card.dataset_card` and `croissant.croissant_metadata`.
    manifest
        One row per sample.

    """
    write_bytes(folder / CARD, dataset_card(description, manifest).encode(), is_synced=False)
    metadata = croissant_metadata(description, sha256_file(folder / MANIFEST))
    write_bytes(folder / CROISSANT, canonical_json(metadata) + b"\n", is_synced=False)
    write_table(folder / SKY_INDEX, sky_index(manifest))


def publish(dataset_dir: Path, url: str) -> str:
    """Upload a dataset to `<url>/<digest>/`, and the shards of its parents to their own folders.

    The description is uploaded last, so that an incomplete upload is not a dataset. Existing files are not uploaded
    again, so that an interrupted publication can be resumed. Verify the dataset first: its bytes are uploaded as they
    are.

    Parameters
    ----------
    dataset_dir
        Local dataset.
    url
        Folder or fsspec URL of all published datasets.

    Returns
    -------
    str
        Address of the published dataset.

    """
    info, storage, root = read_dataset(dataset_dir), open_storage(url), url.rstrip("/")
    address = f"{root}/{info.digest}"
    num_sent = 0
    for shard in info.description["shards"]:
        # The same layout as the local folder, so that the relative paths of older shards stay valid.
        target = f"{root}/{shard['home_digest'] or info.digest}/{shard['shard']}"
        num_sent += _send(storage, Path(info.addresses[shard["shard"]]), target)
    for name in (*info.description["files"], DESCRIPTION):  # the description last: it declares the dataset complete
        num_sent += _send(storage, Path(info.path) / name, f"{address}/{name}")
    log.info("published %s: %d files sent", address, num_sent)
    return address


def _send(storage: Storage, source: Path, target: str) -> bool:
    """Upload a file unless one of the same size exists at the target; whether it was uploaded."""
    try:
        if storage.size_bytes(target) == source.stat().st_size:  # enough, because files of a dataset never change
            return False
    except FileNotFoundError:
        pass
    storage.upload(source, target)
    return True
