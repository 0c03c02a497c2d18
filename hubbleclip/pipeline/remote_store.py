"""Large files behind a URL: the setting `store`, such as `s3://bucket/prefix`, or `file:///mnt/shared`.

The catalog's working copy, locks and unfinished files stay on a local disk, where they are quick and where a file
system can lock. What is finished goes to the store under the same names as below the data root: products, tiles,
datasets, runs and reports, before a row names them, and the published catalog after them. A name is made of its content
or is never given twice, so sending twice does no harm, and a machine with an empty disk goes on from the store alone:
the catalog first, then whatever file a stage needs. Nothing finished is ever removed from the store.

Only one machine at a time may write the catalog. The store cannot lock; that another has written meanwhile is seen
when a stage begins and again before it sends its catalog, and is an error.
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
from hubbleclip.dataset.storage import RemoteStorage, told

SHARDS = "*.tar"


def push(layout: Layout, stored: Iterable[str]) -> None:
    """Send files, named as in the catalog; without `keep_local` they go from here. Others than ours stay."""
    if not layout.store:
        return
    ours = [path for path in dict.fromkeys(map(layout.absolute, stored)) if _is_ours(layout, path) and path.is_file()]
    _put(layout, ours)
    if not layout.keep_local:
        for path in ours:
            path.unlink(missing_ok=True)


def push_folder(layout: Layout, folder: Path) -> None:
    """Send what the store lacks of a folder; descriptions last, since they say that the rest is there."""
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
    """Bring files that are not here, and tell which came. One that the store lacks too is left to its reader."""
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
def at_hand(layout: Layout, stored: Iterable[str]) -> Iterator[None]:
    """Files stand here for the time of the block; those that came for it go again, without `keep_local`."""
    pulled = pull(layout, stored)
    try:
        yield
    finally:
        for path in [] if layout.keep_local else pulled:
            path.unlink(missing_ok=True)


def hand_over(layout: Layout, path: Path) -> None:
    """Send an unfinished file, which then is there alone, for another machine to take."""
    _put(layout, [path])
    path.unlink()


def take_over(layout: Layout, paths: Sequence[Path]) -> None:
    """Bring files that other machines have handed over; from then on they are here alone."""
    _get(layout, paths)
    with told(layout.store):
        _files(layout).rm([_address(layout, path) for path in paths])


def pull_folder(layout: Layout, folder: Path, pattern: str = "*", without: str = "") -> None:
    """Bring the files of a folder whose paths match `pattern` and do not match `without`."""
    if layout.store:
        names = map(Path, _sizes(layout, folder))
        pull(layout, [str(name) for name in names if name.match(pattern) and not (without and name.match(without))])


def pull_datasets(layout: Layout, newest: Path | None) -> None:
    """Bring what is told of all datasets, and the shards of the newest, wherever they stand."""
    pull_folder(layout, layout.datasets, without=SHARDS)
    if layout.store and newest:
        from hubbleclip.dataset.manifest import read_description  # noqa: PLC0415 - a look for work needs no Parquet

        shards = read_description(newest)["shards"]
        homes = [newest.with_name(shard["home_digest"] or newest.name) / shard["shard"] for shard in shards]
        pull(layout, map(layout.relative, homes))


def pull_runs(layout: Layout, *whole: Path | None) -> None:
    """Bring what is told of all runs, and all files of some."""
    pull_folder(layout, layout.runs, "*.json")
    for run_dir in filter(None, whole):
        pull_folder(layout, run_dir)


@contextmanager
def mirrored_catalog(layout: Layout) -> Iterator[None]:
    """The published catalog as the store has it before the block, and the store's as it is here after it."""
    pull_catalog(layout)
    yield
    push_catalog(layout)


def pull_catalog(layout: Layout) -> None:
    """Take the store's catalog where another machine has written it since we last did. Raises CatalogError when both
    have; while another program writes ours, it has looked already.
    """
    if not layout.store or (there := _version(layout)) in (None, _known(layout)["there"]):
        return
    try:
        with catalog_lock(layout):
            if layout.catalog.exists() and _stamp(layout.catalog) != _known(layout)["here"]:
                raise _both_wrote(layout)
            for path in layout.root.glob(f"{layout.working_catalog.name}*"):
                path.unlink()
            _get(layout, [layout.catalog])
            _note(layout, there, _stamp(layout.catalog))
    except CatalogLockedError:
        return


def push_catalog(layout: Layout) -> None:
    """Send the published catalog if it has changed; the first time all files, which may be older than the store."""
    if not layout.store or _stamp(layout.catalog) == _known(layout)["here"]:
        return
    there = _version(layout)
    if there != _known(layout)["there"]:
        raise _both_wrote(layout)
    if there is None:
        for folder in (layout.products, layout.tiles, layout.datasets, layout.runs, layout.reports):
            push_folder(layout, folder)
    held = layout.catalog.with_name(f".{layout.catalog.name}.{os.getpid()}.held")
    held.unlink(missing_ok=True)  # a killed process of the same number may have left it
    held.hardlink_to(layout.catalog)
    try:
        files, address = _files(layout), _address(layout, layout.catalog)
        with told(address):
            files.put_file(str(held), f"{address}.new")
            files.mv(f"{address}.new", address)
        _note(layout, _version(layout), _stamp(held))
    finally:
        held.unlink()


def _both_wrote(layout: Layout) -> CatalogError:
    return CatalogError(
        f"{_address(layout, layout.catalog)} and ours were both written since they were last "
        f"the same: move {layout.root / 'catalog.*'} away and run again; what only ours tells is done again"
    )


def _is_ours(layout: Layout, path: Path) -> bool:
    """Whether a file is below the root, and finished."""
    return path.is_relative_to(layout.root) and not any(p.startswith(".") for p in path.relative_to(layout.root).parts)


def _files(layout: Layout) -> Any:
    files = RemoteStorage(layout.store.partition("://")[0]).files
    files.invalidate_cache()
    return files


def _address(layout: Layout, path: Path) -> str:
    return f"{layout.store}/{layout.relative(path)}"


def _put(layout: Layout, paths: Sequence[Path]) -> None:
    if not paths:
        return
    try:
        with told(layout.store):
            _files(layout).put([str(path) for path in paths], [_address(layout, path) for path in paths])
    except FileNotFoundError as error:
        raise DatasetError(f"{layout.store} cannot be written ({error}): make the bucket first") from error


def _get(layout: Layout, paths: Sequence[Path]) -> None:
    """Bring files, each whole or not at all."""
    parts = [path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in paths]
    try:
        if paths:
            with told(layout.store):
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
    with told(root):
        found = files.find(root, detail=True)
    skipped = len(files._strip_protocol(layout.store)) + 1
    return {address[skipped:]: info["size"] for address, info in found.items()}


def _version(layout: Layout) -> str | None:
    """What tells the store's catalog from older ones; None where there is none."""
    address = _address(layout, layout.catalog)
    try:
        with told(address):
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
