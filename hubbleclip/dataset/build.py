"""Build an immutable dataset directory: WebDataset tars, a manifest and a description.

The digest of the inputs is computed without reading an image, so it is known quickly whether a build is needed.
A build writes to the folder `.building-<inputs digest>/`, which is renamed when the dataset is complete. If a build is
interrupted, the next build reuses the shards in this folder.

Builds are incremental: a new dataset can reuse the shards of an older dataset, which is called its parent. Only the
samples that the parent lacks are then packed. The reused shards stay in the parent's folder
(`../<home digest>/train-000000.tar`). Shards can be reused only if every sample of the parent is also a sample of the
new dataset and is unchanged, because the samples in the tars must equal the rows of the manifest. Otherwise, and after
`MAX_PARENTS` incremental builds, all samples are packed again.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hubbleclip.config.settings import MAX_PARENTS, ShardSettings
from hubbleclip.contracts import schema as contracts
from hubbleclip.core.errors import DatasetError, TileFileError
from hubbleclip.core.io import sha256_file, sync_files, sync_folder, write_bytes
from hubbleclip.core.layout import parse_shard_name, shard_name
from hubbleclip.core.parallel import MapFn
from hubbleclip.core.records import Sample
from hubbleclip.core.version import code_version
from hubbleclip.dataset import shard_writer
from hubbleclip.dataset.card import notices
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
    samples_of,
    with_astropy_header,
    write_table,
)

__all__ = ["BuiltDataset", "DatasetInfo", "build_dataset", "inputs_digest", "read_dataset"]

log = logging.getLogger(__name__)

FORMAT = "webdataset-1"
"""Version of the dataset format, which is part of the inputs digest.

Increase the version if a change of the code changes the bytes that a build writes for the same samples.
"""
BUILDING_PREFIX = ".building-"
MB = 1_000_000

COUNTED = ("split", "count_all", "proposal_id_count_distinct", "group_id_count_distinct")

Plan = dict[str, list[Sample]]
"""Samples of each shard, in the order of the tar, by shard name."""
PackedShard = shard_writer.ShardFile | TileFileError
"""Result of writing a shard: the properties of its file, or the error that names the damaged tiles."""
Sizes = Mapping[str, int]
"""Size in bytes of each sample in a tar, by tile id."""
Sidecars = Mapping[str, bytes]
"""Content of each sample's `json` member, by tile id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedShard:
    """A shard that has to be written, with its samples in the order of the tar."""

    path: Path
    samples: Sequence[Sample]
    sidecars: Sidecars


def inputs_digest(samples: Sequence[Sample], settings: ShardSettings) -> str:
    """Compute the digest of a dataset's inputs without reading images; samples that are in no split are ignored."""
    return _digest_inputs(_packable(samples), settings)[0]


def _digest_inputs(packable: Sequence[Sample], settings: ShardSettings) -> tuple[str, Sidecars]:
    """Compute the digest of the inputs, and the content of each sample's `json` member by tile id.

    The `json` members are returned so that they are serialised only once: serialising them is slow, and the caller also
    writes them to the tars.
    """
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
    max_parents: int = MAX_PARENTS,
    settings_digests: Mapping[str, str] | None = None,
    split_report: Mapping[str, Any] | None = None,
    split_tables: Mapping[str, pa.Table] | None = None,
    read_png_size: Callable[[str], int] | None = None,  # if None, each image is read to find its size in bytes
    released_on: date | None = None,  # the day on which the newest observation became public
    map_fn: MapFn[PlannedShard, PackedShard] = map,
) -> BuiltDataset:
    """Build the dataset `datasets_dir/<digest>/`, unless a dataset with the same inputs exists.

    Raises TileFileError with the tiles of all images that are missing or damaged.
    """
    packable = _packable(samples)
    inputs, sidecars = _digest_inputs(packable, settings)
    finished = find_dataset(datasets_dir, inputs)
    if finished is not None:
        return read_catalog_rows(finished)
    parent = find_parent(datasets_dir, packable, settings, contract_version, max_parents)
    old = set() if parent is None else set(parent.manifest["tile_id"].to_pylist())
    new = [sample for sample in packable if sample.tile_id not in old]
    png_size = read_png_size or (lambda tile_id: len(read_png(tile_id)))
    sizes = {
        sample.tile_id: shard_writer.packed_size_bytes(sample, len(sidecars[sample.tile_id]), png_size(sample.tile_id))
        for sample in new
    }
    plan = plan_shards(new, sizes, settings.max_mb * MB, next_shard_indices(parent))
    # The folder name contains the parent's digest, because the parent determines which samples are packed.
    building = datasets_dir / f"{BUILDING_PREFIX}{inputs}{f'-{parent.digest}' if parent else ''}"
    building.mkdir(parents=True, exist_ok=True)
    tars = _write_shards(building, plan, read_png, sidecars, map_fn)
    for name, table in (split_tables or {}).items():
        write_table(building / name, table)
    facts = {
        "inputs_digest": inputs,
        "contract_version": contract_version,
        "code_version": code_version,
        "settings": settings.recorded(),
        "settings_digests": dict(settings_digests or {}),
        "split_report": dict(split_report or {}),
        "released_on": released_on and released_on.isoformat(),
        "num_new_samples": None if parent is None else len(new),
    }
    return read_catalog_rows(_finish(building, plan, tars, parent, facts))


