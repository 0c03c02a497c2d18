"""Read a finished dataset: the description, the manifest, and the path or URL of each shard."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from hubbleclip.contracts.schema import contract_version, tables
from hubbleclip.contracts.validation import whole
from hubbleclip.core.errors import ContractError, DatasetError, machine_error
from hubbleclip.core.io import atomic_write, from_json, sha256_bytes
from hubbleclip.core.layout import parse_digest, parse_shard_name
from hubbleclip.core.records import Dataset, Placement, Sample, Shard
from hubbleclip.dataset.shard_writer import canonical_json
from hubbleclip.dataset.storage import Span, open_storage

SPLITS = ("train", "val", "test")
DESCRIPTION = "dataset.json"
MANIFEST = "manifest.parquet"
TEST_LIST = "test_tiles.txt"
SPLIT_REPORT = "split_report"
REBUILD_HINT = "delete the dataset's folder and run `hubbleclip shards` again"
LOCATION_COLUMNS = ("shard", "offset", "length")
REQUIRED_COLUMNS = ("tile_id", "split", "group_id", "caption_kinds", "captions", *LOCATION_COLUMNS)
REQUIRED_FIELDS = {
    "digest": str,
    "inputs_digest": str,
    "contract_version": str,
    "counts": dict,
    "shards": list,
    "files": dict,
    SPLIT_REPORT: dict,
}
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=-]*(/[A-Za-z0-9_][A-Za-z0-9_.=-]*)*")
"""Matches the path of a file in the dataset's folder."""
SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_DESCRIPTION_BYTES = 16_000_000
MIN_ROW_BYTES, MAX_RATIO = 32, 200
"""Minimum number of bytes per row of a manifest, and maximum ratio of the manifest's unpacked size to its file size.

Every row has a SHA-256 hash of 32 bytes, which cannot be compressed.
"""
ROW_GROUP_SIZE = 65_536
"""Rows per row group of the Parquet files. Another value would change the bytes of the files."""
SELF_HASH = re.compile(rb',"self_sha256":"([0-9a-f]{64})"')

Row = dict[str, Any]
"""A JSON object, such as the description of a dataset, or the entry of a shard in a description."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltDataset:
    """Rows for the three catalog tables that describe a dataset: datasets, shards, and image positions in shards."""

    dataset: Dataset
    shards: list[Shard]
    placements: list[Placement]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """An open dataset, which training and evaluation read.

    Attributes
    ----------
    path
        Absolute path or fsspec URL of the dataset's folder.
    digest
        Digest of the dataset's content, 32 hexadecimal digits.
    contract_version
        Version of the data contract that the rows follow.
    addresses
        Path or URL of each shard, by shard name.
    shards
        Paths or URLs of the shards of each split, in the order of the description; empty for an empty split.
    manifest
        Table with one row per sample, sorted by tile id. The columns are the fields of `Sample`, then `shard`, `offset`
        and `length`.
    description
        Content of `dataset.json`.

    """

    path: str
    digest: str
    contract_version: str
    addresses: Mapping[str, str]
    shards: Mapping[str, tuple[str, ...]]
    manifest: pa.Table
    description: Mapping[str, Any]

    def read_tile_images(self, tile_ids: Sequence[str]) -> list[bytes]:
        """Read the encoded images of tiles from their byte ranges in the shards.

        Parameters
        ----------
        tile_ids
            Ids of the tiles, in any order.

        Returns
        -------
        list[bytes]
            Content of the PNG or JPEG files, in the order of `tile_ids`.

        """
        rows = self.manifest.filter(pc.field("tile_id").isin(list(tile_ids))).select(["tile_id", *LOCATION_COLUMNS])
        spans = dict(zip(rows["tile_id"].to_pylist(), self.image_spans(rows), strict=True))
        return open_storage(self.path).read_spans([spans[tile_id] for tile_id in tile_ids])

    def image_spans(self, rows: pa.Table) -> list[Span]:
        """Determine the byte ranges of the images of manifest rows.

        Parameters
        ----------
        rows
            Rows of the manifest; the columns `shard`, `offset` and `length` are used.

        Returns
        -------
        list[Span]
            Address of the shard, offset and length in bytes, in the order of the rows.

        """
        places = zip(*(rows[name].to_pylist() for name in LOCATION_COLUMNS), strict=True)
        return [(self.addresses[shard], offset, length) for shard, offset, length in places]


def manifest_schema() -> pa.Schema:
    """Make the Arrow schema of the manifest from the data contract."""
    placement = tables()["placement"].schema()
    return pa.schema([*tables()["sample"].schema(), *(placement.field(name) for name in LOCATION_COLUMNS)])


def sample_columns(manifest: pa.Table) -> list[str]:
    """List the columns of a manifest that are fields of `Sample`, in the order of the fields."""
    return [name for name in Sample.__dataclass_fields__ if name in manifest.column_names]


def samples_of(manifest: pa.Table) -> list[Sample]:
    """Convert the rows of a manifest to samples."""
    return [Sample(**row) for row in manifest.select(sample_columns(manifest)).to_pylist()]


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table to a Parquet file atomically. The file is durable only after `sync_files` was called for it."""
    with atomic_write(path, is_synced=False) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=ROW_GROUP_SIZE)


