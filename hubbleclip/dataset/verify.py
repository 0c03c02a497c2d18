"""Whether a dataset is still what was built: every byte of it, and that its parts say the same.

A shard's bytes follow from the manifest's rows and the pictures, whose hashes the rows have: so each sample's stretch
of the tar is made again and compared, and a fault names file and sample.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hubbleclip.contracts import schema as contracts
from hubbleclip.core.errors import ContractError, DatasetError
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.records import Sample
from hubbleclip.dataset.build import content_digest, counts
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
)
from hubbleclip.dataset.shard_writer import BLOCK_BYTES, member_info, member_size_bytes, members
from hubbleclip.dataset.storage import open_storage

SAMPLE_COLUMNS = tuple(Sample.__dataclass_fields__)


def verify_dataset(place: str | Path) -> DatasetInfo:
    """The dataset, when nothing is wrong with it. Raises DatasetError with the first fault."""
    for fault in find_faults(place):
        raise DatasetError(fault)
    return read_dataset(place)


def find_faults(place: str | Path) -> Iterator[str]:
    """Everything that is not as it was built, one line each. Reads every byte; what cannot be read at all is the last
    line.
    """
    try:
        yield from _damaged_files(place)
        info = read_dataset(place)
    except DatasetError as error:
        yield str(error)
        return
    yield from _broken_rows(info)
    yield from _wrong_facts(info)
    for shard in info.description["shards"]:
        yield from _shard_faults(info, shard)


def _damaged_files(place: str | Path) -> Iterator[str]:
    """Files beside the shards whose hash is not the one that the description tells. Raises DatasetError where nothing
    more can be believed: the description itself, or the manifest.
    """
    description, storage = read_description(place), open_storage(place)
    if not is_intact(storage.read(f"{place}/{DESCRIPTION}")):
        raise DatasetError(f"{place}/{DESCRIPTION} is not what was built: {REBUILD_HINT}")
    for name, sha256 in description["files"].items():
        try:
            is_damaged = sha256_bytes(storage.read(f"{place}/{name}")) != sha256
        except FileNotFoundError:
            yield f"{place}/{name} is missing"
            continue
        if is_damaged and name == MANIFEST:
            raise DatasetError(f"{place}/{name} is damaged: {REBUILD_HINT}")
        if is_damaged:
            yield f"{place}/{name} is damaged"


def _broken_rows(info: DatasetInfo) -> Iterator[str]:
    """Where the manifest breaks the contract."""
    if not info.manifest.schema.equals(manifest_schema()):
        yield f"{info.path}/{MANIFEST} has other columns than the contract {info.contract_version}"
        return
    try:
        contracts.to_arrow("sample", info.manifest)
    except ContractError as error:
        yield f"{info.path}/{MANIFEST}: {error}"


def _wrong_facts(info: DatasetInfo) -> Iterator[str]:
    """Where the description contradicts the manifest or itself."""
    facts, manifest = info.description, info.manifest
    tests = manifest.filter(pc.field("split") == "test")["tile_id"].to_pylist()
    told: dict[str, tuple[Any, Any]] = {
        "digest": (facts["digest"], content_digest(facts["inputs_digest"], facts["shards"])),
        "counts": (facts["counts"], counts(manifest)),
        "test list": (facts["files"][TEST_LIST], sha256_bytes(format_tile_list(tests))),
        "number of samples": (sum(shard["num_samples"] for shard in facts["shards"]), manifest.num_rows),
    }
    for name, (one, other) in told.items():
        if one != other:
            yield f"{info.path}/{DESCRIPTION}: its {name} is {one}, its files say {other}"


def _shard_faults(info: DatasetInfo, shard: Row) -> Iterator[str]:
    """What is wrong with a shard: where samples are, each of those; else the file as a whole."""
    address = info.addresses[shard["shard"]]
    data = memoryview(open_storage(address).read(address))
    rows = info.manifest.filter(pc.field("shard") == shard["shard"]).sort_by("offset")
    faults = list(_sample_faults(data, rows, shard["split"]))
    if rows.num_rows != shard["num_samples"]:
        faults.append(f"has {shard['num_samples']} samples by {DESCRIPTION}, {rows.num_rows} by the manifest")
    if not faults and sha256_bytes(data) != shard["sha256"]:
        faults.append(f"is damaged: its hash is not the one in {DESCRIPTION}")
    yield from (f"{address} {fault}" for fault in faults)


def _sample_faults(data: memoryview, rows: pa.Table, split: str) -> Iterator[str]:
    """Samples whose stretch of the tar is not what the manifest's row makes, and an end that is not all zeros."""
    upto = 0
    for row in rows.to_pylist():
        offset, length = row["offset"], row["length"]
        sample = Sample(**{name: row[name] for name in SAMPLE_COLUMNS})
        picture = bytes(data[offset : offset + length])
        faults, place = [], upto
        for name, content in members(sample, picture):
            header = member_info(name, len(content)).tobuf(tarfile.USTAR_FORMAT)
            expected = (header + content).ljust(member_size_bytes(len(content)), b"\0")
            if content is picture and place + BLOCK_BYTES != offset:
                faults.append("its picture is not where the manifest says")
            if data[place : place + len(expected)] != expected:
                faults.append(f"its member {name} is not what the manifest says")
            place += len(expected)
        if sha256_bytes(picture) != sample.png_sha256:
            faults.append("its picture is damaged")
        if sample.split != split:
            faults.append(f"it belongs to {sample.split}")
        yield from (f"is damaged in sample {sample.tile_id}: {fault}" for fault in faults)
        upto = place
    if any(data[upto:]):
        yield "is damaged at its end"
