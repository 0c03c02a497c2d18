"""Dataset card: a Markdown text about content, owners and usage, with front matter for the Hugging Face hub."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from posixpath import normpath
from typing import Any

import pyarrow as pa
import yaml

from hubbleclip.contracts.schema import tables
from hubbleclip.core.records import HEADER_SOURCE
from hubbleclip.dataset.manifest import LOCATION_COLUMNS, SPLITS, Row
from hubbleclip.missions import MISSIONS

HUB_NAMES = {"train": "train", "val": "validation", "test": "test"}  # name of each split on the Hugging Face hub
SIMULATED = "**This sky is simulated.** Pictures, proposals and investigators are invented.\n"
TYPES = {pa.string(): "string", pa.int64(): "int64", pa.float64(): "float64", pa.bool_(): "bool"}
"""Name that the Hugging Face hub uses for each Arrow type."""
TEXT = Path(__file__).with_name("card.md")  # a template for `str.format`
NOTICES = {
    name: {"licence": mission.licence, "attribution": mission.attribution} for name, mission in MISSIONS.items()
} | {
    "cadc": {
        "licence": MISSIONS["hst"].licence,
        "attribution": "Based on observations made with the NASA/ESA Hubble Space Telescope, and obtained from the"
        " Canadian Astronomy Data Centre, operated by the National Research Council of Canada with the support of the"
        " Canadian Space Agency.",
    },
    "simulated": {
        "licence": "CC0 1.0",
        "attribution": "Simulated by hubbleclip. These are not observations of the sky.",
    },
}
UNKNOWN = {"licence": "unknown", "attribution": "Files of the user; ask their authors about attribution."}


def notices(archives: Iterable[str]) -> dict[str, dict[str, str]]:
    """Look up the licence and the attribution of archives, in the wording that the owners of the data require."""
    return {name: NOTICES.get(name, UNKNOWN) for name in sorted(set(archives))}


LICENCE_FILE = "LICENSE.md"
LICENCE_IDS = {"CC0 1.0": "cc0-1.0", "unknown": "unknown"}
"""Identifiers of licences on the Hugging Face hub, which describes a licence without an identifier as `other`."""
SIZES = {10**3: "1K", 10**4: "10K", 10**5: "100K", 10**6: "1M", 10**7: "10M", 10**8: "100M"}
"""Boundaries, in samples, between the size categories of the Hugging Face hub."""


def notice_lines(of_archives: Mapping[str, Mapping[str, str]]) -> str:
    """Format the result of `notices` as a Markdown list."""
    return "\n".join(
        f"- `{archive}`: {notice['attribution']} Licence: {notice['licence']}."
        for archive, notice in of_archives.items()
    )


def with_front_matter(fields: Mapping[str, Any], text: str) -> str:
    """Prepend YAML front matter, which the Hugging Face hub reads, to the text of a card."""
    return f"---\n{yaml.safe_dump(dict(fields), sort_keys=False, allow_unicode=True, width=120)}---\n{text}"


def dataset_card(description: Row, manifest: pa.Table, image_key: str, folder: str = "") -> str:
    """Write the card of a dataset; `folder` is the path from the card to the dataset's folder."""
    counts = description["counts"]
    files = {split: [normpath(folder + path) for path in paths] for split, paths in shard_paths(description).items()}
    values: dict[str, Any] = {
        "name": f"hubbleclip {description['digest'][:12]}",
        "digest": description["digest"],
        "num_samples": f"{manifest.num_rows:,}",
        "captions": caption_line(manifest),
        "counts": ", ".join(f"{counts[split]['samples']:,} in {split}" for split in SPLITS),
        "texts": _texts(manifest),
        "largest": _largest_proposals(manifest),
        "simulated": SIMULATED if "simulated" in description["notices"] else "",
        "data_files": ", ".join(f'"{HUB_NAMES[split]}": {paths}' for split, paths in files.items()),
        "notices": notice_lines(description["notices"]),
        "image_key": image_key,
        "folder": folder,
        "location_columns": ", ".join(map(repr, LOCATION_COLUMNS)),
        "code_version": description["code_version"],
    }
    text = TEXT.read_text(encoding="utf-8").format(**values)
    return with_front_matter(_hub_fields(description, files, image_key), text)