def make_subset(place: str | Path, tile_ids: Iterable[str], folder: Path) -> BuiltDataset:
    """Build the dataset `folder/<digest>/` from some tiles of another dataset; every tile stays in its split."""
    info, wanted = read_dataset(place), set(tile_ids)
    rows = info.manifest.filter(pc.field("tile_id").isin(list(wanted)))
    if not rows.num_rows:
        raise DatasetError(f"none of the {len(wanted)} tiles is in {place}: choose tiles of its train, val or test")
    settings = info.description["settings"]
    released = info.description.get("released_on")
    return build_dataset(
        samples_of(rows),
        lambda tile_id: info.read_tile_images([tile_id])[0],
        folder,
        ShardSettings(**{name: settings[name] for name in ShardSettings.model_fields if name in settings}),
        contract_version=info.contract_version,
        code_version=code_version(),
        max_parents=0,
        settings_digests=info.description.get("settings_digests", {}),
        split_report={"subset_of": info.digest, "settings": info.description["split_report"].get("settings", {})},
        released_on=released and date.fromisoformat(released),
    )


def _packable(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples in train, val and test; raise DatasetError if there are none or if a tile occurs twice."""
    packable = [sample for sample in samples if sample.split in SPLITS]
    if not packable:
        raise DatasetError("no sample to pack, as every tile is excluded or has no caption: see `hubbleclip status`")
    if len({sample.tile_id for sample in packable}) != len(packable):
        raise DatasetError("a tile occurs twice among the samples: pass each tile once")
    return packable


def find_parent(
    datasets_dir: Path, packable: Sequence[Sample], settings: ShardSettings, contract_version: str, max_parents: int
) -> DatasetInfo | None:
    """Find the largest existing dataset whose samples are all unchanged in the new dataset.

    Returns None if there is no such dataset, or if it already has `max_parents` parents.
    """
    # A different format, contract version or setting would change the bytes that are written for the same samples.
    required = {"format": FORMAT, "contract_version": contract_version, "settings": settings.recorded()}
    candidates = [
        (num_samples, path)
        for path, description in finished_datasets(datasets_dir)
        if {name: description.get(name) for name in required} == required
        and (num_samples := sum(shard["num_samples"] for shard in description["shards"])) < len(packable)
    ]
    if not candidates:
        return None
    ours = contracts.cast_rows("sample", sorted(packable, key=attrgetter("tile_id")))
    for _, path in sorted(candidates, reverse=True):
        try:
            info = read_dataset(path)
        except DatasetError as error:
            log.warning("a damaged dataset is not used as parent: %s", error)
            continue
        theirs = info.manifest.select(ours.column_names)
        # Find whether every sample of the candidate is unchanged in the new dataset. Both tables are sorted by tile id.
        if ours.filter(pc.is_in(ours["tile_id"], theirs["tile_id"])).equals(theirs):
            # The number of parents is limited, because a dataset can only be read if the folders of all parents exist.
            return info if info.description["num_parents"] < max_parents else None
    return None


def next_shard_indices(parent: DatasetInfo | None) -> dict[str, int]:
    """Return the index of the first new shard of each split: the parent's largest index plus 1, or 0."""
    next_index = dict.fromkeys(SPLITS, 0)
    for name in parent.addresses if parent else ():
        split, index = parse_shard_name(name)
        next_index[split] = max(next_index[split], index + 1)
    return next_index


def plan_shards(samples: Sequence[Sample], sizes: Sizes, max_bytes: int, first: Mapping[str, int]) -> Plan:
    """Divide the samples of each split into shards and order them within each shard."""
    plan: Plan = {}
    for split in SPLITS:
        ordered = shard_writer.interleave([sample for sample in samples if sample.split == split])
        if not ordered and not first[split]:  # no new sample and no shard of the parent is in this split
            log.warning("split %s has no samples", split)
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
    map_fn: MapFn[PlannedShard, PackedShard],
) -> dict[str, shard_writer.ShardFile]:
    """Write the missing shards, and return the properties of all shards. Raises TileFileError."""
    tars = {name: shard_writer.read_shard_file(building / name) for name in plan if (building / name).is_file()}
    missing = {name: samples for name, samples in plan.items() if name not in tars}
    planned = [
        PlannedShard(path=building / name, samples=part, sidecars={one.tile_id: sidecars[one.tile_id] for one in part})
        for name, part in missing.items()
    ]
    packed = list(map_fn(partial(write_shard, read_png), planned))
    if damaged := [tile_id for one in packed if isinstance(one, TileFileError) for tile_id in one.tile_ids]:
        raise TileFileError(damaged)
    return tars | {name: one for name, one in zip(missing, packed, strict=True) if not isinstance(one, TileFileError)}


