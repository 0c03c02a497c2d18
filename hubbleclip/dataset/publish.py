"""Write metadata files that make a dataset usable by other programs, and upload the dataset to public storage."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa

from hubbleclip.core.io import sha256_file, write_bytes
from hubbleclip.dataset.card import dataset_card, shard_paths
from hubbleclip.dataset.croissant import croissant_metadata
from hubbleclip.dataset.hats_catalog import sky_index, write_hats_catalog
from hubbleclip.dataset.manifest import DESCRIPTION, MANIFEST, Row, read_dataset
from hubbleclip.dataset.shard_writer import canonical_json, image_key
from hubbleclip.dataset.storage import Storage, file_address, open_storage

log = logging.getLogger(__name__)

CARD, CROISSANT, SKY_CATALOG, INVESTIGATORS = "README.md", "croissant.json", "sky", "investigators.txt"


def write_metadata(folder: Path, description: Row, manifest: pa.Table) -> None:
    """Write the card, the list of investigators, the Croissant metadata and the HATS catalogue into a dataset folder.

    The files are durable only after the caller has synced them with `sync_files`.
    """
    (first, *_), *_ = shard_paths(description).values()
    card = dataset_card(description, manifest, image_key(folder / first))
    write_bytes(folder / CARD, card.encode(), is_synced=False)
    names = sorted(manifest["pi"].drop_null().unique().to_pylist())
    write_bytes(folder / INVESTIGATORS, "".join(f"{name}\n" for name in names).encode(), is_synced=False)
    metadata = croissant_metadata(description, sha256_file(folder / MANIFEST))
    write_bytes(folder / CROISSANT, canonical_json(metadata) + b"\n", is_synced=False)
    if (index := sky_index(manifest)).num_rows:
        write_hats_catalog(folder / SKY_CATALOG, index, f"hubbleclip-{description['digest'][:12]}")


def publish(dataset_dir: Path, url: str) -> str:
    """Upload a dataset to `<url>/<digest>/`, and the shards that it reuses to `<url>/<digest of the older dataset>/`.

    The description is uploaded last, so that readers do not accept an incomplete upload as a dataset. Files that were
    uploaded before are skipped, so that an interrupted publication can be resumed. This function does not verify the
    dataset; the caller must do so first.
    """
    info, storage, root = read_dataset(dataset_dir), open_storage(url), url.rstrip("/")
    address = f"{root}/{info.digest}"
    num_sent = 0
    for shard in info.description["shards"]:
        # Use the layout of the local folder, so that the relative paths to the parents' shards stay valid.
        target = f"{root}/{shard['home_digest'] or info.digest}/{shard['shard']}"
        num_sent += _send(storage, Path(info.addresses[shard["shard"]]), target)
    for name in (*info.description["files"], DESCRIPTION):  # the description is last and marks the dataset as complete
        num_sent += _send(storage, Path(file_address(info.path, name)), f"{address}/{name}")
    log.info("published %s: %d files were uploaded", address, num_sent)
    return address


def _send(storage: Storage, source: Path, target: str) -> bool:
    """Upload a file unless a file of the same size exists at the target; return whether it was uploaded."""
    try:
        # Comparing sizes is sufficient, because the files of a dataset never change.
        if storage.size_bytes(target) == source.stat().st_size:
            return False
    except FileNotFoundError:
        pass
    storage.upload(source, target)
    return True
