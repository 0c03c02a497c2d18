"""Verify that a dataset is unchanged since the build and consistent, and that there is no leakage between its splits.

The bytes of a shard are determined by the manifest's rows and by the images, and each row contains the hash of its
image. The verification therefore generates the tar bytes of each sample again and compares them with the shard. If they
differ, the message names the file and the sample.

The search for leaks between the splits reads only the manifest, and uses the functions that made the splits. Two kinds
of leaks are not found: tiles without corners (previews) that overlap on the sky, and proposals that continue each other
by title or programme number (`continuations`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hubbleclip.config.settings import SplitSettings
from hubbleclip.contracts import schema as contracts
from hubbleclip.core.errors import ContractError, DatasetError
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.records import Sample
from hubbleclip.dataset.build import content_digest, count_by_split
from hubbleclip.dataset.manifest import (
    DESCRIPTION,
    MANIFEST,
    REBUILD_HINT,
    SPLIT_REPORT,
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
from hubbleclip.dataset.splits.moving_targets import designation
from hubbleclip.dataset.splits.near_duplicates import near_duplicates, shingles, similarity
from hubbleclip.dataset.splits.sky_guard import SkyPositions, find_conflicts, is_quad, sky_positions
from hubbleclip.dataset.storage import file_address, open_storage

MAX_NAMED = 10
"""Maximum number of leaks of each kind that are described; further leaks are only counted."""
SHARED = {"proposal": "proposal_id", "group": "group_id", "image": "png_sha256"}
"""Columns whose values must not occur in two splits. The keys are the words for these values in messages."""
COMPARED = (("test", ("train", "val")), ("val", ("train",)))
"""Comparisons that cover each pair of splits once: a split, and the splits with which it is compared."""

Splits = npt.NDArray[np.object_]


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
        recorded = info.description[SPLIT_REPORT].get("settings", {})
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
    """Find violations of the data contract in the manifest; datasets of older versions may lack nullable columns."""
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
    """Find the faults of each sample of a shard; without valid manifest rows, only the shard's hash is checked."""
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
    # The hash of the whole shard is checked only if no other fault was found: all other faults are more specific.
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
    """Find faults of the HATS catalogue with pictures, if the dataset has such a catalogue."""
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


def find_leaks(manifest: pa.Table, settings: SplitSettings) -> Iterator[str]:
    """Find the proposals, groups, images, texts, moving targets and sky positions that several splits share.

    For each kind of leak, yields at most `MAX_NAMED` lines with the ids of two tiles. If there are more leaks, one more
    line gives their number. Of the settings, only `near_duplicate` and `guard_arcsec` are used.
    """
    splits: Splits = np.array(manifest["split"].to_pylist(), dtype=object)
    tiles = zip(splits, *(manifest[name].to_pylist() for name in ("tile_id", "proposal_id")), strict=True)
    names = [f"{split} tile {tile_id} of {proposal_id}" for split, tile_id, proposal_id in tiles]
    for what, column in SHARED.items():
        pairs = _shared(manifest[column].to_pylist(), splits)
        yield from _few((f"{names[a]} and {names[b]} have the same {what}" for a, b in pairs), len(pairs))
    yield from _text_leaks(manifest, splits, names, settings.near_duplicate)
    targets = zip(manifest["target_name"].to_pylist(), manifest["is_moving"].to_pylist(), strict=True)
    positions = sky_positions(
        [[corners] if is_quad(corners) else [] for corners in manifest["corners_deg"].to_pylist()],
        [designation(name, is_moving=is_moving) for name, is_moving in targets],
    )
    yield from _sky_leaks(positions, splits, names, settings.guard_arcsec)


def _few(lines: Iterator[str], num: int) -> Iterator[str]:
    """Yield the first `MAX_NAMED` of `num` lines about one kind of leak, then one line with the number of the rest."""
    yield from (f"leak: {line}" for line in islice(lines, MAX_NAMED))
    if num > MAX_NAMED:
        yield f"leak: {num - MAX_NAMED} more of the same kind"


def _shared(values: Sequence[str], splits: Splits) -> list[tuple[int, int]]:
    """Find the values that occur in several splits, and return for each value a pair of rows in different splits."""
    first: dict[str, dict[str, int]] = {}
    for row, (value, split) in enumerate(zip(values, splits, strict=True)):
        first.setdefault(value, {}).setdefault(split, row)
    rows = (list(row_of.values()) for row_of in first.values())
    return [(one, others[0]) for one, *others in rows if others]


def _text_leaks(manifest: pa.Table, splits: Splits, names: Sequence[str], threshold: float) -> Iterator[str]:
    """Find near-duplicate main captions in different splits."""
    row_of: dict[str, int] = {}  # first row of each proposal; only the main captions of these rows are compared
    for row, proposal_id in enumerate(manifest["proposal_id"].to_pylist()):
        row_of.setdefault(proposal_id, row)
    captions = manifest["captions"].take(list(row_of.values())).to_pylist()
    sets = {key: words for key, texts in zip(row_of, captions, strict=True) if (words := shingles(texts[0]))}
    found = near_duplicates(sets, threshold, similarity)
    pairs = [(one, other) for one, other in found if splits[row_of[one]] != splits[row_of[other]]]
    lines = (
        f"{names[row_of[one]]} and {names[row_of[other]]} have near-duplicate captions"
        f" (similarity {similarity(sets[one], sets[other]):.2f})"
        for one, other in pairs
    )
    yield from _few(lines, len(pairs))


def _sky_leaks(positions: SkyPositions, splits: Splits, names: Sequence[str], guard_arcsec: float) -> Iterator[str]:
    """Find tiles that show the same piece of sky, or the same moving target, as a tile of another split."""
    shown: dict[str, Callable[[int], str]] = {
        "moving_target": lambda row: f"show the same moving target {positions.targets[row]}",
        "overlap": lambda _: f"overlap on the sky, or are nearer than {guard_arcsec:g} arcsec",
    }
    for split, others in COMPARED:
        theirs, mine = np.flatnonzero(splits == split), np.flatnonzero(np.isin(splits, others))
        conflicts = find_conflicts(positions, mine, theirs, guard_arcsec)
        for cause, what in shown.items():
            rows = [row for row, found in conflicts.items() if found == cause]
            # `find_conflicts` returns only one tile of each conflict, so a second search finds the other tile.
            pairs = ((min(find_conflicts(positions, theirs, np.array([row]), guard_arcsec)), row) for row in rows)
            yield from _few((f"{names[other]} and {names[row]} {what(row)}" for other, row in pairs), len(rows))
