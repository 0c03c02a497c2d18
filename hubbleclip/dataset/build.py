"""Samples into an immutable dataset directory: WebDataset tars, a manifest and a description.

The digest of the inputs is known before a PNG is read, so that a flow sees in no time that nothing is left to build.
A build stands in `.building-<inputs digest>/` until it is whole; a killed one goes on with the shards that it has.

A new night goes on with the shards of the dataset before it: they stay where they are, listed by hash and by the digest
of the folder that holds them (`../<home digest>/train-000000.tar`), and only new samples are packed. So that whoever
streams the tars sees what the manifest says, this holds only while every old sample is there, unchanged; else, or after
`shards.max_parents` nights, all is packed anew.
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
from hubbleclip.dataset import publish as publication
from hubbleclip.dataset import shard_writer as packing
from hubbleclip.dataset.manifest import (
    DESCRIPTION,
    MANIFEST,
    PLACE_COLUMNS,
    SPLITS,
    TEST_LIST,
    BuiltDataset,
    DatasetInfo,
    Row,
    description_bytes,
    find_dataset,
    finished_datasets,
    manifest_schema,
    read_built,
    read_dataset,
    sample_table,
    tile_list,
    write_table,
)
from hubbleclip.dataset.metadata.credits import notices

__all__ = ["BuiltDataset", "DatasetInfo", "build_dataset", "inputs_digest", "read_dataset"]

log = logging.getLogger(__name__)

FORMAT = "webdataset-1"
"""Raise it when the same samples would give other bytes, so that nothing old is taken for new."""
BUILDING = ".building-"
MB = 1_000_000
SHARDS_AT_ONCE = 2
"""While one is synced to the disk, the next is packed; each has its own reading threads."""

Plan = dict[str, list[Sample]]
Sizes = Mapping[str, int]
Sidecars = Mapping[str, bytes]
Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedShard:
    """A shard that is still to be written: its place, its samples in order and their `json` members by tile id."""

    path: Path
    samples: Sequence[Sample]
    sidecars: Sidecars


def two_at_once(work: Callable[[Item], Made], items: Sequence[Item]) -> Iterable[Made]:
    """A MapFn over two threads: see `SHARDS_AT_ONCE`."""
    with ThreadPoolExecutor(SHARDS_AT_ONCE) as pool:
        return list(pool.map(work, items))


def inputs_digest(samples: Sequence[Sample], settings: ShardSettings) -> str:
    """32 hex digits over all that decides a dataset's samples; their order does not. Reads no PNG."""
    return _described(_packable(samples), settings)[0]


def _described(packable: Sequence[Sample], settings: ShardSettings) -> tuple[str, Sidecars]:
    """The digest of the inputs, and each sidecar by tile id: making it is what costs, so it is made once."""
    total = hashlib.sha256(packing.canonical_json([FORMAT, contracts.contract_version("shards"), settings.digest()]))
    sidecars = {sample.tile_id: packing.sidecar(sample) for sample in packable}
    for tile_id in sorted(sidecars):
        total.update(sidecars[tile_id] + b"\n")
    return total.hexdigest()[:32], sidecars


def build_dataset(
    samples: Sequence[Sample],
    read_png: packing.ReadPng,
    datasets_dir: Path,
    settings: ShardSettings,
    *,
    contract_version: str,
    code_version: str,
    settings_digests: Mapping[str, str] | None = None,
    split_report: Mapping[str, Any] | None = None,
    split_tables: Mapping[str, pa.Table] | None = None,
    read_png_size: Callable[[str], int] | None = None,
    spread: MapFn[PlannedShard, packing.Tar] = two_at_once,
) -> BuiltDataset:
    """Build `datasets_dir/<digest>/`, or find it already built from the same inputs.

    `read_png` gives a tile's PNG by its id, and is called by several threads; `read_png_size` gives its length in bytes
    without reading it (a `stat`), else every PNG is read once more to lay out shards of equal size. `settings_digests`
    are the digests of the stages before and `split_report` what is told of the splits, both kept in the description;
    `split_tables` stand beside the manifest under their file names. The shards are written where `spread` has it done,
    each from a `PlannedShard`; wherever that is, each must stand at its path in the end.
    Raises DatasetError when there is no sample, or a PNG is missing or damaged.
    """
    packable = _packable(samples)
    made_from, sidecars = _described(packable, settings)
    finished = find_dataset(datasets_dir, made_from)
    if finished is not None:
        return read_built(finished)
    parent = find_parent(datasets_dir, packable, settings, contract_version)
    old = set() if parent is None else set(parent.manifest["tile_id"].to_pylist())
    new = [sample for sample in packable if sample.tile_id not in old]
    png_size = read_png_size or (lambda tile_id: len(read_png(tile_id)))
    sizes = {one.tile_id: packing.packed_bytes(one, len(sidecars[one.tile_id]), png_size(one.tile_id)) for one in new}
    plan = plan_shards(new, sizes, settings.max_mb * MB, first_free(parent))
    building = datasets_dir / f"{BUILDING}{made_from}{f'-{parent.digest}' if parent else ''}"
    building.mkdir(parents=True, exist_ok=True)
    tars = _write_shards(building, plan, read_png, sidecars, spread)
    for name, table in (split_tables or {}).items():
        write_table(building / name, table)
    facts = {
        "inputs_digest": made_from,
        "contract_version": contract_version,
        "code_version": code_version,
        "settings": settings.model_dump(mode="json"),
        "settings_digests": dict(settings_digests or {}),
        "split_report": dict(split_report or {}),
        "num_new_samples": None if parent is None else len(new),
    }
    return read_built(_finish(building, plan, tars, parent, facts))


