"""Build an immutable dataset directory: WebDataset tars, a manifest and a description.

The digest of the inputs is computed without reading an image, so a flow sees at once that no build is needed. A build
writes to `.building-<inputs digest>/` until it is complete; an interrupted build is resumed with the shards that exist.

Builds are incremental. A dataset lists the shards of its parent, which stay in the parent's folder
(`../<home digest>/train-000000.tar`), and packs new samples only. The tars must agree with the manifest, so this
applies only while every sample of the parent exists unchanged; otherwise, and after `shards.max_parents` incremental
builds, every sample is packed again.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from hubbleclip.config.settings import ShardSettings
from hubbleclip.contracts import schema as contracts
from hubbleclip.core.errors import DatasetError
from hubbleclip.core.io import sha256_file, sync_files, sync_folder, write_bytes
from hubbleclip.core.layout import parse_shard_name, shard_name
from hubbleclip.core.parallel import MapFn
from hubbleclip.core.records import Sample
from hubbleclip.dataset import publish, shard_writer
from hubbleclip.dataset.manifest import (
    DESCRIPTION,
    LOCATION_COLUMNS,
    MANIFEST,
    SPLITS,
    TEST_LIST,
    BuiltDataset,
    DatasetInfo,
    Row,
    description_bytes,
    find_dataset,
    finished_datasets,
    format_tile_list,
    manifest_schema,
    read_catalog_rows,
    read_dataset,
    sample_table,
    write_table,
)
from hubbleclip.dataset.metadata.credits import notices

__all__ = ["BuiltDataset", "DatasetInfo", "build_dataset", "inputs_digest", "read_dataset"]

log = logging.getLogger(__name__)

FORMAT = "webdataset-1"
"""Version of the layout: part of the inputs digest. Raise it when the same samples would give other bytes."""
BUILDING_PREFIX = ".building-"
MB = 1_000_000
CONCURRENT_SHARDS = 2
"""Shards written at a time: one is packed while another is synced to the disk. Each has its own reader threads."""

Plan = dict[str, list[Sample]]
"""Samples of each shard, in order, by shard name."""
Sizes = Mapping[str, int]
"""Bytes of each sample in a tar, by tile id."""
Sidecars = Mapping[str, bytes]
"""`json` members by tile id."""
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedShard:
    """A shard to be written.

    Attributes
    ----------
    path
        Where the tar is written.
    samples
        Samples in the order of the tar.
    sidecars
        `json` members by tile id.

    """

    path: Path
    samples: Sequence[Sample]
    sidecars: Sidecars


def map_in_two_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterable[Result]:
    """Map a function over items in `CONCURRENT_SHARDS` threads.

    Parameters
    ----------
    work
        Called once per item.
    items
        Arguments of `work`.

    Returns
    -------
    Iterable[Result]
        Results in the order of the items.

    """
    with ThreadPoolExecutor(CONCURRENT_SHARDS) as pool:
        return list(pool.map(work, items))


def inputs_digest(samples: Sequence[Sample], settings: ShardSettings) -> str:
    """Digest everything that decides a dataset's samples, without reading an image.

    Parameters
    ----------
    samples
        In any order; those outside train, val and test are ignored.
    settings
        Digested as a whole.

    Returns
    -------
    str
        32 hexadecimal digits.

    """
    return _digest_inputs(_packable(samples), settings)[0]


def _digest_inputs(packable: Sequence[Sample], settings: ShardSettings) -> tuple[str, Sidecars]:
    """Digest of the inputs, and the sidecars by tile id: they dominate the cost and are reused for the tars."""
    total = hashlib.sha256(
        shard_writer.canonical_json([FORMAT, contracts.compatible_version("shards"), settings.digest()])
    )
    sidecars = {sample.tile_id: shard_writer.sidecar(sample) for sample in packable}
    for tile_id in sorted(sidecars):
        total.update(sidecars[tile_id] + b"\n")
    return total.hexdigest()[:32], sidecars


def build_dataset(
    samples: Sequence[Sample],
    read_png: shard_writer.ReadPng,
    datasets_dir: Path,
    settings: ShardSettings,
    *,
    contract_version: str,
    code_version: str,
    settings_digests: Mapping[str, str] | None = None,
    split_report: Mapping[str, Any] | None = None,
    split_tables: Mapping[str, pa.Table] | None = None,
    read_png_size: Callable[[str], int] | None = None,
    map_fn: MapFn[PlannedShard, shard_writer.ShardFile] = map_in_two_threads,
) -> BuiltDataset:
    """Build `datasets_dir/<digest>/`, or return it if it was already built from the same inputs.

    Parameters
    ----------
    samples
        Each tile at most once; those outside train, val and test are ignored.
    read_png
        Tile id to encoded image; called from several threads.
    datasets_dir
        Folder of all datasets; also searched for a parent.
    settings
        Size of the shards and number of parents.
    contract_version
        Version of the data contract of shards, recorded in the description.
    code_version
        Version of this code, recorded in the description.
    settings_digests
        Settings digests of the earlier stages, recorded in the description.
    split_report
        Report of the splits, recorded in the description.
    split_tables
        Tables written beside the manifest, by file name.
    read_png_size
        Tile id to the size of its image in bytes, for instance by `stat`. Without it every image is read once more to
        plan shards of equal size.
    map_fn
        Maps a function over `PlannedShard` items, in threads by default. Wherever it runs, every shard must exist at
        its path when it returns.

    Returns
    -------
    BuiltDataset
        The catalog rows of the dataset.

    Raises
    ------
    DatasetError
        When there is no sample, a tile occurs twice, or an image is missing or damaged.

    """
    packable = _packable(samples)
    inputs, sidecars = _digest_inputs(packable, settings)
    finished = find_dataset(datasets_dir, inputs)
    if finished is not None:
        return read_catalog_rows(finished)
    parent = find_parent(datasets_dir, packable, settings, contract_version)
    old = set() if parent is None else set(parent.manifest["tile_id"].to_pylist())
    new = [sample for sample in packable if sample.tile_id not in old]
    png_size = read_png_size or (lambda tile_id: len(read_png(tile_id)))
    sizes = {
        sample.tile_id: shard_writer.packed_size_bytes(sample, len(sidecars[sample.tile_id]), png_size(sample.tile_id))
        for sample in new
    }
    plan = plan_shards(new, sizes, settings.max_mb * MB, next_shard_indices(parent))
    # The parent is part of the name: shards planned against another parent hold other samples.
    building = datasets_dir / f"{BUILDING_PREFIX}{inputs}{f'-{parent.digest}' if parent else ''}"
    building.mkdir(parents=True, exist_ok=True)
    tars = _write_shards(building, plan, read_png, sidecars, map_fn)
    for name, table in (split_tables or {}).items():
        write_table(building / name, table)
    facts = {
        "inputs_digest": inputs,
        "contract_version": contract_version,
        "code_version": code_version,
        "settings": settings.model_dump(mode="json"),
        "settings_digests": dict(settings_digests or {}),
        "split_report": dict(split_report or {}),
        "num_new_samples": None if parent is None else len(new),
    }
    return read_catalog_rows(_finish(building, plan, tars, parent, facts))


def _packable(samples: Sequence[Sample]) -> list[Sample]:
    """Samples of train, val and test; DatasetError if there are none or a tile occurs twice."""
    packable = [sample for sample in samples if sample.split in SPLITS]
    if not packable:
        raise DatasetError("no sample to pack: every tile lacks a caption or is excluded: see `hubbleclip status`")
    if len({sample.tile_id for sample in packable}) != len(packable):
        raise DatasetError("a tile occurs twice among the samples: pass each tile once")
    return packable


def find_parent(
    datasets_dir: Path, packable: Sequence[Sample], settings: ShardSettings, contract_version: str
) -> DatasetInfo | None:
    """Find the largest dataset whose samples are all among the given ones, unchanged.

    Parameters
    ----------
    datasets_dir
        Folder of the candidates.
    packable
        Samples of the new dataset.
    settings
        A parent has equal settings and fewer parents than `max_parents`.
    contract_version
        A parent has the same.

    Returns
    -------
    DatasetInfo or None
        None where no dataset qualifies: every sample is then packed.

    """
    # Shards of another format, contract or settings would not be what a full build writes.
    required = {"format": FORMAT, "contract_version": contract_version, "settings": settings.model_dump(mode="json")}
    candidates = [
        (sum(shard["num_samples"] for shard in description["shards"]), path)
        for path, description in finished_datasets(datasets_dir)
        if {name: description.get(name) for name in required} == required
    ]
    if not candidates:
        return None
    ours = sample_table(sorted(packable, key=lambda s: s.tile_id))
    for num_samples, path in sorted(candidates, reverse=True):
        if num_samples < len(packable):
            try:
                info = read_dataset(path)
            except DatasetError as error:
                log.warning("skipped a damaged dataset as parent: %s", error)
                continue
            theirs = info.manifest.select(ours.column_names)
            # Both are sorted by tile id: equal tables mean that every old sample exists here, unchanged.
            if ours.filter(pc.is_in(ours["tile_id"], theirs["tile_id"])).equals(theirs):
                # Every parent is one more folder that a reader of the tars depends on: hence the limit.
                return info if info.description["num_parents"] < settings.max_parents else None
    return None


def next_shard_indices(parent: DatasetInfo | None) -> dict[str, int]:
    """Index of the next shard of each split.

    Parameters
    ----------
    parent
        Dataset whose shards are continued, if any.

    Returns
    -------
    dict[str, int]
        By split; 0 without a parent.

    """
    next_index = dict.fromkeys(SPLITS, 0)
    for name in parent.addresses if parent else ():
        split, index = parse_shard_name(name)
        next_index[split] = max(next_index[split], index + 1)
    return next_index


def plan_shards(samples: Sequence[Sample], sizes: Sizes, max_bytes: int, first: Mapping[str, int]) -> Plan:
    """Assign samples to shards, in order.

    Parameters
    ----------
    samples
        Samples to pack, in any order.
    sizes
        Bytes of each sample in a tar, by tile id.
    max_bytes
        Upper limit of a shard.
    first
        Index of the first new shard of each split.

    Returns
    -------
    Plan
        Samples by shard name; the shards of a split have nearly equal sizes.

    """
    plan: Plan = {}
    for split in SPLITS:
        ordered = shard_writer.interleave([sample for sample in samples if sample.split == split])
        if not ordered and not first[split]:  # the parent has no shard of this split either
            log.warning("split %s has no sample", split)
        start = 0
        limit_bytes = max_bytes - shard_writer.MAX_TRAILER_BYTES
        ends = shard_writer.partition_evenly([sizes[sample.tile_id] for sample in ordered], limit_bytes)
        for index, end in enumerate(ends, first[split]):
            plan[shard_name(split, index)] = ordered[start:end]
            start = end
    return plan


def _write_shards(
    building: Path,
    plan: Plan,
    read_png: shard_writer.ReadPng,
    sidecars: Sidecars,
    map_fn: MapFn[PlannedShard, shard_writer.ShardFile],
) -> dict[str, shard_writer.ShardFile]:
    """Write the shards that do not exist yet, each atomically; read those that an interrupted build has written."""
    existing = [name for name in plan if (building / name).is_file()]
    paths = [building / name for name in existing]
    tars = dict(zip(existing, map_in_two_threads(shard_writer.read_shard_file, paths), strict=True))
    missing = [name for name in plan if name not in tars]
    planned = [
        PlannedShard(
            path=building / name,
            samples=plan[name],
            sidecars={sample.tile_id: sidecars[sample.tile_id] for sample in plan[name]},
        )
        for name in missing
    ]
    return tars | dict(zip(missing, map_fn(partial(write_shard, read_png), planned), strict=True))


def write_shard(read_png: shard_writer.ReadPng, shard: PlannedShard) -> shard_writer.ShardFile:
    """Write one shard, atomically.

    Parameters
    ----------
    read_png
        Tile id to encoded image.
    shard
        What to write, and where.

    Returns
    -------
    ShardFile
        Hash, size and image positions of the written tar.

    """
    tar = shard_writer.write_tar(shard.path, shard.samples, read_png, shard.sidecars)
    log.info("wrote %s: %d samples, %d bytes", shard.path.name, len(shard.samples), tar.size_bytes)
    return tar


def _finish(
    building: Path, plan: Plan, tars: Mapping[str, shard_writer.ShardFile], parent: DatasetInfo | None, facts: Row
) -> Path:
    """Write all files but the shards, the description last, and rename the folder to its digest."""
    shards = [*_parent_shards(parent), *(_shard_row(name, samples, tars[name]) for name, samples in plan.items())]
    shards.sort(key=lambda shard: (SPLITS.index(shard["split"]), shard["shard"]))  # train, val, test
    manifest = _manifest(plan, tars, parent)
    digest = content_digest(facts["inputs_digest"], shards)
    description = {
        **facts,
        "digest": digest,
        "format": FORMAT,
        "parent_digest": parent.digest if parent else None,
        "num_parents": parent.description["num_parents"] + 1 if parent else 0,
        "counts": count_by_split(manifest),
        "shards": shards,
        "notices": notices(manifest["archive"].unique().to_pylist()),
    }
    write_table(building / MANIFEST, manifest)
    tests = manifest.select(["split", "tile_id"]).filter(pc.field("split") == "test")["tile_id"].to_pylist()
    write_bytes(building / TEST_LIST, format_tile_list(tests), is_synced=False)
    publish.write_metadata(building, description, manifest)
    for leftover in building.glob(".*"):  # temporary files of an interrupted build
        leftover.unlink()
    others = [path for path in building.iterdir() if path.name not in plan]
    sync_files(others)  # one sync for all of them, before the description declares the dataset complete
    files = {path.name: sha256_file(path) for path in others}
    write_bytes(building / DESCRIPTION, description_bytes({**description, "files": files}))
    finished = building.with_name(digest)
    if finished.exists():  # without its description, or find_dataset would have returned it
        shutil.rmtree(finished)
    building.rename(finished)
    sync_folder(finished.parent)  # makes the rename durable
    for stale in finished.parent.glob(f"{BUILDING_PREFIX}*"):
        shutil.rmtree(stale)
    return finished


def content_digest(inputs_digest: str, shards: Iterable[Row]) -> str:
    """Digest a dataset's inputs and its shards, which contain every sample.

    Parameters
    ----------
    inputs_digest
        See `inputs_digest`.
    shards
        Entries of the description: `shard`, `sha256` and `home_digest` are used; order does not matter.

    Returns
    -------
    str
        32 hexadecimal digits, equal for equal content; the name of the dataset's folder.

    """
    lines = [inputs_digest, *sorted(f"{shard['shard']} {shard['sha256']} {shard['home_digest']}" for shard in shards)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def _parent_shards(parent: DatasetInfo | None) -> list[Row]:
    """The parent's shards as its child lists them, each with the digest of the folder that contains it."""
    if parent is None:
        return []
    return [shard | {"home_digest": shard["home_digest"] or parent.digest} for shard in parent.description["shards"]]


