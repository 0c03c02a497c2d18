"""The finished dataset directory: what it says of itself, and whether it is still true."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hubbleclip.contracts import tables
from hubbleclip.dataset.packing import canonical_json
from hubbleclip.errors import DatasetError
from hubbleclip.files import replacing, sha256_file
from hubbleclip.paths import parse_shard_name
from hubbleclip.records import Dataset, Placement, Shard

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
DESCRIPTION = "dataset.json"
MANIFEST = "manifest.parquet"
AGAIN = "delete the dataset's folder and run `hubbleclip shards` again"
PLACE_COLUMNS = ("shard", "offset", "length")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltDataset:
    """A dataset and the catalog rows that tell of it."""

    dataset: Dataset
    shards: list[Shard]
    placements: list[Placement]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """A dataset as its readers need it. `shards` has every split, in order of shard; an empty split has no paths.

    `manifest` has a row a sample, sorted by tile id: the columns of Sample, then shard, offset and length.
    """

    path: Path
    digest: str
    contract_version: str
    shards: Mapping[str, tuple[Path, ...]]
    manifest: pa.Table
    description: Mapping[str, Any]


def manifest_schema() -> pa.Schema:
    """Arrow schema of the manifest: the contract's columns of a sample, then those of its placement."""
    placement = tables()["placement"].schema()
    return pa.schema([*tables()["sample"].schema(), *(placement.field(name) for name in PLACE_COLUMNS)])


def content_digest(inputs_digest: str, shard_sha256: Mapping[str, str], rows: Iterable[Row]) -> str:
    """32 hex digits over what the dataset was made from, its shards and its manifest rows; equal for equal content."""
    total = hashlib.sha256(f"{inputs_digest}\n".encode())
    for name, sha256 in sorted(shard_sha256.items()):
        total.update(f"{name} {sha256}\n".encode())
    for row in rows:
        total.update(canonical_json(row) + b"\n")
    return total.hexdigest()[:32]


def write_manifest(path: Path, rows: Sequence[Row]) -> None:
    """Write the manifest, atomically."""
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=manifest_schema()), temporary, compression="zstd")


def read_description(dataset_dir: Path) -> dict[str, Any]:
    """What `dataset.json` says. Raises DatasetError when the directory is no dataset."""
    path = dataset_dir / DESCRIPTION
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DatasetError(f"{dataset_dir} is no dataset (no {DESCRIPTION}): run `hubbleclip shards` first") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({error}): {AGAIN}") from error
    if not isinstance(description, dict) or "shards" not in description:
        raise DatasetError(f"{path} does not describe a dataset: {AGAIN}")
    return description


def read_manifest(dataset_dir: Path) -> pa.Table:
    """The manifest's table. Raises DatasetError when it is missing or damaged."""
    try:
        return pq.read_table(dataset_dir / MANIFEST)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(
            f"{dataset_dir / MANIFEST} cannot be read ({error}): delete the folder, build again"
        ) from error


def read_dataset(dataset_dir: Path) -> DatasetInfo:
    """Open a dataset directory. Checks that every shard is there, not its bytes: for that see `verify_dataset`.

    Raises DatasetError when something is missing.
    """
    description = read_description(dataset_dir)
    shards: dict[str, tuple[Path, ...]] = dict.fromkeys(SPLITS, ())
    for shard in description["shards"]:
        path = dataset_dir / shard["shard"]
        if not path.is_file():
            raise DatasetError(f"{path} is missing: {AGAIN}")
        split, _ = parse_shard_name(path.name)
        shards[split] = (*shards[split], path)
    return DatasetInfo(
        path=dataset_dir,
        digest=description["digest"],
        contract_version=description["contract_version"],
        shards=shards,
        manifest=read_manifest(dataset_dir),
        description=description,
    )


def verify_dataset(dataset_dir: Path) -> DatasetInfo:
    """Hash every byte again. Raises DatasetError that names the first shard or file that is not what was built."""
    info = read_dataset(dataset_dir)
    expected = {shard["shard"]: shard["sha256"] for shard in info.description["shards"]}
    for name, sha256 in {**expected, MANIFEST: info.description["manifest_sha256"]}.items():
        if sha256_file(dataset_dir / name) != sha256:
            raise DatasetError(
                f"{dataset_dir / name} is damaged: delete {dataset_dir} and run `hubbleclip shards` again"
            )
    if content_digest(info.description["inputs_digest"], expected, info.manifest.to_pylist()) != info.digest:
        raise DatasetError(f"{dataset_dir / DESCRIPTION} is not what was built: {AGAIN}")
    return info


def find_dataset(datasets_dir: Path, inputs_digest: str) -> Path | None:
    """The finished dataset that was made from these inputs, if any."""
    for path in sorted(datasets_dir.glob(f"[!.]*/{DESCRIPTION}")):
        if read_description(path.parent).get("inputs_digest") == inputs_digest:
            return path.parent
    return None


def read_built(dataset_dir: Path) -> BuiltDataset:
    """The catalog rows of a finished dataset. Its `built_at` is when its description was written."""
    info = read_dataset(dataset_dir)
    written_s = (dataset_dir / DESCRIPTION).stat().st_mtime
    columns = info.manifest.select(["tile_id", *PLACE_COLUMNS]).to_pylist()
    return BuiltDataset(
        dataset=Dataset(
            digest=info.digest,
            inputs_digest=info.description["inputs_digest"],
            path=f"{dataset_dir.parent.name}/{dataset_dir.name}",
            num_samples=info.manifest.num_rows,
            num_shards=len(info.description["shards"]),
            contract_version=info.contract_version,
            built_at=datetime.fromtimestamp(written_s, UTC),
        ),
        shards=[Shard(dataset_digest=info.digest, **shard) for shard in info.description["shards"]],
        placements=[Placement(dataset_digest=info.digest, **row) for row in columns],
    )