def with_astropy_header(table: pa.Table) -> pa.Table:
    """Add the metadata that astropy needs to read units, null texts and lists of texts from a Parquet file."""
    metadata = {f"table::len::{field.name}": str(_max_characters(table[field.name])) for field in table.schema}
    columns = []
    for field in table.schema:
        described = {name.decode(): value.decode() for name, value in (field.metadata or {}).items()}
        columns.append({"name": field.name, "datatype": str(field.type)} | described)
    return table.replace_schema_metadata(metadata | {"table_meta_yaml": yaml.safe_dump({"datatype": columns})})


def _max_characters(column: pa.ChunkedArray) -> int:
    """Return the length of the longest text of a column; at least 4, because astropy reads a null as the text None."""
    if pa.types.is_list(column.type):
        column = pc.list_flatten(column)
    longest = pc.max(pc.utf8_length(column)).as_py() if pa.types.is_string(column.type) else None
    return max(longest or 0, len("None"))


def description_bytes(facts: Row) -> bytes:
    """Serialise a description to the content of `dataset.json`.

    The content is canonical JSON, and its last field is the SHA-256 of all other fields.
    """
    text = canonical_json(facts)
    return b'%b,"self_sha256":"%b"}\n' % (text[:-1], sha256_bytes(text).encode())


def is_intact(text: bytes) -> bool:
    """Check whether the content of a `dataset.json` matches the hash that it contains."""
    match = SELF_HASH.search(text)
    return match is not None and description_bytes(json.loads(SELF_HASH.sub(b"", text))) == text


def _no_dataset(place: str | Path) -> str:
    """Compose the error message for a folder that is no dataset; name a dataset that is inside the folder, if any."""
    inside = sorted(str(path.parent) for path in Path(place).glob(f"**/{DESCRIPTION}"))
    hint = f"use one of {len(inside)} datasets in it, such as {inside[-1]}" if inside else "see `hubbleclip datasets`"
    return f"{place} is not a dataset, it has no {DESCRIPTION}: {hint}"


def read_description(place: str | Path) -> Row:
    """Read `dataset.json` and check its content, so that only checked names become parts of paths."""
    address = f"{place}/{DESCRIPTION}"
    try:
        description = from_json(open_storage(place).read(address, MAX_DESCRIPTION_BYTES))
    except FileNotFoundError as error:
        raise DatasetError(_no_dataset(place)) from error
    except (OSError, ValueError) as error:
        failed = DatasetError(f"{address} cannot be read ({error}): {REBUILD_HINT}")
        raise machine_error(error, address) or failed from error
    try:
        _check_fields(description)
        # Digests and shard names become parts of paths. An invalid name could refer to a file outside the folder.
        parse_digest(description["digest"])
        shards = [Shard(dataset_digest=description["digest"], **shard) for shard in description["shards"]]
        for shard in description["shards"]:
            parse_shard_name(shard["shard"])
            if shard["home_digest"] is not None:
                parse_digest(shard["home_digest"])
        whole({"shard": shards})
    except (KeyError, ValueError, TypeError, ContractError) as error:
        raise DatasetError(f"{address} does not describe a dataset ({error}): {REBUILD_HINT}") from error
    return dict(description)


