"""Write metadata files that make a dataset usable by other programs, and upload the dataset to public storage."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa

from hubbleclip.core.io import locked, sha256_file, write_bytes
from hubbleclip.dataset.card import LICENCE_FILE, dataset_card, notice_lines, shard_paths
from hubbleclip.dataset.croissant import croissant_metadata
from hubbleclip.dataset.hats_catalog import sky_index, write_hats_catalog, write_pictures
from hubbleclip.dataset.manifest import DESCRIPTION, MANIFEST, DatasetInfo, Row, read_dataset
from hubbleclip.dataset.shard_writer import canonical_json, image_key
from hubbleclip.dataset.storage import DATASETS, Storage, commit_to_hub, file_address, open_storage

log = logging.getLogger(__name__)

CARD, INVESTIGATORS = "README.md", "investigators.txt"
CROISSANT, SKY_CATALOG, SKY_PICTURES = "croissant.json", "sky", "sky-pictures"


def write_metadata(folder: Path, description: Row, manifest: pa.Table) -> None:
    """Write the dataset card, licences, investigators, Croissant metadata and HATS catalogue into a dataset folder.

    The files are durable only after the caller has synced them with `sync_files`.
    """
    write_bytes(folder / CARD, _card(description, manifest, folder), is_synced=False)
    write_bytes(folder / LICENCE_FILE, _licence(description), is_synced=False)
    names = sorted(manifest["pi"].drop_null().unique().to_pylist())
    write_bytes(folder / INVESTIGATORS, "".join(f"{name}\n" for name in names).encode(), is_synced=False)
    metadata = croissant_metadata(description, sha256_file(folder / MANIFEST))
    write_bytes(folder / CROISSANT, canonical_json(metadata) + b"\n", is_synced=False)
    if (index := sky_index(manifest)).num_rows:
        write_hats_catalog(folder / SKY_CATALOG, index, _sky_name(description["digest"]))


def _card(description: Row, manifest: pa.Table, place: Path, folder: str = "") -> bytes:
    """Return the card of the dataset in folder `place`; `folder` is the prefix of the file paths in the card."""
    (first, *_), *_ = shard_paths(description).values()
    return dataset_card(description, manifest, image_key(place / first), folder).encode()


def _licence(description: Row) -> bytes:
    """Write the licences and attributions of a dataset."""
    return f"{notice_lines(description['notices'])}\n".encode()


def publish(dataset_dir: Path, url: str, *, has_pictures: bool = False) -> str:
    """Upload a dataset to `<url>/<digest>/`, and the shards that it reuses to `<url>/<digest of the older dataset>/`.

    If `has_pictures`, a HATS catalogue with pictures is uploaded too. The catalogue is first written to temporary
    files, which need as much disk space as the shards. The description is uploaded last, so that readers do not accept
    an incomplete upload as a dataset. Files that were uploaded before are skipped, so that an interrupted upload can be
    resumed. On the Hugging Face hub, all files are uploaded in one commit, with an additional dataset card for the root
    folder of the repository. This function does not verify the dataset; the caller must do so first.
    """
    info, root = read_dataset(dataset_dir), url.rstrip("/")
    # The remote layout equals the local layout, so that relative paths to the shards of older datasets stay valid.
    files = {
        f"{shard['home_digest'] or info.digest}/{shard['shard']}": Path(info.addresses[shard["shard"]])
        for shard in info.description["shards"]
    }
    folder = dataset_dir.parent / f".{SKY_PICTURES}-{info.digest}"
    # the lock prevents another process from removing the temporary files in `folder`
    with locked(folder) if has_pictures else nullcontext():
        if has_pictures:
            shutil.rmtree(folder, ignore_errors=True)  # a process that was killed may have left files
            write_pictures(folder, info, f"{_sky_name(info.digest)}-pictures")
            written = sorted(path for path in folder.rglob("*") if path.is_file())
            files |= {f"{info.digest}/{SKY_PICTURES}/{path.relative_to(folder).as_posix()}": path for path in written}
        # the description is last and marks the dataset as complete
        for name in (*info.description["files"], DESCRIPTION):
            files[f"{info.digest}/{name}"] = Path(file_address(info.path, name))
        try:
            _upload(files, info, root)
        finally:
            if has_pictures:
                shutil.rmtree(folder, ignore_errors=True)
    return f"{root}/{info.digest}"


def _upload(files: Mapping[str, Path], info: DatasetInfo, root: str) -> None:
    """Upload files of a dataset to a URL; `files` maps each name below the URL to a local path."""
    if root.startswith(DATASETS):
        description = dict(info.description)
        card = _card(description, info.manifest, Path(info.path), folder=f"{info.digest}/")
        commit_to_hub(root, {**files, CARD: card, LICENCE_FILE: _licence(description)}, f"Dataset {info.digest}")
        return
    storage = open_storage(root)
    num_sent = sum(_send(storage, source, f"{root}/{name}") for name, source in files.items())
    log.info("published %s/%s: %d files were uploaded", root, info.digest, num_sent)


def _sky_name(digest: str) -> str:
    """Return the name of the HATS catalogue of a dataset."""
    return f"hubbleclip-{digest[:12]}"


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
