"""Verify that a dataset is still what was built, byte by byte, and that its files agree with each other.

The bytes of a shard follow from the manifest's rows and from the images, whose hashes the rows contain. Each sample's
part of the tar is therefore generated again and compared, so a fault names its file and its sample.
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
from hubbleclip.dataset.build import content_digest, count_by_split
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
    """Open a dataset after a full verification.

    Parameters
    ----------
    place
        Folder or fsspec URL.

    Returns
    -------
    DatasetInfo
        The open dataset.

    Raises
    ------
    DatasetError
        With the first fault.

    """
    for fault in find_faults(place):
        raise DatasetError(fault)
    return read_dataset(place)


def find_faults(place: str | Path) -> Iterator[str]:
    """Find every difference between a dataset and its description; reads every byte.

    Parameters
    ----------
    place
        Folder or fsspec URL.

    Yields
    ------
    str
        One line per fault. A fault that prevents reading the dataset is the last one.

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
    """Files beside the shards whose hash differs; DatasetError for the description and the manifest."""
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
            raise DatasetError(f"{place}/{name} is damaged: {REBUILD_HINT}")  # no row of it can be trusted
        if is_damaged:
            yield f"{place}/{name} is damaged"


def _broken_rows(info: DatasetInfo) -> Iterator[str]:
    """Violations of the data contract in the manifest."""
    if not info.manifest.schema.equals(manifest_schema()):
        yield f"{info.path}/{MANIFEST} has other columns than the contract {info.contract_version}"  # order and types
        return
    try:
        contracts.to_arrow("sample", info.manifest)
    except ContractError as error:
        yield f"{info.path}/{MANIFEST}: {error}"


def _wrong_facts(info: DatasetInfo) -> Iterator[str]:
    """Contradictions between the description and the manifest, or within the description."""
    facts, manifest = info.description, info.manifest
    tests = manifest.filter(pc.field("split") == "test")["tile_id"].to_pylist()
    stated_and_actual: dict[str, tuple[Any, Any]] = {
        "digest": (facts["digest"], content_digest(facts["inputs_digest"], facts["shards"])),
        "counts": (facts["counts"], count_by_split(manifest)),
        "test list": (facts["files"][TEST_LIST], sha256_bytes(format_tile_list(tests))),
        "number of samples": (sum(shard["num_samples"] for shard in facts["shards"]), manifest.num_rows),
    }
    for name, (stated, actual) in stated_and_actual.items():
        if stated != actual:
            yield f"{info.path}/{DESCRIPTION}: its {name} is {stated}, its files give {actual}"


def _shard_faults(info: DatasetInfo, shard: Row) -> Iterator[str]:
    """Faults of a shard: those of single samples, or else of the file as a whole."""
    address = info.addresses[shard["shard"]]
    data = memoryview(open_storage(address).read(address))
    rows = info.manifest.filter(pc.field("shard") == shard["shard"]).sort_by("offset")
    faults = list(_sample_faults(data, rows, shard["split"]))
    if rows.num_rows != shard["num_samples"]:
        faults.append(f"has {shard['num_samples']} samples by {DESCRIPTION}, {rows.num_rows} by the manifest")
    # Faults of single samples say more than the hash of the whole shard, which is checked only without them.
    if not faults and sha256_bytes(data) != shard["sha256"]:
        faults.append(f"is damaged: its hash is not the one in {DESCRIPTION}")
    yield from (f"{address} {fault}" for fault in faults)


def _sample_faults(data: memoryview, rows: pa.Table, split: str) -> Iterator[str]:
    """Samples whose part of the tar differs from what the manifest's row gives, and a trailer that is not all zeros."""
    end = 0  # where the previous sample ends in the tar
    for row in rows.to_pylist():
        offset, length = row["offset"], row["length"]
        sample = Sample(**{name: row[name] for name in SAMPLE_COLUMNS})
        image = bytes(data[offset : offset + length])
        faults, position = [], end
        for name, content in members(sample, image):
            header = member_info(name, len(content)).tobuf(tarfile.USTAR_FORMAT)
            expected = (header + content).ljust(member_size_bytes(len(content)), b"\0")  # zeros up to a full block
            if content is image and position + BLOCK_BYTES != offset:  # one header block precedes the content
                faults.append("its image is not where the manifest says")
            if data[position : position + len(expected)] != expected:
                faults.append(f"its member {name} is not what the manifest says")
            position += len(expected)
        if sha256_bytes(image) != sample.png_sha256:
            faults.append("its image is damaged")
        if sample.split != split:
            faults.append(f"it belongs to {sample.split}")
        yield from (f"is damaged in sample {sample.tile_id}: {fault}" for fault in faults)
        end = position
    if any(data[end:]):  # a tar ends in zero blocks
        yield "is damaged at its end"