def caption_line(manifest: pa.Table) -> str:
    """State the number of captions of each kind, and the rules and models that wrote captions."""
    counted = Counter(kind for kinds in manifest["caption_kinds"].to_pylist() for kind in kinds)
    text = f"Captions by kind: {', '.join(f'{num:,} `{kind}`' for kind, num in sorted(counted.items()))}."
    writers = sorted({kind.partition("@")[2] for kind in counted if "@" in kind})
    if not writers:
        return text
    named = ", ".join(f"`{name}`" for name in writers)
    return (
        f"{text} **Kinds with `@` were not written by the proposers**, but by {named} (`rules` is a program, any other"
        " name a language model). `.json` has them under `captions` and `caption_kinds`."
    )


def shard_paths(description: Row) -> dict[str, list[str]]:
    """List the paths of each split's shards, relative to the dataset's folder; splits without shards are absent."""
    paths: dict[str, list[str]] = {}
    for shard in description["shards"]:
        # A shard of a parent dataset is in the parent's folder, which is next to the folder of this dataset.
        folder = f"../{shard['home_digest']}/" if shard["home_digest"] else ""
        paths.setdefault(shard["split"], []).append(f"{folder}{shard['shard']}")
    return paths


def _texts(manifest: pa.Table) -> str:
    """State whether the captions were made from abstracts of proposals, from file headers or from both."""
    num_headers = manifest["caption_source"].to_pylist().count(HEADER_SOURCE)
    of_headers = "texts made from the headers of their files, which name target, instrument and filter"
    if num_headers == 0:
        return "the abstracts of the proposals that won observing time"
    if num_headers == manifest.num_rows:
        return f"{of_headers}; no proposal text is known"
    return f"the abstracts of the proposals that won observing time, or, for {num_headers:,} samples, {of_headers}"


def _largest_proposals(manifest: pa.Table) -> str:
    """State the number of proposals, and the shares of the samples in the largest proposal and in the ten largest."""
    nums = sorted(manifest["proposal_id"].value_counts().field("counts").to_pylist(), reverse=True)
    one, ten = (sum(nums[:limit]) / max(sum(nums), 1) for limit in (1, 10))
    return f"{len(nums):,} proposals; the largest has {one:.1%} of the samples, the ten largest have {ten:.1%}"


def _hub_fields(description: Row, files: Mapping[str, list[str]], image_key: str) -> dict[str, Any]:
    """Describe a dataset by the keys that the Hugging Face hub reads."""
    texts = [{"name": name, "dtype": "string"} for name in ("__key__", "__url__", "txt")]
    row = [_feature(field) for field in tables()["sample"].schema()]
    return {
        "pretty_name": f"hubbleclip {description['digest'][:12]}",
        **licence_fields({notice["licence"] for notice in description["notices"].values()}),
        "language": ["en"],
        "size_categories": [size_category(sum(one["samples"] for one in description["counts"].values()))],
        "task_categories": ["zero-shot-image-classification", "image-to-text"],
        "tags": ["astronomy", "hubble", "webdataset", "croissant"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": HUB_NAMES[split], "path": paths} for split, paths in files.items()],
            }
        ],
        # types are listed, because a reader could not infer the type of a column that is null in the first samples
        "dataset_info": {"features": [*texts, {"name": "json", "struct": row}, {"name": image_key, "dtype": "image"}]},
    }


def licence_fields(licences: Collection[str]) -> dict[str, str]:
    """Return the Hugging Face hub's fields for licences: an identifier, or `other` with a name and a file."""
    known = {LICENCE_IDS.get(one) for one in licences}
    if len(known) == 1 and (name := known.pop()):
        return {"license": name}
    name = re.sub("[^a-z0-9.]+", "-", " ".join(sorted(licences)).lower())
    return {"license": "other", "license_name": name, "license_link": LICENCE_FILE}


def size_category(num: int) -> str:
    """Return the hub's category of a number of samples, such as `1K<n<10K`."""
    lower = [name for limit, name in SIZES.items() if num >= limit]
    upper = [name for limit, name in SIZES.items() if num < limit]
    return "<".join([*lower[-1:], "n", *upper[:1]])


def _feature(field: pa.Field) -> dict[str, str]:
    """Describe a column as a feature of the Hugging Face hub."""
    is_list = pa.types.is_list(field.type)
    name = TYPES[field.type.value_type if is_list else field.type]
    return {"name": field.name, "list" if is_list else "dtype": name}
