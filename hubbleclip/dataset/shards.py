"""Samples into an immutable dataset directory: WebDataset tars, a manifest and a description.

The digest of the inputs is known before a PNG is read, so that a flow sees in no time that nothing is left to build.
A build stands in `.building-<inputs digest>/` until it is whole; a killed one goes on with the shards that it has.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hubbleclip import contracts
from hubbleclip.dataset import packing
from hubbleclip.dataset.directory import (
    DESCRIPTION,
    MANIFEST,
    SPLITS,
    BuiltDataset,
    DatasetInfo,
    Row,
    content_digest,
    find_dataset,
    read_built,
    read_dataset,
    verify_dataset,
    write_manifest,
)
from hubbleclip.dataset.notices import notices
from hubbleclip.errors import DatasetError
from hubbleclip.files import sha256_file, sync_folder, write_bytes
from hubbleclip.paths import shard_name
from hubbleclip.records import Sample, to_row
from hubbleclip.settings import ShardSettings

__all__ = ["BuiltDataset", "DatasetInfo", "build_dataset", "inputs_digest", "read_dataset", "verify_dataset"]

log = logging.getLogger(__name__)

FORMAT = "webdataset-1"
"""Raise it when the same samples would give other bytes, so that nothing old is taken for new."""
BUILDING = ".building-"
MB = 1_000_000

Plan = dict[str, list[Sample]]


def inputs_digest(samples: Sequence[Sample], settings: ShardSettings) -> str:
    """32 hex digits over all that decides a dataset's bytes; the order of the samples does not. Reads no PNG."""
    total = hashlib.sha256(packing.canonical_json([FORMAT, contracts.contract_version("shards"), settings.digest()]))
    for sample in sorted(_packable(samples), key=lambda s: s.tile_id):
        total.update(packing.sidecar(sample) + b"\n")
    return total.hexdigest()[:32]


def build_dataset(
    samples: Sequence[Sample],
    read_png: packing.ReadPng,
    datasets_dir: Path,
    settings: ShardSettings,
    *,
    contract_version: str,
    code_version: str,
    settings_digests: Mapping[str, str] | None = None,
    read_png_size: Callable[[str], int] | None = None,
) -> BuiltDataset:
    """Build `datasets_dir/<digest>/`, or find it already built from the same inputs.

    `read_png` gives a tile's PNG by its id; `read_png_size` gives its length in bytes without reading it (a `stat`),
    else every PNG is read once more to lay out shards of equal size. `settings_digests` are the digests of the stages
    before, kept in the description. Raises DatasetError when there is no sample, or a PNG is missing or damaged.
    """
    packable = _packable(samples)
    made_from = inputs_digest(packable, settings)
    finished = find_dataset(datasets_dir, made_from)
    if finished is None:
        building = datasets_dir / f"{BUILDING}{made_from}"
        building.mkdir(parents=True, exist_ok=True)
        sizes = read_png_size or (lambda tile_id: len(read_png(tile_id)))
        plan = plan_shards(packable, sizes, settings.max_mb * MB)
        rows = _write_shards(building, plan, read_png)
        facts = {
            "inputs_digest": made_from,
            "contract_version": contract_version,
            "code_version": code_version,
            "settings": settings.model_dump(mode="json"),
            "settings_digests": dict(settings_digests or {}),
        }
        finished = _finish(building, plan, rows, facts)
    return read_built(finished)


def _packable(samples: Sequence[Sample]) -> list[Sample]:
    packable = [sample for sample in samples if sample.split in SPLITS]
    if not packable:
        raise DatasetError("no sample to pack: every tile lacks a caption or is excluded; see `hubbleclip status`")
    if len({sample.tile_id for sample in packable}) != len(packable):
        raise DatasetError("the same tile comes twice among the samples: pass each tile once")
    return packable


def plan_shards(samples: Sequence[Sample], png_size: Callable[[str], int], max_bytes: int) -> Plan:
    """Which samples go into which shard, in order; shards of a split are of nearly equal size, at most `max_bytes`."""
    plan: Plan = {}
    for split in SPLITS:
        ordered = packing.interleave([sample for sample in samples if sample.split == split])
        if not ordered:
            log.warning("split %s has no sample", split)
        sizes = [packing.packed_bytes(sample, png_size(sample.tile_id)) for sample in ordered]
        start = 0
        for index, end in enumerate(packing.cut_evenly(sizes, max_bytes - packing.END_BYTES)):
            plan[shard_name(split, index)] = ordered[start:end]
            start = end
    return plan


def _write_shards(building: Path, plan: Plan, read_png: packing.ReadPng) -> list[Row]:
    """Write the shards that are not yet there; return the manifest's rows, sorted by tile."""
    rows: list[Row] = []
    for name, samples in plan.items():
        path = building / name
        if not path.is_file():
            packing.write_tar(path, samples, read_png)
            log.info("wrote %s: %d samples, %d bytes", name, len(samples), path.stat().st_size)
        extents = packing.read_png_extents(path)
        for sample in samples:
            offset, length = extents[sample.tile_id]
            rows.append({**to_row(sample), "shard": name, "offset": offset, "length": length})
    return sorted(rows, key=lambda row: str(row["tile_id"]))


def _finish(building: Path, plan: Plan, rows: list[Row], facts: Row) -> Path:
    """Write manifest and description, then give the folder its name: from then on it never changes."""
    shards: list[Row] = [
        {
            "shard": name,
            "split": samples[0].split,
            "sha256": sha256_file(building / name),
            "size_bytes": (building / name).stat().st_size,
            "num_samples": len(samples),
        }
        for name, samples in plan.items()
    ]
    write_manifest(building / MANIFEST, rows)
    digest = content_digest(facts["inputs_digest"], {shard["shard"]: shard["sha256"] for shard in shards}, rows)
    description = {
        **facts,
        "digest": digest,
        "format": FORMAT,
        "counts": _counts(rows),
        "shards": shards,
        "manifest_sha256": sha256_file(building / MANIFEST),
        "notices": notices(row["archive"] for row in rows),
    }
    write_bytes(building / DESCRIPTION, packing.canonical_json(description) + b"\n")
    finished = building.rename(building.with_name(digest))
    sync_folder(finished.parent)
    for stale in finished.parent.glob(f"{BUILDING}*"):
        shutil.rmtree(stale)
    return finished


def _counts(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    """Samples, proposals and groups of each split."""
    counts = {}
    for split in SPLITS:
        mine = [row for row in rows if row["split"] == split]
        proposals, groups = {row["proposal_id"] for row in mine}, {row["group_id"] for row in mine}
        counts[split] = {"samples": len(mine), "proposals": len(proposals), "groups": len(groups)}
    return counts