def _packable(samples: Sequence[Sample]) -> list[Sample]:
    packable = [sample for sample in samples if sample.split in SPLITS]
    if not packable:
        raise DatasetError("no sample to pack: every tile lacks a caption or is excluded; see `hubbleclip status`")
    if len({sample.tile_id for sample in packable}) != len(packable):
        raise DatasetError("the same tile comes twice among the samples: pass each tile once")
    return packable


def find_parent(
    datasets_dir: Path, packable: Sequence[Sample], settings: ShardSettings, contract_version: str
) -> DatasetInfo | None:
    """The largest dataset of the folder whose samples are all among these, unchanged, unless it has parents enough."""
    like = {"format": FORMAT, "contract_version": contract_version, "settings": settings.model_dump(mode="json")}
    candidates = [
        (sum(shard["num_samples"] for shard in facts["shards"]), path)
        for path, facts in finished_datasets(datasets_dir)
        if {name: facts.get(name) for name in like} == like
    ]
    if not candidates:
        return None
    ours = sample_table(sorted(packable, key=lambda s: s.tile_id))
    for num_samples, path in sorted(candidates, reverse=True):
        if num_samples < len(packable):
            try:
                info = read_dataset(path)
            except DatasetError as error:
                log.warning("no new samples are added to a spoilt dataset: %s", error)
                continue
            theirs = info.manifest.select(ours.column_names)
            if ours.filter(pc.is_in(ours["tile_id"], theirs["tile_id"])).equals(theirs):
                return info if info.description["num_parents"] < settings.max_parents else None
    return None


def first_free(parent: DatasetInfo | None) -> dict[str, int]:
    """The index of each split's next shard."""
    free = dict.fromkeys(SPLITS, 0)
    for name in parent.addresses if parent else ():
        split, index = parse_shard_name(name)
        free[split] = max(free[split], index + 1)
    return free


def plan_shards(samples: Sequence[Sample], sizes: Sizes, max_bytes: int, first: Mapping[str, int]) -> Plan:
    """Which samples go into which shard, in order; shards of a split are of nearly equal size, at most `max_bytes`.

    `sizes` has what each sample takes in a tar, `first` the index of each split's first shard.
    """
    plan: Plan = {}
    for split in SPLITS:
        ordered = packing.interleave([sample for sample in samples if sample.split == split])
        if not ordered and not first[split]:
            log.warning("split %s has no sample", split)
        start = 0
        ends = packing.cut_evenly([sizes[sample.tile_id] for sample in ordered], max_bytes - packing.END_BYTES)
        for index, end in enumerate(ends, first[split]):
            plan[shard_name(split, index)] = ordered[start:end]
            start = end
    return plan


def _write_shards(
    building: Path, plan: Plan, read_png: packing.ReadPng, sidecars: Sidecars, spread: MapFn[PlannedShard, packing.Tar]
) -> dict[str, packing.Tar]:
    """Write the shards that are not yet there, each atomically."""
    there = [name for name in plan if (building / name).is_file()]
    tars = dict(zip(there, two_at_once(packing.read_tar, [building / name for name in there]), strict=True))
    left = [name for name in plan if name not in tars]
    planned = [
        PlannedShard(
            path=building / name,
            samples=plan[name],
            sidecars={sample.tile_id: sidecars[sample.tile_id] for sample in plan[name]},
        )
        for name in left
    ]
    return tars | dict(zip(left, spread(partial(write_shard, read_png), planned), strict=True))


