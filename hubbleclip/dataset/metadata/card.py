"""Dataset card: a Markdown text about content, owners and usage, with front matter for the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import yaml

from hubbleclip.dataset.manifest import SPLITS, Row

HUB_NAMES = {"train": "train", "val": "validation", "test": "test"}  # name of each split on the Hugging Face hub
TEXT = """
# {name}

{num_samples} pictures of the sky with the abstracts of the proposals that won the time: {counts}.
{simulated}
Each sample is `<tile id>.png` (8-bit grey; `.jpg` where tiles are stored as JPEG), `.txt` (the abstract) and `.json`
(the tile's row: proposal, target, instrument, filter, place on the sky, product and hash). `manifest.parquet` has all
rows with shard, offset and length; `sky.parquet` has them by place on the sky (`_healpix_29`); `test_tiles.txt` lists
the test tiles; `croissant.json` describes all this to machines; `dataset.json` has every hash. Digest: `{digest}`.

All tiles of a proposal, and of proposals with nearly the same abstract, are in one split, and no training tile overlaps
a validation or test tile.

```python
from datasets import load_dataset

samples = load_dataset("webdataset", data_files={{{data_files}}})
```

## Licence and attribution

{notices}

Titles and abstracts are those of the proposals' principal investigators, whom every sample names: {investigators}.

Made by hubbleclip {code_version}.
"""


def dataset_card(description: Row, manifest: pa.Table) -> str:
    """Write the card of a dataset.

    Parameters
    ----------
    description
        Description of the dataset; `digest`, `counts`, `shards`, `notices` and `code_version` are used.
    manifest
        Manifest of the dataset; the investigators are read from its column `pi`.

    Returns
    -------
    str
        Text in Markdown with YAML front matter.

    """
    counts = description["counts"]
    files = shard_paths(description)
    values: dict[str, Any] = {
        "name": f"hubbleclip {description['digest'][:12]}",
        "digest": description["digest"],
        "num_samples": f"{manifest.num_rows:,}",
        "counts": ", ".join(f"{counts[split]['samples']:,} in {split}" for split in SPLITS),
        "simulated": _warning(description["notices"]),
        "data_files": ", ".join(f'"{HUB_NAMES[split]}": {paths}' for split, paths in files.items()),
        "notices": "\n".join(
            f"- `{archive}`: {notice['attribution']} Licence: {notice['licence']}."
            for archive, notice in description["notices"].items()
        ),
        "investigators": "; ".join(sorted(manifest["pi"].drop_null().unique().to_pylist())) or "none is known",
        "code_version": description["code_version"],
    }
    return f"---\n{_front_matter(description, files)}---\n{TEXT.format(**values)}"


def shard_paths(description: Row) -> dict[str, list[str]]:
    """List the paths of each split's shards, relative to the dataset's folder.

    Parameters
    ----------
    description
        Description of the dataset; only `shards` is used.

    Returns
    -------
    dict[str, list[str]]
        Paths by split, in the order of `shards`; splits without shards are absent.

    """
    paths: dict[str, list[str]] = {}
    for shard in description["shards"]:
        # A shard of a parent dataset is in the parent's folder, which is next to the folder of this dataset.
        folder = f"../{shard['home_digest']}/" if shard["home_digest"] else ""
        paths.setdefault(shard["split"], []).append(f"{folder}{shard['shard']}")
    return paths


def _front_matter(description: Row, files: Mapping[str, list[str]]) -> str:
    """Serialise the YAML front matter with the keys that the Hugging Face hub reads."""
    fields = {
        "pretty_name": f"hubbleclip {description['digest'][:12]}",
        "license": "other",
        "license_name": "; ".join(sorted({notice["licence"] for notice in description["notices"].values()})),
        "task_categories": ["zero-shot-image-classification", "image-to-text"],
        "tags": ["astronomy", "hubble", "webdataset", "croissant"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": HUB_NAMES[split], "path": paths} for split, paths in files.items()],
            }
        ],
    }
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=120)


def _warning(notices: Mapping[str, Any]) -> str:
    """Return a warning that the data are simulated; an empty string if no data are simulated."""
    return "**This sky is simulated.** Pictures, proposals and investigators are invented.\n" * ("simulated" in notices)