def write_shard(read_png: shard_writer.ReadPng, shard: PlannedShard) -> PackedShard:
    """Write one shard atomically.

    A TileFileError is returned instead of raised, so that one build finds the damaged tiles of all shards.
    """
    try:
        tar = shard_writer.write_tar(shard.path, shard.samples, read_png, shard.sidecars)
    except TileFileError as error:
        return error
    log.info("wrote %s: %d samples, %d bytes", shard.path.name, len(shard.samples), tar.size_bytes)
    return tar


def _finish(
    building: Path, plan: Plan, tars: Mapping[str, shard_writer.ShardFile], parent: DatasetInfo | None, facts: Row
) -> Path:
    """Write all files except the shards; the description is last. Then rename the folder to the dataset's digest."""
    shards: list[Row] = [
        {
            "shard": name,
            "split": samples[0].split,
            "sha256": tars[name].sha256,
            "size_bytes": tars[name].size_bytes,
            "num_samples": len(samples),
            "home_digest": None,  # the shard is in the folder of the dataset itself
        }
        for name, samples in plan.items()
    ]
    if parent is not None:  # each shard of the parent is listed with the digest of the folder that contains it
        shards += [
            shard | {"home_digest": shard["home_digest"] or parent.digest} for shard in parent.description["shards"]
        ]
    shards.sort(key=lambda shard: (SPLITS.index(shard["split"]), shard["shard"]))  # ordered by split, then by name
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
    write_table(building / MANIFEST, with_astropy_header(manifest))
    tests = manifest.select(["split", "tile_id"]).filter(pc.field("split") == "test")["tile_id"].to_pylist()
    write_bytes(building / TEST_LIST, format_tile_list(tests), is_synced=False)
    from hubbleclip.dataset import publish  # noqa: PLC0415 - imports astropy, which few commands need

    publish.write_metadata(building, description, manifest)
    for leftover in building.rglob(".*"):  # temporary files of an interrupted build
        leftover.unlink()
    others = [path for path in sorted(building.rglob("*")) if path.is_file() and path.name not in plan]
    sync_files(others)  # these files are flushed first, because the description marks the dataset as complete
    files = {path.relative_to(building).as_posix(): sha256_file(path) for path in others}
    write_bytes(building / DESCRIPTION, description_bytes({**description, "files": files}))
    finished = building.with_name(digest)
    if finished.exists():  # an incomplete dataset: a complete one would have been found before this build
        shutil.rmtree(finished)
    building.rename(finished)
    sync_folder(finished.parent)  # so that the rename survives a power failure
    for stale in finished.parent.glob(f"{BUILDING_PREFIX}*"):
        shutil.rmtree(stale)
    return finished


def content_digest(inputs_digest: str, shards: Iterable[Row]) -> str:
    """Compute the digest of a dataset's content from its inputs digest and the hashes of its shards."""
    lines = [inputs_digest, *sorted(f"{shard['shard']} {shard['sha256']} {shard['home_digest']}" for shard in shards)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def _manifest(plan: Plan, tars: Mapping[str, shard_writer.ShardFile], parent: DatasetInfo | None) -> pa.Table:
    """Make the manifest, which contains the samples of the parent and the new samples, sorted by tile id."""
    shard_of = {sample.tile_id: name for name, part in plan.items() for sample in part}
    samples = sorted(chain.from_iterable(plan.values()), key=attrgetter("tile_id"))
    shards = [shard_of[sample.tile_id] for sample in samples]
    extents = [tars[name].extents[sample.tile_id] for name, sample in zip(shards, samples, strict=True)]
    new = contracts.cast_rows("sample", samples)
    for name, values in zip(LOCATION_COLUMNS, (shards, *zip(*extents, strict=True)), strict=True):
        field = manifest_schema().field(name)
        new = new.append_column(field, pa.array(values, type=field.type))
    return new if parent is None else pa.concat_tables([parent.manifest, new]).sort_by("tile_id").combine_chunks()


def count_by_split(manifest: pa.Table) -> dict[str, dict[str, int]]:
    """Count the samples, proposals and groups of each split; empty splits are included."""
    distinct = [("proposal_id", "count_distinct"), ("group_id", "count_distinct")]
    counted = manifest.group_by("split").aggregate([([], "count_all"), *distinct])
    found = {row.pop("split"): row.values() for row in counted.select(COUNTED).to_pylist()}
    names = ("samples", "proposals", "groups")
    return {split: dict(zip(names, found.get(split, (0, 0, 0)), strict=True)) for split in SPLITS}
