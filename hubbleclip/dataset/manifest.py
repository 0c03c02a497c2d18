"""The finished dataset directory: what it says of itself, and where its shards stand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hubbleclip.contracts.schema import tables
from hubbleclip.core.errors import DatasetError
from hubbleclip.core.io import atomic_write, sha256_bytes
from hubbleclip.core.layout import parse_digest, parse_shard_name
from hubbleclip.core.records import Dataset, Placement, Sample, Shard
from hubbleclip.dataset.shard_writer import canonical_json
from hubbleclip.dataset.storage import Span, storage_of

SPLITS = ("train", "val", "test")
DESCRIPTION = "dataset.json"
MANIFEST = "manifest.parquet"
TEST_LIST = "test_tiles.txt"
AGAIN = "delete the dataset's folder and run `hubbleclip shards` again"
PLACE_COLUMNS = ("shard", "offset", "length")
NEEDED_COLUMNS = ("tile_id", "split", "group_id", "captions", *PLACE_COLUMNS)
FACTS = {"digest": str, "inputs_digest": str, "contract_version": str, "counts": dict, "shards": list}
"""What every description tells, whatever version wrote it."""
SHARD_FACTS = {"shard": str, "split": str, "sha256": str, "size_bytes": int, "num_samples": int}
ROWS_A_GROUP = 65_536
ROWS_AT_ONCE = 1024
OWN_HASH = re.compile(rb',"self_sha256":"([0-9a-f]{64})"')

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltDataset:
    """A dataset and the catalog rows that tell of it."""

    dataset: Dataset
    shards: list[Shard]
    placements: list[Placement]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """A dataset as its readers need it. `path` is a folder or an fsspec URL, `addresses` where each shard stands.

    `shards` has the addresses of every split, in order of shard; an empty split has none. `manifest` has a row a
    sample, sorted by tile id: the columns of Sample, then shard, offset and length.
    """

    path: str
    digest: str
    contract_version: str
    addresses: Mapping[str, str]
    shards: Mapping[str, tuple[str, ...]]
    manifest: pa.Table
    description: Mapping[str, Any]

    def read_pictures(self, tile_ids: Sequence[str]) -> list[bytes]:
        """The pictures of tiles as they were stored, straight from their places in the shards."""
        rows = self.manifest.filter(pc.field("tile_id").isin(list(tile_ids))).select(["tile_id", *PLACE_COLUMNS])
        spans = dict(zip(rows["tile_id"].to_pylist(), self.spans(rows), strict=True))
        return storage_of(self.path).read_spans([spans[tile_id] for tile_id in tile_ids])

    def spans(self, rows: pa.Table) -> list[Span]:
        """Where the pictures of some rows of the manifest stand."""
        places = zip(*(rows[name].to_pylist() for name in PLACE_COLUMNS), strict=True)
        return [(self.addresses[shard], offset, length) for shard, offset, length in places]


def manifest_schema() -> pa.Schema:
    """Arrow schema of the manifest: the contract's columns of a sample, then those of its placement."""
    placement = tables()["placement"].schema()
    return pa.schema([*tables()["sample"].schema(), *(placement.field(name) for name in PLACE_COLUMNS)])


def sample_table(samples: Sequence[Sample]) -> pa.Table:
    """Samples as the columns of the contract.

    Made in parts: of many rows at once, the garbage collector would look at all again and again.
    """
    schema = tables()["sample"].schema()
    values_of = attrgetter(*schema.names)
    parts = []
    for start in range(0, len(samples), ROWS_AT_ONCE):
        columns = zip(*map(values_of, samples[start : start + ROWS_AT_ONCE]), strict=True)
        arrays = [pa.array(values, type=field.type) for field, values in zip(schema, columns, strict=True)]
        parts.append(pa.record_batch(arrays, schema=schema))
    return pa.Table.from_batches(parts, schema).combine_chunks()


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as Parquet, atomically; it lasts once `sync_files` was called for it."""
    with atomic_write(path, is_synced=False) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=ROWS_A_GROUP)


def description_bytes(facts: Row) -> bytes:
    """The text of `dataset.json`: canonical JSON that ends in the hash of all before it, so that no bit can change."""
    text = canonical_json(facts)
    return b'%b,"self_sha256":"%b"}\n' % (text[:-1], sha256_bytes(text).encode())


def is_whole(text: bytes) -> bool:
    """Whether a `dataset.json` is what was written."""
    match = OWN_HASH.search(text)
    return match is not None and description_bytes(json.loads(OWN_HASH.sub(b"", text))) == text


def read_description(place: str | Path) -> Row:
    """What `dataset.json` says. Raises DatasetError for none, or one that lacks facts or points outside its folders."""
    address = f"{place}/{DESCRIPTION}"
    try:
        description = json.loads(storage_of(place).read(address))
    except FileNotFoundError as error:
        raise DatasetError(f"{place} is no dataset (no {DESCRIPTION}): run `hubbleclip shards` first") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{address} cannot be read ({error}): {AGAIN}") from error
    try:
        _check_facts(description, FACTS)
        parse_digest(description["digest"])
        for shard in description["shards"]:
            _check_facts(shard, SHARD_FACTS)
            parse_shard_name(shard["shard"])
            if shard.setdefault("home_digest", None) is not None:
                parse_digest(shard["home_digest"])
    except ValueError as error:
        raise DatasetError(f"{address} does not describe a dataset ({error}): {AGAIN}") from error
    return dict(description)


def _check_facts(facts: object, kinds: Mapping[str, type]) -> None:
    """Raises ValueError for facts that are missing or of another kind."""
    if not isinstance(facts, dict):
        raise ValueError(f"{facts!r} is no object")
    wrong = [name for name, kind in kinds.items() if not isinstance(facts.get(name), kind)]
    if wrong:
        raise ValueError(f"its {wrong[0]} is {facts.get(wrong[0])!r}")


def read_manifest(place: str | Path) -> pa.Table:
    """The manifest's table. Raises DatasetError when it is missing or damaged, or lacks a column that readers need."""
    address = f"{place}/{MANIFEST}"
    try:
        manifest = pq.read_table(pa.BufferReader(storage_of(place).read(address)))
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{address} cannot be read ({error}): {AGAIN}") from error
    lost = [name for name in NEEDED_COLUMNS if name not in manifest.column_names]
    if lost:
        raise DatasetError(f"{address} lacks the columns {', '.join(lost)}: {AGAIN}")
    return manifest


