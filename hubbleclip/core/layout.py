"""Define file names and the folder structure. No other module builds or parses a file name.

Text from the archive never becomes part of a file name: a downloaded file is named by a hash and a suffix from a fixed
list.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

SHARD_NAME = re.compile(r"(train|val|test)-([0-9]{6})\.tar")
DIGEST = re.compile(r"[0-9a-f]{32}")
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
MAX_STEM = 150
"""Maximum length, in characters, of the text that `tile_file_stem` returns; file systems allow names of 255 bytes."""
BESIDE = "-beside-"
"""Separator of the two run ids in the folder name of a comparison."""
SUFFIXES = (".fits.gz", ".fits", ".fit.gz", ".fit", ".jpg", ".jpeg")


class _Below:
    """Attribute of a `Layout`: a path below the layout's root."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, layout: Layout, _: type[Layout]) -> Path:
        return layout.root / self.name


@dataclass(frozen=True, slots=True)
class Layout:
    """Folders and files of one profile.

    `root` is `data/<profile>`; paths in the catalog are relative to it. `store` is the URL of the remote copy of the
    large files, or empty. If `keep_local` is false, some products and tiles exist only in the store.
    """

    root: Path
    store: str = ""
    keep_local: bool = True

    raw = _Below("raw")
    """Folder of the archive's responses, stored exactly as received."""

    def raw_response(self, kind: str, key: str, suffix: str) -> Path:
        """Path of the file that stores one response of the archive; `key` is any text that identifies the response."""
        return self.raw / kind / f"{_digest(key)}{suffix}"

    def caption_answer(self, key: str) -> Path:
        """Path of the file that stores a caption backend's answer for one abstract."""
        return self.root / "captions" / f"{_digest(key)}.json"

    products = _Below("products")
    """Folder of the downloaded files, which are named by the hash of their content."""
    tiles = _Below("tiles")
    """Folder of the tile images."""
    catalog = _Below("catalog.duckdb")
    """Path of the catalog's published snapshot, the file that readers open."""
    working_catalog = _Below("catalog.writing.duckdb")
    """Path of the catalog's working copy, which only the running flow opens."""
    spill = _Below(".spill")
    """Folder in which DuckDB stores temporary data of queries that exceed its memory limit."""

    def catalog_backup(self, version: int) -> Path:
        """Path of the backup of the catalog that is made before the migration `version`."""
        return self.root / f"catalog.before-{version:04d}.duckdb"

    def catalog_backups(self) -> list[Path]:
        """List the existing backups of the catalog that were made before migrations."""
        return sorted(self.root.glob("catalog.before-*.duckdb"))

    remote_state = _Below("store.json")
    """Path of the file that records the version of the remote catalog at the last synchronisation."""
    lock = _Below("catalog.lock")
    """Path of the file that is locked by the process that writes the catalog."""
    datasets = _Below("datasets")
    """Folder of the immutable dataset directories."""
    runs = _Below("runs")
    """Folder of the immutable run directories."""
    reports = _Below("reports")
    """Folder of the evaluation reports."""

    def comparison(self, run_id: str, other_id: str) -> Path:
        """Folder of the report that compares two runs."""
        return self.reports / f"{run_id}{BESIDE}{other_id}"

    def comparisons(self) -> list[tuple[str, Path]]:
        """List the folders of the reports that compare two runs, each with the id of the first run."""
        return [(path.name.partition(BESIDE)[0], path) for path in sorted(self.reports.glob(f"[!.]*{BESIDE}*"))]

    search_server = _Below("search-server.json")
    """Path of the file in which the running search server registers itself."""
    index = _Below("index")
    """Folder of the search index, with a folder for each model."""
    current_index = _Below("index/current.json")
    """Path of the file that names the model, the run and the vector store that answer searches."""
    selections = _Below("selections.json")
    """Path of the file that stores selections, which are named lists of tiles that users save in the search."""
    subsets = _Below("subsets")
    """Folder of the datasets that are subsets of other datasets."""

    def model_index(self, model_digest: str) -> Path:
        """Folder of the tile features that one model has computed."""
        return self.index / parse_digest(model_digest)

    home = _Below(".home")
    """Folder for caches of libraries and for files of Prefect, so that all files are inside the data root."""

    def part(self, uri: str) -> Path:
        """Path of the temporary file of an unfinished download; every attempt uses the same file."""
        name = _digest(uri)
        return self.products / ".part" / name[:2] / f"{name}.part"

    def product(self, sha256: str, file_name: str) -> Path:
        """Path of a product's file, which is named by the hash of its content."""
        return self.products / sha256[:2] / f"{sha256}{product_suffix(file_name)}"

    def tile(self, tile_id: str, suffix: str = ".png") -> Path:
        """Path of a tile's image file."""
        return self.tiles / tile_id[:2] / f"{tile_id}{suffix}"

    def existing_tile(self, tile_id: str) -> Path:
        """Path of a tile's image file, in the format that exists on disk."""
        jpeg = self.tile(tile_id, ".jpg")
        return jpeg if jpeg.is_file() else self.tile(tile_id)

    def relative(self, path: Path) -> str:
        """Convert a path to the text that the catalog stores."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.as_posix()

    def absolute(self, stored: str) -> Path:
        """Convert a path from the catalog to a path on disk; this is the inverse of `relative`."""
        return self.root / stored


def _digest(text: str) -> str:
    """Hash a text to 32 hex digits; the text may contain lone surrogates, which JSON escapes can produce."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def product_suffix(file_name: str) -> str:
    """Choose the suffix of a product's file from a fixed list."""
    lower = file_name.lower()
    return next((suffix for suffix in SUFFIXES if lower.endswith(suffix)), ".fits")


