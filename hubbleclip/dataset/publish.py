"""What others need to use a dataset, and its way to where they find it."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa

from hubbleclip.core.io import sha256_file, write_bytes
from hubbleclip.dataset.manifest import DESCRIPTION, MANIFEST, Row, read_dataset, write_table
from hubbleclip.dataset.metadata.card import card
from hubbleclip.dataset.metadata.croissant import croissant
from hubbleclip.dataset.metadata.sky_index import sky_index
from hubbleclip.dataset.shard_writer import canonical_json
from hubbleclip.dataset.storage import Storage, open_storage

log = logging.getLogger(__name__)

CARD, CROISSANT, SKY_INDEX = "README.md", "croissant.json", "sky.parquet"


def write_metadata(folder: Path, description: Row, manifest: pa.Table) -> None:
    """Write card, Croissant metadata and sky index beside the shards and the manifest; to be synced with them."""
    write_bytes(folder / CARD, card(description, manifest).encode(), is_synced=False)
    metadata = croissant(description, sha256_file(folder / MANIFEST))
    write_bytes(folder / CROISSANT, canonical_json(metadata) + b"\n", is_synced=False)
    write_table(folder / SKY_INDEX, sky_index(manifest))


def publish(dataset_dir: Path, url: str) -> str:
    """Copy a dataset to `<url>/<digest>/`, and shards of older datasets that it lists to theirs; returns its address.

    The description comes last: until then nobody sees a dataset there. Files that stand there are not sent again, so
    that a broken publication goes on. Verify it first: what is published is what is here.
    """
    info, storage, root = read_dataset(dataset_dir), open_storage(url), url.rstrip("/")
    place = f"{root}/{info.digest}"
    sent = 0
    for shard in info.description["shards"]:
        target = f"{root}/{shard['home_digest'] or info.digest}/{shard['shard']}"
        sent += _send(storage, Path(info.addresses[shard["shard"]]), target)
    for name in (*info.description["files"], DESCRIPTION):
        sent += _send(storage, Path(info.path) / name, f"{place}/{name}")
    log.info("published %s: %d files sent", place, sent)
    return place


def _send(storage: Storage, source: Path, target: str) -> bool:
    """Send a file unless one of its size stands there; a dataset's files never change."""
    try:
        if storage.size_bytes(target) == source.stat().st_size:
            return False
    except FileNotFoundError:
        pass
    storage.upload(source, target)
    return True
