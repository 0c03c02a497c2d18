"""Shards by webdataset's writer: members that are bytes already, nothing checked, hashed or synced; or all of these."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import webdataset as wds

NAME = "webdataset.ShardWriter, bytes alone"
CAREFUL_NAME = "webdataset.ShardWriter: made, checked, hashed, synced"

Member = Mapping[str, Any]


def write_shards(members: Sequence[Member], folder: Path, max_bytes: int) -> None:
    """Write samples, each a dict of `__key__`, `json`, `png` and `txt` as bytes, into tars of about `max_bytes`."""
    with wds.ShardWriter(pattern(folder), maxsize=max_bytes, verbose=0, encoder=False) as writer:
        for member in members:
            writer.write(member)


def write_shards_carefully(members: Sequence[Member], folder: Path, max_bytes: int) -> None:
    """Write samples from rows: make the JSON, check each PNG against the row's hash, hash and sync each shard."""
    with wds.ShardWriter(pattern(folder), maxsize=max_bytes, verbose=0, post=seal) as writer:
        for member in members:
            if hashlib.sha256(member["png"]).hexdigest() != member["json"]["png_sha256"]:
                raise ValueError(f"the PNG of {member['__key__']} does not match its hash")
            writer.write(member)


def pattern(folder: Path) -> str:
    """Return the name pattern of the shards."""
    return str(folder / "train-%06d.tar")


def seal(path: str) -> None:
    """Hash and sync a finished shard."""
    with Path(path).open("rb") as file:
        hashlib.file_digest(file, "sha256")
        os.fsync(file.fileno())
