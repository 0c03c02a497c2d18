"""Keep copies of large files in a remote store.

The setting `store` is the URL of the remote store, such as `s3://bucket/prefix` or `file:///mnt/shared`.

Locks, unfinished files and the working copy of the catalog stay on a local disk, because a local disk is fast and
supports file locks. A finished file is sent to the store under its path relative to the profile's root. Products,
tiles, datasets, runs and reports are sent before the catalog has a row for them. The published catalog is sent last.
A file name is derived from the content or is used only once, so sending a file twice is harmless. A machine with an
empty disk can continue from the store: the machine fetches the catalog first, then the files that a stage needs.
Finished files are never removed from the store.

Only one machine at a time may write the catalog, but the store has no locks. Instead, a stage compares the local
catalog and the store's catalog, first when the stage begins and again before the local catalog is sent. The stage fails
if both catalogs have changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import file_digest, md5
from pathlib import Path
from typing import Any, BinaryIO

from hubbleclip.catalog.lock import catalog_lock
from hubbleclip.core.errors import CatalogError, CatalogLockedError, DatasetError
from hubbleclip.core.io import sync_files, write_text
from hubbleclip.core.layout import Layout
from hubbleclip.dataset.storage import RemoteStorage, service_errors

SHARDS = "*.tar"
PART_BYTES = 50 * 2**20
"""Size of the parts in which s3fs sends a large file."""


def push(layout: Layout, stored: Iterable[str]) -> None:
    """Send files to the store, and delete the local copies unless the setting `keep_local` is true."""
    if not layout.store:
        return
    ours = [path for path in dict.fromkeys(map(layout.absolute, stored)) if _is_ours(layout, path) and path.is_file()]
    _put(layout, ours)
    if not layout.keep_local:
        for path in ours:
            path.unlink(missing_ok=True)


def push_folder(layout: Layout, folder: Path) -> None:
    """Send the files of a folder that are missing in the store, or differ from the store's copy.

    JSON files are sent last, because a reader takes the JSON description of a folder as proof that all files exist.
    """
    if not layout.store:
        return
    there = _listed(layout, folder)
    new = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and _is_ours(layout, path) and not _is_sent(layout, path, there.get(layout.relative(path)))
    ]
    _put(layout, [path for path in new if path.suffix != ".json"])
    _put(layout, [path for path in new if path.suffix == ".json"])


def pull(layout: Layout, stored: Iterable[str]) -> list[Path]:
    """Fetch from the store those files that the local disk does not have, and return their paths."""
    if not layout.store:
        return []
    paths = dict.fromkeys(map(layout.absolute, stored))
    missing = [path for path in paths if _is_ours(layout, path) and not path.is_file()]
    try:
        _get(layout, missing)
    except FileNotFoundError:
        there = {name for folder in {path.parent for path in missing} for name in _listed(layout, folder)}
        missing = [path for path in missing if layout.relative(path) in there]
        _get(layout, missing)
    return missing


@contextmanager
def local_files(layout: Layout, stored: Iterable[str]) -> Iterator[None]:
    """Keep files on the local disk during a `with` block.

    Missing files are fetched from the store. Unless the setting `keep_local` is true, the fetched files are deleted
    afterwards.
    """
    pulled = pull(layout, stored)
    try:
        yield
    finally:
        for path in [] if layout.keep_local else pulled:
            path.unlink(missing_ok=True)


def send_to_store(layout: Layout, path: Path) -> None:
    """Send a file to the store, where another machine gets it by `collect_from_store`, and delete the local copy."""
    _put(layout, [path])
    path.unlink()


def collect_from_store(layout: Layout, paths: Sequence[Path]) -> None:
    """Fetch files that other machines sent by `send_to_store`, and delete these files from the store."""
    if not paths:
        return  # S3 refuses to delete an empty list of files
    _get(layout, paths)
    with service_errors(layout.store):
        _files(layout).rm([_address(layout, path) for path in paths])


def pull_folder(layout: Layout, folder: Path, pattern: str = "*", without: str = "") -> None:
    """Fetch from the store the files of a folder that match `pattern` and do not match `without`."""
    if layout.store:
        names = map(Path, _listed(layout, folder))
        pull(layout, [str(name) for name in names if name.match(pattern) and not (without and name.match(without))])


def pull_datasets(layout: Layout, newest: Path | None) -> None:
    """Fetch the descriptions of all datasets, and the shards of the newest dataset.

    A shard that the newest dataset shares with an older dataset is fetched from the older dataset's folder.
    """
    pull_folder(layout, layout.datasets, without=SHARDS)
    if layout.store and newest:
        from hubbleclip.dataset.manifest import read_description  # noqa: PLC0415 - a check for pending work must not import Parquet

        shards = read_description(newest)["shards"]
        homes = [newest.with_name(shard["home_digest"] or newest.name) / shard["shard"] for shard in shards]
        pull(layout, map(layout.relative, homes))


def pull_runs(layout: Layout, *whole: Path | None) -> None:
    """Fetch the JSON files of all runs, and all files of the runs in `whole`."""
    pull_folder(layout, layout.runs, "*.json")
    for run_dir in filter(None, whole):
        pull_folder(layout, run_dir)


@contextmanager
def synchronised_catalog(layout: Layout) -> Iterator[None]:
    """Fetch the catalog from the store before a `with` block, and send it back after the block."""
    pull_catalog(layout)
    yield
    push_catalog(layout)


def pull_catalog(layout: Layout) -> None:
    """Fetch the catalog if another machine has changed it since the last synchronisation, or if it is missing here.

    If another process is writing the local catalog, nothing is fetched, because that process has already synchronised
    the catalog.
    """
    if not layout.store:
        return
    known = _known(layout)["there"] if layout.catalog.exists() else None
    if (there := _version(layout)) in (None, known):
        return
    try:
        with catalog_lock(layout):
            if layout.catalog.exists() and _stamp(layout.catalog) != _known(layout)["here"]:
                raise _diverged(layout)
            for path in layout.root.glob(f"{layout.working_catalog.name}*"):
                path.unlink()
            _get(layout, [layout.catalog])
            _note(layout, there, _stamp(layout.catalog))
    except CatalogLockedError:
        return


def push_catalog(layout: Layout) -> None:
    """Send the published catalog to the store if it has changed.

    If the store has no catalog yet, all files of the profile are sent first, because they may have been written before
    `store` was set.
    """
    if not layout.store or _stamp(layout.catalog) == _known(layout)["here"]:
        return
    there = _version(layout)
    if there != _known(layout)["there"]:
        raise _diverged(layout)
    if there is None:
        for folder in (layout.products, layout.tiles, layout.datasets, layout.runs, layout.reports):
            push_folder(layout, folder)
    held = layout.catalog.with_name(f".{layout.catalog.name}.{os.getpid()}.held")
    held.unlink(missing_ok=True)  # a killed process with the same process id may have left this file
    held.hardlink_to(layout.catalog)
    try:
        files, address = _files(layout), _address(layout, layout.catalog)
        with service_errors(address):
            files.put_file(str(held), f"{address}.new")
            files.mv(f"{address}.new", address)
        _note(layout, _version(layout), _stamp(held))
    finally:
        held.unlink()


def _diverged(layout: Layout) -> CatalogError:
    return CatalogError(
        f"{_address(layout, layout.catalog)} and the local catalog have both changed since they were "
        f"synchronised: move {layout.root / 'catalog.*'} away and run again; "
        "work that is recorded only in the local catalog is repeated"
    )


def _is_ours(layout: Layout, path: Path) -> bool:
    """Return whether a file is below the profile's root and finished; names of unfinished files begin with a dot."""
    return path.is_relative_to(layout.root) and not any(p.startswith(".") for p in path.relative_to(layout.root).parts)


