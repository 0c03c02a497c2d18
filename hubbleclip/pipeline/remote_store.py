"""Copies of large files behind a URL: the setting `store`, such as `s3://bucket/prefix` or `file:///mnt/shared`.

The catalog's working copy, locks and unfinished files stay on a local disk, which is fast and can lock. A finished
file is sent to the store under its name below the profile's root: products, tiles, datasets, runs and reports before
a row names them, and the published catalog after them. A name is derived from content or never reused, so sending
twice is harmless, and a machine with an empty disk continues from the store alone: the catalog first, then the files
that a stage needs. Nothing finished is ever removed from the store.

Only one machine at a time may write the catalog. The store cannot lock; that another machine has written in the
meantime is detected when a stage begins and again before it sends its catalog, and is an error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hubbleclip.catalog.catalog import catalog_lock
from hubbleclip.core.errors import CatalogError, CatalogLockedError, DatasetError
from hubbleclip.core.io import sync_files, write_text
from hubbleclip.core.layout import Layout
from hubbleclip.dataset.storage import RemoteStorage, service_errors

SHARDS = "*.tar"


def push(layout: Layout, stored: Iterable[str]) -> None:
    """Send files to the store; without `keep_local`, delete the local copies.

    Parameters
    ----------
    layout
        File names of the profile; nothing is sent without `layout.store`.
    stored
        Paths as the catalog has them. Files outside the profile's root are not sent.

    """
    if not layout.store:
        return
    ours = [path for path in dict.fromkeys(map(layout.absolute, stored)) if _is_ours(layout, path) and path.is_file()]
    _put(layout, ours)
    if not layout.keep_local:
        for path in ours:
            path.unlink(missing_ok=True)


def push_folder(layout: Layout, folder: Path) -> None:
    """Send the files of a folder that the store lacks.

    JSON descriptions go last, because they state that the other files are there.

    Parameters
    ----------
    layout
        File names of the profile.
    folder
        A folder below the profile's root.

    """
    if not layout.store:
        return
    there = _sizes(layout, folder)
    new = [
        path for path in sorted(folder.rglob("*"))
        if path.is_file() and _is_ours(layout, path) and there.get(layout.relative(path)) != path.stat().st_size
    ]  # fmt: skip
    _put(layout, [path for path in new if path.suffix != ".json"])
    _put(layout, [path for path in new if path.suffix == ".json"])


def pull(layout: Layout, stored: Iterable[str]) -> list[Path]:
    """Fetch files from the store that are not on the local disk.

    Parameters
    ----------
    layout
        File names of the profile.
    stored
        Paths as the catalog has them.

    Returns
    -------
    list of Path
        The files that were fetched; a file that the store lacks too is left to its reader.

    """
    if not layout.store:
        return []
    paths = dict.fromkeys(map(layout.absolute, stored))
    missing = [path for path in paths if _is_ours(layout, path) and not path.is_file()]
    try:
        _get(layout, missing)
    except FileNotFoundError:
        there = {name for folder in {path.parent for path in missing} for name in _sizes(layout, folder)}
        missing = [path for path in missing if layout.relative(path) in there]
        _get(layout, missing)
    return missing


@contextmanager
def local_files(layout: Layout, stored: Iterable[str]) -> Iterator[None]:
    """Files on the local disk for the duration of a `with` block; without `keep_local`, fetched ones are then deleted.

    Parameters
    ----------
    layout
        File names of the profile.
    stored
        Paths as the catalog has them.

    Yields
    ------
    None
        The files are there.

    """
    pulled = pull(layout, stored)
    try:
        yield
    finally:
        for path in [] if layout.keep_local else pulled:
            path.unlink(missing_ok=True)


def send_to_store(layout: Layout, path: Path) -> None:
    """Send an unfinished file to the store, from which another machine collects it; the local copy is deleted.

    Parameters
    ----------
    layout
        File names of the profile.
    path
        The local file.

    """
    _put(layout, [path])
    path.unlink()


def collect_from_store(layout: Layout, paths: Sequence[Path]) -> None:
    """Fetch files that other machines sent by `send_to_store`, and delete them there.

    Parameters
    ----------
    layout
        File names of the profile.
    paths
        Local paths to write.

    """
    _get(layout, paths)
    with service_errors(layout.store):
        _files(layout).rm([_address(layout, path) for path in paths])


def pull_folder(layout: Layout, folder: Path, pattern: str = "*", without: str = "") -> None:
    """Fetch the files of a folder.

    Parameters
    ----------
    layout
        File names of the profile.
    folder
        A folder below the profile's root.
    pattern
        Glob pattern that paths must match.
    without
        Glob pattern that paths must not match.

    """
    if layout.store:
        names = map(Path, _sizes(layout, folder))
        pull(layout, [str(name) for name in names if name.match(pattern) and not (without and name.match(without))])


def pull_datasets(layout: Layout, newest: Path | None) -> None:
    """Fetch the descriptions of all datasets, and the shards of the newest, wherever they are stored.

    Parameters
    ----------
    layout
        File names of the profile.
    newest
        Folder of the newest dataset, if there is one.

    """
    pull_folder(layout, layout.datasets, without=SHARDS)
    if layout.store and newest:
        from hubbleclip.dataset.manifest import read_description  # noqa: PLC0415 - a look for work needs no Parquet

        shards = read_description(newest)["shards"]
        homes = [newest.with_name(shard["home_digest"] or newest.name) / shard["shard"] for shard in shards]
        pull(layout, map(layout.relative, homes))


def pull_runs(layout: Layout, *whole: Path | None) -> None:
    """Fetch the descriptions of all runs, and all files of some.

    Parameters
    ----------
    layout
        File names of the profile.
    *whole
        Run folders of which all files are needed.

    """
    pull_folder(layout, layout.runs, "*.json")
    for run_dir in filter(None, whole):
        pull_folder(layout, run_dir)


@contextmanager
def synchronised_catalog(layout: Layout) -> Iterator[None]:
    """The published catalog equals the store's before the `with` block, and the store's equals ours after it.

    Parameters
    ----------
    layout
        File names of the profile.

    Yields
    ------
    None
        The catalog is up to date.

    """
    pull_catalog(layout)
    yield
    push_catalog(layout)


def pull_catalog(layout: Layout) -> None:
    """Fetch the store's catalog when another machine has written it since the last synchronisation.

    While another process writes the local catalog, nothing is done: that process has synchronised already.

    Parameters
    ----------
    layout
        File names of the profile.

    Raises
    ------
    CatalogError
        When both catalogs were written since.

    """
    if not layout.store or (there := _version(layout)) in (None, _known(layout)["there"]):
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
    """Send the published catalog if it has changed.

    The first time all files are sent, because they may be older than the store.

    Parameters
    ----------
    layout
        File names of the profile.

    Raises
    ------
    CatalogError
        When another machine has written the store's catalog.

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
    held.unlink(missing_ok=True)  # a killed process of the same number may have left it
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
        f"{_address(layout, layout.catalog)} and ours were both written since they were last "
        f"equal: move {layout.root / 'catalog.*'} away and run again; what only the local one records is done again"
    )