def _check_fields(description: object) -> None:
    """Raise ValueError if a required field is missing or has the wrong type, or if a file has no name or hash."""
    if not isinstance(description, dict):
        raise ValueError(f"{description!r} is not a JSON object")
    for name, type_ in REQUIRED_FIELDS.items():
        if not isinstance(description.get(name), type_):
            raise ValueError(f"{name} is invalid: {description.get(name)!r:.80}")
    for name, sha256 in description["files"].items():
        if not (FILE_NAME.fullmatch(name) and isinstance(sha256, str) and SHA256.fullmatch(sha256)):
            raise ValueError(f"files is invalid: {description['files']!r:.80}")


def check_version(place: str | Path, version: str) -> None:
    """Check that a dataset follows a version of the data contract that this program knows.

    In another major version, a column may have another meaning. A newer minor version may have columns that this
    program would wrongly ignore.
    """
    ours = contract_version("shards")
    parts, known = (
        [int(part) if part.isascii() and part.isdigit() else -1 for part in v.split(".")] for v in (version, ours)
    )
    if parts[0] == known[0] and -1 not in parts and parts[:2] <= known[:2]:
        return
    hint = "install a newer hubbleclip" if parts > known else "run `hubbleclip shards` again"
    raise DatasetError(
        f"{place} follows version {version} of the shards contract, but this program knows {ours}: {hint}"
    )


def read_manifest(place: str | Path) -> pa.Table:
    """Read the manifest of a dataset; raise DatasetError if it is damaged or lacks one of `REQUIRED_COLUMNS`."""
    address = f"{place}/{MANIFEST}"
    try:
        content = open_storage(place).read(address)
        _check_unpacked_size(pq.read_metadata(pa.BufferReader(content)), len(content))
        _check_text_size(content)
        manifest = pq.read_table(pa.BufferReader(content))
    except (OSError, pa.ArrowException) as error:
        failed = DatasetError(f"{address} cannot be read ({error}): {REBUILD_HINT}")
        raise machine_error(error, address) or failed from error
    missing = [name for name in REQUIRED_COLUMNS if name not in manifest.column_names]
    if missing:
        raise DatasetError(f"{address} lacks the columns {', '.join(missing)}: {REBUILD_HINT}")
    broken = [name for name in REQUIRED_COLUMNS if not _is_column_valid(name, manifest[name])]
    if broken:
        raise DatasetError(f"{address} has nulls or wrong types in {', '.join(broken)}: {REBUILD_HINT}")
    return manifest


def _is_column_valid(name: str, values: pa.ChunkedArray) -> bool:
    """Return whether a required column has the type of the contract, no null and no empty list."""
    if values.null_count or values.type != manifest_schema().field(name).type:
        return False
    if not pa.types.is_list(values.type):
        return True
    return not pc.list_flatten(values).null_count and pc.min(pc.list_value_length(values)).as_py() != 0


def _is_inside(manifest: pa.Table, shards: Sequence[Row]) -> bool:
    """Return whether the byte range of every image is in its shard. `shards` must contain every shard."""
    sizes = pa.array([shard["size_bytes"] for shard in shards], pa.int64())
    names = pa.array([shard["shard"] for shard in shards], pa.string())
    size = sizes.take(pc.index_in(manifest["shard"].combine_chunks(), names))
    offset, length = manifest["offset"].combine_chunks(), manifest["length"].combine_chunks()
    is_sized = pc.and_(pc.greater(length, 0), pc.less_equal(length, size))  # so that the next line cannot overflow
    is_placed = pc.and_(pc.greater_equal(offset, 0), pc.less_equal(offset, pc.subtract(size, length)))
    return bool(pc.all(pc.and_(is_sized, is_placed), min_count=0).as_py())