def _files(layout: Layout) -> Any:
    files = RemoteStorage(layout.store.partition("://")[0]).filesystem()
    files.invalidate_cache()
    return files


def _address(layout: Layout, path: Path) -> str:
    return f"{layout.store}/{layout.relative(path)}"


def _put(layout: Layout, paths: Sequence[Path]) -> None:
    if not paths:
        return
    try:
        with service_errors(layout.store):
            _files(layout).put([str(path) for path in paths], [_address(layout, path) for path in paths])
    except FileNotFoundError as error:
        raise DatasetError(f"{layout.store} cannot be written ({error}): make the bucket first") from error


def _get(layout: Layout, paths: Sequence[Path]) -> None:
    """Download files from the store; a file appears under its own name only after it is complete."""
    parts = [path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in paths]
    try:
        if paths:
            with service_errors(layout.store):
                _files(layout).get([_address(layout, path) for path in paths], [str(part) for part in parts])
        sync_files(parts)
        for part, path in zip(parts, paths, strict=True):
            part.replace(path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def _is_sent(layout: Layout, path: Path, there: dict[str, Any] | None) -> bool:
    """Return whether the store's copy has the same content as a local file; a false negative costs only an upload.

    On S3, the ETags are compared. The ETag of a file is its MD5 digest. If the file was sent in parts, the ETag is the
    MD5 digest of the MD5 digests of all parts. In other stores, the contents are compared.
    """
    if there is None or there["size"] != path.stat().st_size:
        return False
    etag = str(there.get("ETag", "")).strip('"')
    with path.open("rb") as file:
        if etag:
            return etag == (_digest_of_parts(file) if "-" in etag else file_digest(file, "md5").hexdigest())
        with _files(layout).open(_address(layout, path)) as other:
            return file_digest(file, "sha256").digest() == file_digest(other, "sha256").digest()


def _digest_of_parts(file: BinaryIO) -> str:
    """Compute the ETag that S3 assigns to a file that s3fs has sent in parts."""
    digests = [md5(part, usedforsecurity=False).digest() for part in iter(partial(file.read, PART_BYTES), b"")]
    return f"{md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"


def _listed(layout: Layout, folder: Path) -> dict[str, dict[str, Any]]:
    """Return size, ETag etc. of each file below a folder of the store, by path relative to the profile's root."""
    files, root = _files(layout), _address(layout, folder)
    with service_errors(root):
        found = files.find(root, detail=True)
    skipped = len(_path_in(files, layout.store)) + 1
    return {_path_in(files, address)[skipped:]: info for address, info in found.items()}


def _path_in(files: Any, address: str) -> str:
    """Return an address without its protocol, as the file system library (fsspec) writes addresses."""
    return str(files.unstrip_protocol(address)).partition("://")[2]


def _version(layout: Layout) -> str | None:
    """Return a string that changes whenever the catalog in the store is written; None when the store has no catalog."""
    address = _address(layout, layout.catalog)
    try:
        with service_errors(address):
            info = _files(layout).info(address)
    except FileNotFoundError:
        return None
    return f"{info['size']} {info.get('ETag') or info['mtime']}"


def _stamp(path: Path) -> str:
    return f"{path.stat().st_size} {path.stat().st_mtime_ns}"


def _known(layout: Layout) -> dict[str, str | None]:
    """Return the versions that the catalog in the store and the local catalog had at the last synchronisation."""
    path = layout.remote_state
    known: dict[str, str | None] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return known if known.get("store") == layout.store else {"there": None, "here": None}


def _note(layout: Layout, there: str | None, here: str) -> None:
    write_text(layout.remote_state, json.dumps({"store": layout.store, "there": there, "here": here}) + "\n")