def _is_ours(layout: Layout, path: Path) -> bool:
    """Whether a file is below the root, and finished."""
    return path.is_relative_to(layout.root) and not any(p.startswith(".") for p in path.relative_to(layout.root).parts)


def _files(layout: Layout) -> Any:
    files = RemoteStorage(layout.store.partition("://")[0]).filesystem
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
    """Bring files, each whole or not at all."""
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


def _sizes(layout: Layout, folder: Path) -> dict[str, int]:
    """Size in bytes of each file below a folder of the store, by its name in the catalog."""
    files, root = _files(layout), _address(layout, folder)
    with service_errors(root):
        found = files.find(root, detail=True)
    skipped = len(_path_in(files, layout.store)) + 1
    return {_path_in(files, address)[skipped:]: info["size"] for address, info in found.items()}


def _path_in(files: Any, address: str) -> str:
    """An address without its protocol, in the form of the store's library."""
    return str(files.unstrip_protocol(address)).partition("://")[2]


def _version(layout: Layout) -> str | None:
    """Version of the catalog in the store; None where there is none."""
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
    """The store's catalog and ours when they were last the same."""
    try:
        known: dict[str, str | None] = json.loads(layout.remote_state.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = {}
    return known if known.get("store") == layout.store else {"there": None, "here": None}


def _note(layout: Layout, there: str | None, here: str) -> None:
    write_text(layout.remote_state, json.dumps({"store": layout.store, "there": there, "here": here}) + "\n")
