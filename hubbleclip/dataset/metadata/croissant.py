"""Croissant 1.1 (https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html): the dataset as machines read it.

Two record sets: `samples` has the rows of the manifest, `pictures` the members of the shards by tile id.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from hubbleclip.dataset.manifest import MANIFEST, Row, manifest_schema
from hubbleclip.dataset.metadata.card import shard_places
from hubbleclip.dataset.metadata.credits import homepage
from hubbleclip.dataset.shard_writer import PICTURES

Node = dict[str, Any]

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
TYPES = {
    pa.string(): "sc:Text",
    pa.int64(): "cr:Int64",
    pa.float64(): "cr:Float64",
    pa.bool_(): "sc:Boolean",
}
TERMS = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject",
    "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5",
    "parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator",
    "source", "subField", "transform",
)  # fmt: skip
CONTEXT: Node = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
} | {term: f"cr:{term}" for term in TERMS}


def croissant(description: Row, manifest_sha256: str) -> Node:
    """The metadata, as JSON-LD. Shards of older datasets are named by their relative place. It has no `datePublished`:
    the same dataset has the same bytes on any day.
    """
    notices = description["notices"].values()
    attribution = " ".join(sorted({notice["attribution"] for notice in notices}))
    places = [place for of_split in shard_places(description).values() for place in of_split]
    hashes = {shard["shard"]: shard["sha256"] for shard in description["shards"]}
    shards = [_file(place, "application/x-tar", hashes[place.rpartition("/")[2]]) for place in places]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": f"hubbleclip-{description['digest'][:12]}",
        "description": "Pictures of the sky with the abstracts of the proposals that won the time. " + attribution,
        "citeAs": attribution,
        "license": "; ".join(sorted({notice["licence"] for notice in notices})),
        "creator": {"@type": "sc:Organization", "name": "hubbleclip"},
        "url": homepage(description["notices"]),
        "version": "1.0.0",
        "identifier": description["digest"],
        "distribution": [_file(MANIFEST, "application/x-parquet", manifest_sha256), *shards, _members(shards)],
        "recordSet": [_samples(), _pictures()],
    }


def _file(place: str, media_type: str, sha256: str) -> Node:
    return {
        "@type": "cr:FileObject", "@id": place.rpartition("/")[2], "name": place.rpartition("/")[2],
        "contentUrl": place, "encodingFormat": media_type, "sha256": sha256,
    }  # fmt: skip


def _members(shards: list[Node]) -> Node:
    return {
        "@type": "cr:FileSet", "@id": "picture-files", "name": "picture-files",
        "containedIn": [{"@id": shard["@id"]} for shard in shards],
        "encodingFormat": ["image/png", "image/jpeg"], "includes": [f"*{suffix}" for suffix in PICTURES],
    }  # fmt: skip


def _samples() -> Node:
    return {
        "@type": "cr:RecordSet", "@id": "samples", "name": "samples", "key": {"@id": "samples/tile_id"},
        "description": "The rows of the manifest.", "field": [_column(field) for field in manifest_schema()],
    }  # fmt: skip


def _column(field: pa.Field) -> Node:
    is_list = pa.types.is_list(field.type)
    return {
        "@type": "cr:Field", "@id": f"samples/{field.name}", "name": field.name,
        "description": field.metadata[b"description"].decode(),
        "dataType": TYPES[field.type.value_type if is_list else field.type],
        "source": {"fileObject": {"@id": MANIFEST}, "extract": {"column": field.name}},
    } | ({"isArray": True, "arrayShape": "-1"} if is_list else {})  # fmt: skip


def _pictures() -> Node:
    files = {"fileSet": {"@id": "picture-files"}}
    tile_id = {"extract": {"fileProperty": "filename"}, "transform": {"regex": r"^([0-9a-f]+)\..*$"}}
    return {
        "@type": "cr:RecordSet", "@id": "pictures", "name": "pictures", "key": {"@id": "pictures/tile_id"},
        "description": "The picture of each tile.",
        "field": [
            {
                "@type": "cr:Field", "@id": "pictures/tile_id", "name": "tile_id", "dataType": "sc:Text",
                "description": "Tile.",
                "source": files | tile_id,
                "references": {"field": {"@id": "samples/tile_id"}},
            },
            {
                "@type": "cr:Field", "@id": "pictures/picture", "name": "picture", "dataType": "sc:ImageObject",
                "description": "The picture.", "source": files | {"extract": {"fileProperty": "content"}},
            },
        ],
    }  # fmt: skip
