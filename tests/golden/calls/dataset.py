"""Splits, materials and descriptions of datasets for recorded calls."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from synthetic_samples import build
from valid_catalog import make

from hubbleclip.core import records
from hubbleclip.core.io import sha256_bytes
from hubbleclip.dataset.manifest import DatasetInfo
from hubbleclip.dataset.splits.material import Material

__all__ = ["assignments", "info", "material", "packed", "programmes", "table_of", "tiles_of"]


def assignments(*rows: tuple[str, ...]) -> dict[str, records.SplitAssignment]:
    """Assignments by tile id; a row is tile id, split and, where there is one, reason and group id."""
    made = [dict(zip(("tile_id", "split", "reason", "group_id"), row, strict=False)) for row in rows]
    return {one["tile_id"]: records.SplitAssignment(**{"reason": None, "group_id": "g"} | one) for one in made}


def tiles_of(*ids: str, **more: Any) -> list[records.Tile]:
    """A tile per pair of letters: tile id and proposal id."""
    return [make(records.Tile, tile_id=tile, proposal_id=proposal, **more) for tile, proposal in ids]


def material(*rows: Any) -> Material:
    """The material of splits that has these tiles, observations and proposals."""
    of = {kind: [row for row in rows if isinstance(row, kind)] for kind in (records.Observation, records.Proposal)}
    return Material(
        tiles=[row for row in rows if isinstance(row, records.Tile)],
        observations={row.obs_id: row for row in of[records.Observation]},
        proposals={row.proposal_id: row for row in of[records.Proposal]},
    )


def programmes(*rows: tuple[str, ...]) -> dict[str, records.Proposal]:
    """Proposals by id; a row is number, title and, where there is one, abstract and investigator."""
    made = [dict(zip(("number", "title", "abstract", "pi"), row, strict=False)) for row in rows]
    blank = {"abstract": None, "pi": None}
    return {(id_ := f"hst:{one['number']}"): make(records.Proposal, **blank | one, proposal_id=id_) for one in made}


def info(**more: Any) -> DatasetInfo:
    """A dataset of which some fields are given."""
    texts, tables = dict.fromkeys(("digest", "contract_version"), ""), ("addresses", "shards", "description")
    return DatasetInfo(**{"path": "d", "manifest": None, **texts, **{name: {} for name in tables}} | more)


def packed(folder: Path, words: Iterable[str], **more: Any) -> Any:
    """A dataset that has a tile per word, such as a letter; the word is the picture, `v` and `t` are in val and test."""
    pictures = {word[0].lower() * 32: word.encode() for word in words}
    of = {"v": "val", "t": "test"}
    rows = [
        make(records.Sample, tile_id=one, png_sha256=sha256_bytes(a), ra_deg=a[0] / 1, split=of.get(one[0], "train"))
        for one, a in pictures.items()
    ]
    return build(rows, pictures, folder, **more)


def table_of(rows: Iterable[Any]) -> pa.Table:
    return pa.Table.from_pylist([asdict(row) for row in rows])
