"""Verify that a dataset is unchanged since the build, that its files agree, and that its splits share nothing.

The bytes of a shard are determined by the manifest's rows and by the images, and each row contains the hash of its
image. The verification therefore generates the tar bytes of each sample again and compares them with the shard. If they
differ, the message names the file and the sample.

The splits are searched for leaks with the functions by which they were made; see `leaks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hubbleclip.config.settings import SplitSettings
from hubbleclip.contracts import schema as contracts
from hubbleclip.core.errors import ContractError, DatasetError
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.records import Sample
from hubbleclip.dataset.build import content_digest, count_by_split
from hubbleclip.dataset.leaks import find_leaks
from hubbleclip.dataset.manifest import (
    DESCRIPTION,
    MANIFEST,
    REBUILD_HINT,
    TEST_LIST,
    DatasetInfo,
    Row,
    format_tile_list,
    is_intact,
    manifest_schema,
    read_dataset,
    read_description,
    sample_columns,
)
from hubbleclip.dataset.publish import SKY_PICTURES
from hubbleclip.dataset.shard_writer import BLOCK_BYTES, canonical_json, member_bytes, members
from hubbleclip.dataset.splits.report import REPORT
from hubbleclip.dataset.storage import file_address, open_storage


def verify_dataset(place: str | Path) -> DatasetInfo:
    """Verify every byte of a dataset and open the dataset; raises DatasetError with the first fault."""
    for fault in find_faults(place):
        raise DatasetError(fault)
    return read_dataset(place)


def find_faults(place: str | Path) -> Iterator[str]:
    """Read every byte of a dataset and find all differences from its description, and all leaks between its splits.

    Yields one line per fault, and ends after a fault that makes the dataset unreadable.
    """
    try:
        yield from _damaged_files(place)
        info = read_dataset(place)
    except DatasetError as error:
        yield str(error)
        return
    broken = list(_broken_rows(info))
    yield from broken
    yield from _wrong_facts(info)
    if not broken:  # the search for leaks needs every column
        recorded = info.description[REPORT].get("settings", {})
        thresholds = {name: recorded[name] for name in ("near_duplicate", "guard_arcsec") if name in recorded}
        yield from (f"{info.path}: {leak}" for leak in find_leaks(info.manifest, SplitSettings(**thresholds)))
    for shard in info.description["shards"]:
        yield from _shard_faults(info, shard, has_rows=not broken)
    yield from _picture_faults(info)


def _damaged_files(place: str | Path) -> Iterator[str]:
    """Find damaged files other than shards; raise DatasetError if the description or the manifest is damaged."""
    description, storage = read_description(place), open_storage(place)
    if not is_intact(storage.read(f"{place}/{DESCRIPTION}")):
        raise DatasetError(f"{place}/{DESCRIPTION} was changed after the build: {REBUILD_HINT}")
    if MANIFEST not in description["files"]:
        yield f"{place}/{DESCRIPTION} has no hash of {MANIFEST}"
    for name, sha256 in description["files"].items():
        try:
            is_damaged = sha256_bytes(storage.read(file_address(place, name))) != sha256
        except FileNotFoundError:
            yield f"{place}/{name} is missing"
            continue
        except DatasetError as error:  # the file is not a regular one, or too large
            yield str(error)
            continue
        if is_damaged and name == MANIFEST:
            raise DatasetError(f"{place}/{name} is damaged: {REBUILD_HINT}")  # later checks need its rows
        if is_damaged:
            yield f"{place}/{name} is damaged"


def _broken_rows(info: DatasetInfo) -> Iterator[str]:
    """Find violations of the data contract in the manifest; nullable columns may be missing, as in older versions."""
    manifest = info.manifest
    lacking = [field for field in manifest_schema() if field.nullable and field.name not in manifest.column_names]
    # `equals` also compares the order and the types of the columns.
    if not manifest.schema.equals(pa.schema([field for field in manifest_schema() if field not in lacking])):
        yield f"{info.path}/{MANIFEST} does not have the columns of contract version {info.contract_version}"
        return
    for field in lacking:
        manifest = manifest.append_column(field, pa.nulls(len(manifest), field.type))
    try:
        contracts.to_arrow("sample", manifest)
    except ContractError as error:
        yield f"{info.path}/{MANIFEST}: {error}"


def _wrong_facts(info: DatasetInfo) -> Iterator[str]:
    """Find values of the description that contradict the manifest or other values of the description."""
    facts, manifest = info.description, info.manifest
    tests = manifest.filter(pc.field("split") == "test")["tile_id"].to_pylist()
    stated_and_actual: dict[str, tuple[Any, Any]] = {
        "digest": (facts["digest"], content_digest(facts["inputs_digest"], facts["shards"])),
        "counts": (facts["counts"], count_by_split(manifest)),
        "test list": (facts["files"].get(TEST_LIST), sha256_bytes(format_tile_list(tests))),
        "number of samples": (sum(shard["num_samples"] for shard in facts["shards"]), manifest.num_rows),
    }
    for name, (stated, actual) in stated_and_actual.items():
        if stated != actual:
            yield f"{info.path}/{DESCRIPTION}: the {name} is {stated}, but {actual} according to the dataset's files"


def _shard_faults(info: DatasetInfo, shard: Row, *, has_rows: bool) -> Iterator[str]:
    """Find the faults of a shard: those of its samples if the manifest's rows are valid, or else those of the whole
    file.
    """
    address = info.addresses[shard["shard"]]
    data = memoryview(open_storage(address).read(address))
    faults: list[str] = []
    if has_rows:
        rows = info.manifest.filter(pc.field("shard") == shard["shard"]).sort_by("offset")
        faults = list(_sample_faults(data, rows, shard["split"]))
        if rows.num_rows != shard["num_samples"]:
            faults.append(
                f"has {shard['num_samples']} samples according to {DESCRIPTION}, but {rows.num_rows} in the manifest"
            )
    # The hash of the whole shard is checked only if no other fault was found, because the others are more specific.
    if not faults and sha256_bytes(data) != shard["sha256"]:
        faults.append(f"is damaged: its hash is not the one in {DESCRIPTION}")
    yield from (f"{address} {fault}" for fault in faults)


def _sample_faults(data: memoryview, rows: pa.Table, split: str) -> Iterator[str]:
    """Find samples whose bytes in the tar differ from the expected bytes, and nonzero bytes after the last sample.

    The expected bytes are generated from the manifest's rows.
    """
    columns = sample_columns(rows)
    end = 0  # offset in the tar at which the previous sample ends
    for row in rows.to_pylist():
        offset, length = row["offset"], row["length"]
        values = {name: row[name] for name in columns}
        sample = Sample(**values)
        image = bytes(data[offset : offset + length])
        faults, position = [], end
        for name, content in members(sample, image, canonical_json(values)):
            expected = member_bytes(name, content)
            if content is image and position + BLOCK_BYTES != offset:  # one header block precedes the content
                faults.append("the image is not at the offset that the manifest states")
            if data[position : position + len(expected)] != expected:
                faults.append(f"the tar member {name} differs from the manifest's row")
            position += len(expected)
        if sha256_bytes(image) != sample.png_sha256:
            faults.append("the image is damaged")
        if sample.split != split:
            faults.append(f"the sample belongs to split {sample.split}, but the shard to {split}")
        yield from (f"is damaged in sample {sample.tile_id}: {fault}" for fault in faults)
        end = position
    if any(data[end:]):  # a valid tar contains only zeros after the last member
        yield "is damaged after the last sample"


def _picture_faults(info: DatasetInfo) -> Iterator[str]:
    """Find faults of the HATS catalogue with pictures, if the dataset was published with it."""
    folder, storage = f"{info.path}/{SKY_PICTURES}/dataset", open_storage(info.path)
    try:
        listed = pq.read_metadata(pa.BufferReader(storage.read(f"{folder}/_metadata")))
    except FileNotFoundError:
        return
    except pa.ArrowException:
        yield f"{folder}/_metadata is damaged: publish the dataset again with --pictures"
        return
    hashes = dict(zip(*(info.manifest[name].to_pylist() for name in ("tile_id", "png_sha256")), strict=True))
    for path in sorted({listed.row_group(number).column(0).file_path for number in range(listed.num_row_groups)}):
        try:
            read = pa.BufferReader(storage.read(f"{folder}/{path}"))
            rows = pq.read_table(read, columns=["tile_id", "picture"]).to_pylist()
        except (OSError, pa.ArrowException):
            rows = [{"tile_id": "", "picture": b""}]
        if any(sha256_bytes(row["picture"]) != hashes.get(row["tile_id"]) for row in rows):
            yield f"{folder}/{path} is damaged: publish the dataset again with --pictures"
