"""Synthetic samples with real PNGs, for the tests of this folder."""

import hashlib
import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sky_cases import square
from valid_catalog import make

from hubbleclip.config.settings import ShardSettings
from hubbleclip.core.records import Sample
from hubbleclip.dataset.build import BuiltDataset, build_dataset

SPLIT_OF_GROUP = ("train", "train", "train", "val", "test")


@cache
def make_png(seed: int, size_px: int = 16) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size_px, size_px), dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def make_sample(index: int, group: int, png: bytes) -> Sample:
    unknown = dict.fromkeys(
        ("category", "pi", "cycle", "target_name", "wcs", "y0", "unit", "black", "white", "softening")
    )
    place = {"ra_deg": 10.0 + index / 3, "dec_deg": -5.0, "corners_deg": square(10.0 + index / 3, -5.0, 3.0)}
    return make(
        Sample,
        **unknown | place,
        tile_id=hashlib.sha256(f"tile {index}".encode()).hexdigest()[:32],
        split=SPLIT_OF_GROUP[group % 5],
        group_id=f"{group:016x}",
        proposal_id=f"made:{group}",
        archive="simulated",
        title=f"Title {group}",
        obs_id=f"o{index}",
        target_class="SIMULATED;SPIRAL GALAXY",
        product_uri=f"made:o{index}",
        product_sha256="0" * 64,
        png_sha256=hashlib.sha256(png).hexdigest(),
        caption_kinds=["abstract", "title"],
        captions=[f"Abstract of proposal {group}, with an accent: é.", f"Title {group}"],
    )


def make_samples_with_pngs(num_samples: int = 40, num_groups: int = 10) -> tuple[list[Sample], dict[str, bytes]]:
    pngs = [make_png(index) for index in range(num_samples)]
    samples = [make_sample(index, index % num_groups, png) for index, png in enumerate(pngs)]
    return samples, {sample.tile_id: png for sample, png in zip(samples, pngs, strict=True)}


def contents(folder: Path) -> dict[str, bytes]:
    """Content of each file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def build(
    samples: list[Sample],
    pngs: dict[str, bytes],
    folder: Path,
    settings: ShardSettings = ShardSettings(),
    *,
    contract_version: str = "1",
    **facts: Any,
) -> BuiltDataset:
    """Build a dataset in a folder of datasets."""
    read = pngs.__getitem__
    facts = {"code_version": "test"} | facts
    return build_dataset(samples, read, folder, settings, contract_version=contract_version, **facts)


def built_in(folder: Path, samples: list[Sample], pngs: dict[str, bytes], **facts: Any) -> Path:
    """Build a dataset with the usual settings, and return its own folder."""
    return folder / build(samples, pngs, folder, **facts).dataset.digest