def shard_addresses(place: str | Path, description: Row) -> dict[str, str]:
    """Where each shard stands: in this folder, or in that of the dataset which wrote it, beside this one."""
    beside = str(place).rstrip("/").rpartition("/")[0]
    return {
        shard["shard"]: f"{f'{beside}/{home}' if (home := shard['home_digest']) else place}/{shard['shard']}"
        for shard in description["shards"]
    }


def read_dataset(place: str | Path) -> DatasetInfo:
    """Open a dataset in a folder or behind an fsspec URL.

    Checks that every shard is there and of its size, not its bytes: for that see `verify.find_faults`. Raises
    DatasetError when something is missing, or the manifest names a shard that the dataset does not have.
    """
    place = str(place).rstrip("/") if "://" in str(place) else str(Path(place).resolve())
    description, manifest = read_description(place), read_manifest(place)
    addresses, storage = shard_addresses(place, description), storage_of(place)
    for shard in description["shards"]:
        address = addresses[shard["shard"]]
        try:
            size_bytes = storage.size_bytes(address)
        except FileNotFoundError as error:
            raise DatasetError(f"{address} is missing: {AGAIN}") from error
        if size_bytes != shard["size_bytes"]:
            raise DatasetError(f"{address} has {size_bytes} bytes in place of {shard['size_bytes']}: {AGAIN}")
    foreign = set(pc.unique(manifest["shard"]).to_pylist()) - addresses.keys()
    if foreign:
        raise DatasetError(f"{place}/{MANIFEST} names the unknown shard {min(map(str, foreign))!r}: {AGAIN}")
    return DatasetInfo(
        path=place,
        digest=description["digest"],
        contract_version=description["contract_version"],
        addresses=addresses,
        shards={
            split: tuple(addresses[one["shard"]] for one in description["shards"] if one["split"] == split)
            for split in SPLITS
        },
        manifest=manifest,
        description=description,
    )


def finished_datasets(datasets_dir: Path) -> Iterator[tuple[Path, Row]]:
    """Every finished dataset of a folder with its description, in order of digest."""
    for path in sorted(datasets_dir.glob(f"[!.]*/{DESCRIPTION}")):
        yield path.parent, read_description(path.parent)


def find_dataset(datasets_dir: Path, inputs_digest: str) -> Path | None:
    """The finished dataset that was made from these inputs, if any."""
    found = (path for path, facts in finished_datasets(datasets_dir) if facts.get("inputs_digest") == inputs_digest)
    return next(found, None)


def tile_list(tile_ids: Iterable[str]) -> bytes:
    """A list of tiles as it is released: their ids in order, one a line."""
    return "".join(f"{tile_id}\n" for tile_id in sorted(tile_ids)).encode("ascii")


def read_built(dataset_dir: Path) -> BuiltDataset:
    """The catalog rows of a finished dataset. Its `built_at` is when its description was written."""
    info = read_dataset(dataset_dir)
    written_s = (dataset_dir / DESCRIPTION).stat().st_mtime
    columns = zip(*(info.manifest[name].to_pylist() for name in ("tile_id", *PLACE_COLUMNS)), strict=True)
    return BuiltDataset(
        dataset=Dataset(
            digest=info.digest,
            inputs_digest=info.description["inputs_digest"],
            path=f"{dataset_dir.parent.name}/{dataset_dir.name}",
            num_samples=info.manifest.num_rows,
            num_shards=len(info.description["shards"]),
            contract_version=info.contract_version,
            built_at=datetime.fromtimestamp(written_s, UTC),
            parent_digest=info.description["parent_digest"],
            num_new_samples=info.description["num_new_samples"],
            test_list_sha256=info.description["files"][TEST_LIST],
        ),
        shards=[Shard(dataset_digest=info.digest, **shard) for shard in info.description["shards"]],
        placements=[
            Placement(dataset_digest=info.digest, tile_id=tile_id, shard=shard, offset=offset, length=length)
            for tile_id, shard, offset, length in columns
        ],
    )