def write_shard(read_png: packing.ReadPng, shard: PlannedShard) -> packing.Tar:
    """Write one shard, atomically."""
    tar = packing.write_tar(shard.path, shard.samples, read_png, shard.sidecars)
    log.info("wrote %s: %d samples, %d bytes", shard.path.name, len(shard.samples), tar.size_bytes)
    return tar


def _finish(
    building: Path, plan: Plan, tars: Mapping[str, packing.Tar], parent: DatasetInfo | None, facts: Row
) -> Path:
    """Write all but the shards, the description last, then give the folder its name: from then on it never changes."""
    shards = [*_inherited(parent), *(_shard_row(name, samples, tars[name]) for name, samples in plan.items())]
    shards.sort(key=lambda shard: (SPLITS.index(shard["split"]), shard["shard"]))
    manifest = _manifest(plan, tars, parent)
    digest = content_digest(facts["inputs_digest"], shards)
    description = {
        **facts,
        "digest": digest,
        "format": FORMAT,
        "parent_digest": parent.digest if parent else None,
        "num_parents": parent.description["num_parents"] + 1 if parent else 0,
        "counts": counts(manifest),
        "shards": shards,
        "notices": notices(manifest["archive"].unique().to_pylist()),
    }
    write_table(building / MANIFEST, manifest)
    tests = manifest.select(["split", "tile_id"]).filter(pc.field("split") == "test")["tile_id"].to_pylist()
    write_bytes(building / TEST_LIST, tile_list(tests), is_synced=False)
    publication.write_companions(building, description, manifest)
    for left in building.glob(".*"):
        left.unlink()
    others = [path for path in building.iterdir() if path.name not in plan]
    sync_files(others)
    files = {path.name: sha256_file(path) for path in others}
    write_bytes(building / DESCRIPTION, description_bytes({**description, "files": files}))
    finished = building.with_name(digest)
    if finished.exists():  # it has lost its description, or it would have been found
        shutil.rmtree(finished)
    building.rename(finished)
    sync_folder(finished.parent)
    for stale in finished.parent.glob(f"{BUILDING}*"):
        shutil.rmtree(stale)
    return finished


def content_digest(inputs_digest: str, shards: Iterable[Row]) -> str:
    """32 hex digits over what the dataset was made from and its shards, which hold every sample; equal for equal
    content.
    """
    lines = [inputs_digest, *sorted(f"{shard['shard']} {shard['sha256']} {shard['home_digest']}" for shard in shards)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def _inherited(parent: DatasetInfo | None) -> list[Row]:
    """The parent's shards as its child lists them: each with the folder that holds it."""
    if parent is None:
        return []
    return [shard | {"home_digest": shard["home_digest"] or parent.digest} for shard in parent.description["shards"]]


def _shard_row(name: str, samples: Sequence[Sample], tar: packing.Tar) -> Row:
    return {
        "shard": name, "split": samples[0].split, "sha256": tar.sha256, "size_bytes": tar.size_bytes,
        "num_samples": len(samples), "home_digest": None,
    }  # fmt: skip


def _manifest(plan: Plan, tars: Mapping[str, packing.Tar], parent: DatasetInfo | None) -> pa.Table:
    """Every sample with its place, sorted by tile."""
    shard_of = {sample.tile_id: name for name, part in plan.items() for sample in part}
    samples = sorted(chain.from_iterable(plan.values()), key=attrgetter("tile_id"))
    shards = [shard_of[sample.tile_id] for sample in samples]
    extents = [tars[name].extents[sample.tile_id] for name, sample in zip(shards, samples, strict=True)]
    new = sample_table(samples)
    for name, values in zip(PLACE_COLUMNS, (shards, *zip(*extents, strict=True)), strict=True):
        field = manifest_schema().field(name)
        new = new.append_column(field, pa.array(values, type=field.type))
    return new if parent is None else pa.concat_tables([parent.manifest, new]).sort_by("tile_id").combine_chunks()


def counts(manifest: pa.Table) -> dict[str, dict[str, int]]:
    """Samples, proposals and groups of each split."""
    found = {}
    manifest = manifest.select(["split", "proposal_id", "group_id"])
    for split in SPLITS:
        mine = manifest.filter(pc.field("split") == split)
        proposals, groups = (pc.count_distinct(mine[name]).as_py() for name in ("proposal_id", "group_id"))
        found[split] = {"samples": mine.num_rows, "proposals": proposals, "groups": groups}
    return found
