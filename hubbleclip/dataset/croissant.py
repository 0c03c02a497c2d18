"""Machine-readable description of a dataset in the format Croissant 1.1.

The specification is https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html. The description has two record
sets: `samples` contains the rows of the manifest, and `pictures` contains the images in the shards, keyed by tile id.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from hubbleclip.dataset.card import shard_paths
from hubbleclip.dataset.manifest import MANIFEST, Row, manifest_schema
from hubbleclip.dataset.shard_writer import IMAGE_SUFFIXES
from hubbleclip.missions import DEFAULT, MISSIONS

Node = dict[str, Any]
"""A JSON-LD object."""

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
TYPES = {  # Croissant type of each Arrow type that occurs in the data contract
    pa.string(): "sc:Text",
    pa.int64(): "cr:Int64",
    pa.float64(): "cr:Float64",
    pa.bool_(): "sc:Boolean",
}
FIXED: dict[str, Node] = json.loads(Path(__file__).with_name("croissant.json").read_text(encoding="utf-8"))
"""Parts of the description that are the same for all datasets.

`context` is the JSON-LD context that the Croissant specification requires. `pictures` is the RecordSet of the images,
which refers to the manifest's rows by tile id; its regular expression extracts the tile id from an image's file name.
"""


def croissant_metadata(description: Row, manifest_sha256: str) -> Node:
    """Describe a dataset in Croissant.

    `datePublished` is the day on which the newest observation became public. The day of the build is not used, because
    builds from equal inputs must have equal bytes. The field is absent if the day is unknown.
    """
    notices = description["notices"].values()
    attribution = " ".join(sorted({notice["attribution"] for notice in notices}))
    paths = [path for paths_of_split in shard_paths(description).values() for path in paths_of_split]
    hashes = {shard["shard"]: shard["sha256"] for shard in description["shards"]}
    shards = [_file(path, "application/x-tar", hashes[path.rpartition("/")[2]]) for path in paths]
    missions = (MISSIONS[name] for name in sorted(description["notices"]) if name in MISSIONS)
    return {
        "@context": FIXED["context"],
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": f"hubbleclip-{description['digest'][:12]}",
        "description": "Pictures of the sky with the abstracts of proposals that won observing time. " + attribution,
        "citeAs": attribution,
        "license": "; ".join(sorted({notice["licence"] for notice in notices})),
        "creator": {"@type": "sc:Organization", "name": "hubbleclip"},
        "url": next(missions, DEFAULT).homepage,
        "version": "1.0.0",
        **({"datePublished": released_on} if (released_on := description["released_on"]) else {}),
        "identifier": description["digest"],
        "distribution": [_file(MANIFEST, "application/x-parquet", manifest_sha256), *shards, _members(shards)],
        "recordSet": [_samples(), FIXED["pictures"]],
    }


def _file(path: str, media_type: str, sha256: str) -> Node:
    """Make the Croissant FileObject of a file; its identifier is the file name."""
    return {
        "@type": "cr:FileObject",
        "@id": path.rpartition("/")[2],
        "name": path.rpartition("/")[2],
        "contentUrl": path,
        "encodingFormat": media_type,
        "sha256": sha256,
    }


def _members(shards: list[Node]) -> Node:
    """Make the Croissant FileSet of the images that are contained in the shards."""
    return {
        "@type": "cr:FileSet",
        "@id": "picture-files",
        "name": "picture-files",
        "containedIn": [{"@id": shard["@id"]} for shard in shards],
        "encodingFormat": ["image/png", "image/jpeg"],
        "includes": [f"*{suffix}" for suffix in IMAGE_SUFFIXES],
    }


def _samples() -> Node:
    """Make the Croissant RecordSet of the manifest's rows."""
    return {
        "@type": "cr:RecordSet",
        "@id": "samples",
        "name": "samples",
        "key": {"@id": "samples/tile_id"},
        "description": "The rows of the manifest.",
        "field": [_column(field) for field in manifest_schema()],
    }


def _column(field: pa.Field) -> Node:
    """Make the Croissant Field of a manifest column.

    Its description is the data contract's text about the column, which is read from the column's Arrow metadata.
    """
    is_list = pa.types.is_list(field.type)
    return {
        "@type": "cr:Field",
        "@id": f"samples/{field.name}",
        "name": field.name,
        "description": field.metadata[b"description"].decode(),
        "dataType": TYPES[field.type.value_type if is_list else field.type],
        "source": {"fileObject": {"@id": MANIFEST}, "extract": {"column": field.name}},
    } | ({"isArray": True, "arrayShape": "-1"} if is_list else {})