def _shard_row(name: str, samples: Sequence[Sample], tar: shard_writer.ShardFile) -> Row:
    """Entry of a new shard in the description's `shards`; no home digest, because this dataset holds the file."""
    return {
        "shard": name, "split": samples[0].split, "sha256": tar.sha256, "size_bytes": tar.size_bytes,
        "num_samples": len(samples), "home_digest": None,
    }  # fmt: skip


def _manifest(plan: Plan, tars: Mapping[str, shard_writer.ShardFile], parent: DatasetInfo | None) -> pa.Table:
    """Manifest of the parent's and the new samples with shard, offset and length, sorted by tile id."""
    shard_of = {sample.tile_id: name for name, part in plan.items() for sample in part}
    samples = sorted(chain.from_iterable(plan.values()), key=attrgetter("tile_id"))
    shards = [shard_of[sample.tile_id] for sample in samples]
    extents = [tars[name].extents[sample.tile_id] for name, sample in zip(shards, samples, strict=True)]
    new = sample_table(samples)
    for name, values in zip(LOCATION_COLUMNS, (shards, *zip(*extents, strict=True)), strict=True):
        field = manifest_schema().field(name)
        new = new.append_column(field, pa.array(values, type=field.type))
    return new if parent is None else pa.concat_tables([parent.manifest, new]).sort_by("tile_id").combine_chunks()


def count_by_split(manifest: pa.Table) -> dict[str, dict[str, int]]:
    """Count samples, proposals and groups of each split.

    Parameters
    ----------
    manifest
        Needs the columns `split`, `proposal_id` and `group_id`.

    Returns
    -------
    dict[str, dict[str, int]]
        `samples`, `proposals` and `groups` by split; empty splits are included.

    """
    counts = {}
    manifest = manifest.select(["split", "proposal_id", "group_id"])  # filtering the captions would copy them
    for split in SPLITS:
        mine = manifest.filter(pc.field("split") == split)
        proposals, groups = (pc.count_distinct(mine[name]).as_py() for name in ("proposal_id", "group_id"))
        counts[split] = {"samples": mine.num_rows, "proposals": proposals, "groups": groups}
    return counts