def tile_file_stem(file_name: str) -> str:
    """Build the start of a tile's file name from the name of the file that `hubbleclip tile` cuts."""
    stem = file_name[: -len(suffix)] if file_name.lower().endswith(suffix := product_suffix(file_name)) else file_name
    return NOT_IN_NAMES.sub("_", stem)[-MAX_STEM:]


def tile_file_name(stem: str, chip: int, place: str, suffix: str) -> str:
    """Build a tile's file name for `hubbleclip tile`; `place` is the first pixel (`y0_x512`) or the view."""
    return f"{stem}_ext{chip}_{place}{suffix}"


def shard_name(split: str, index: int) -> str:
    """Build the file name of a shard; shards of a split are counted from 0."""
    return f"{split}-{index:06d}.tar"


def parse_shard_name(name: str) -> tuple[str, int]:
    """Parse a shard's file name into split and index; this is the inverse of `shard_name`."""
    match = SHARD_NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is not a shard name, such as train-000003.tar")
    return match[1], int(match[2])


def parse_digest(text: object) -> str:
    """Validate the digest of a dataset or a model, because the digest is used as a folder name."""
    if not isinstance(text, str) or DIGEST.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a digest of 32 hex digits")
    return text


def segment_name(start: int, stop: int) -> str:
    """Build the file name, without suffix, of the index segment with the rows `start` to `stop - 1`."""
    return f"rows-{start:09d}-{stop:09d}"


def checkpoint_name(step: int) -> str:
    """Build the file name of a checkpoint."""
    return f"step-{step:08d}.pt"


def tile_id(product_sha256: str, chip: int, y0: int, x0: int, settings_digest: str, *, view: str = "native") -> str:
    """Compute the id of a tile: 32 hex digits of a hash of everything that determines the tile's pixels."""
    # The id must not contain a dot, because WebDataset takes the part of a file name before the first dot as the key.
    # The hashed text contains the view only if the view is not `native`.
    other = "" if view == "native" else f":{view}"
    return _digest(f"{product_sha256}:{chip}:{y0}:{x0}:{settings_digest}{other}")