def _check_unpacked_size(metadata: pq.FileMetaData, num_bytes: int) -> None:
    """Raise OSError if a Parquet file claims more rows or unpacked bytes than a manifest of its size can have."""
    groups = (metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    if metadata.num_rows * MIN_ROW_BYTES > num_bytes or sum(groups) > num_bytes * MAX_RATIO:
        raise OSError(f"the file claims {metadata.num_rows} rows in {num_bytes} bytes")


def _check_text_size(content: bytes) -> None:
    """Raise OSError if the texts of all rows together take more than `MAX_RATIO` times the bytes of the file.

    A text that many rows share is stored once, so a small file may need much memory.
    """
    fields = pq.read_schema(pa.BufferReader(content))
    names = [f"{one.name}.list.element" if pa.types.is_list(one.type) else one.name for one in fields]
    size = 0
    for batch in pq.ParquetFile(pa.BufferReader(content), read_dictionary=names).iter_batches():
        for column in batch.columns:
            values = column.flatten() if pa.types.is_list(column.type) else column
            if pa.types.is_dictionary(values.type):
                lengths = pc.binary_length(values.dictionary).take(values.indices)
                size += pc.sum(lengths.cast(pa.int64())).as_py() or 0
        if size > len(content) * MAX_RATIO:
            raise OSError(f"the texts unpack to more than {MAX_RATIO} times the size of the file")


def shard_addresses(place: str | Path, description: Row) -> dict[str, str]:
    """Determine the path or URL of each shard.

    A reused shard is in the folder of an older dataset, next to the folder of this dataset.
    """
    root = str(place).rstrip("/").rpartition("/")[0]
    return {
        shard["shard"]: f"{f'{root}/{home}' if (home := shard['home_digest']) else place}/{shard['shard']}"
        for shard in description["shards"]
    }


def read_dataset(place: str | Path) -> DatasetInfo:
    """Open a dataset in a folder or behind an fsspec URL.

    This function checks that every shard exists and has the right size. To check the content of the shards too, use
    `verify.find_faults`.

    Parameters
    ----------
    place
        Folder or fsspec URL of the dataset.

    Returns
    -------
    DatasetInfo
        The open dataset.

    Raises
    ------
    DatasetError
        If a file is missing, a shard has the wrong size, or the version of the contract is unknown. The error is also
        raised if the manifest names a shard that is not in the description, or a byte range outside of its shard.

    """
    # The path is made absolute, so that the folders of parent datasets are found from any working directory.
    place = str(place).rstrip("/") if "://" in str(place) else str(Path(place).resolve())
    description = read_description(place)
    check_version(place, description["contract_version"])
    manifest = read_manifest(place)
    addresses, storage = shard_addresses(place, description), open_storage(place)
    for shard in description["shards"]:
        address = addresses[shard["shard"]]
        try:
            size_bytes = storage.size_bytes(address)
        except FileNotFoundError as error:
            raise DatasetError(f"{address} is missing: {REBUILD_HINT}") from error
        if size_bytes != shard["size_bytes"]:
            raise DatasetError(f"{address} has {size_bytes} bytes instead of {shard['size_bytes']}: {REBUILD_HINT}")
    unknown = set(pc.unique(manifest["shard"]).to_pylist()) - addresses.keys()
    if unknown:
        raise DatasetError(f"{place}/{MANIFEST} names the unknown shard {min(map(str, unknown))!r}: {REBUILD_HINT}")
    if not _is_inside(manifest, description["shards"]):
        raise DatasetError(f"{place}/{MANIFEST} places an image outside of its shard: {REBUILD_HINT}")
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
    """Iterate over the finished datasets of a folder, in the order of their digests; the folder may be missing."""
    # The folder names of unfinished builds start with a dot.
    for path in sorted(datasets_dir.glob(f"[!.]*/{DESCRIPTION}")):
        yield path.parent, read_description(path.parent)


def find_dataset(datasets_dir: Path, inputs_digest: str) -> Path | None:
    """Find the finished dataset that was built from the given inputs."""
    finished = finished_datasets(datasets_dir)
    return next((path for path, description in finished if description["inputs_digest"] == inputs_digest), None)


def format_tile_list(tile_ids: Iterable[str]) -> bytes:
    """Serialise a list of tile ids, such as the published list of test tiles."""
    return "".join(f"{tile_id}\n" for tile_id in sorted(tile_ids)).encode("ascii")


def read_catalog_rows(dataset_dir: Path) -> BuiltDataset:
    """Make the catalog rows of a finished dataset."""
    info = read_dataset(dataset_dir)
    # The modification time of the file is the build time. The file does not contain the build time, because datasets
    # from equal inputs must have equal content.
    written_s = (dataset_dir / DESCRIPTION).stat().st_mtime
    columns = zip(*(info.manifest[name].to_pylist() for name in ("tile_id", *LOCATION_COLUMNS)), strict=True)
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
            test_list_sha256=info.description["files"].get(TEST_LIST),
        ),
        shards=[Shard(dataset_digest=info.digest, **shard) for shard in info.description["shards"]],
        placements=[
            Placement(dataset_digest=info.digest, tile_id=tile_id, shard=shard, offset=offset, length=length)
            for tile_id, shard, offset, length in columns
        ],
    )
