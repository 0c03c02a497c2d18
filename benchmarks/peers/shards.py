"""Shards as one writes them with webdataset: members that are bytes already, and nothing checked, hashed or synced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import webdataset as wds

NAME = "webdataset.ShardWriter"

Member = dict[str, str | bytes]


def write_shards(members: Sequence[Member], folder: Path, max_bytes: int) -> None:
    """Write samples, each a dict of `__key__`, `json`, `png` and `txt`, into tars of about `max_bytes`."""
    with wds.ShardWriter(str(folder / "train-%06d.tar"), maxsize=max_bytes, verbose=0, encoder=False) as writer:
        for member in members:
            writer.write(member)
