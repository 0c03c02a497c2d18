"""Names of files: made and parsed here and nowhere else. Nothing from outside reaches the disk unchecked."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

SHARD_NAME = re.compile(r"(train|val|test)-([0-9]{6})\.tar")
DIGEST = re.compile(r"[0-9a-f]{32}")
SUFFIXES = (".fits.gz", ".fits", ".fit.gz", ".fit", ".jpg", ".jpeg")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a profile keeps what. `root` is `data/<profile>`; paths in the catalog are relative to it, and to `store`,
    the URL of a copy of the large files, if there is one; without `keep_local` some of these stand there alone.
    """

    root: Path
    store: str = ""
    keep_local: bool = True

    @property
    def raw(self) -> Path:
        """Answers of the archive as they landed."""
        return self.root / "raw"

    def answer(self, kind: str, key: str, suffix: str) -> Path:
        """Where an answer of the archive lands: `kind` is ours (`observations`), `key` whatever identifies it."""
        return self.raw / kind / f"{_digest(key)}{suffix}"

    @property
    def products(self) -> Path:
        """Fetched files, by content."""
        return self.root / "products"

    @property
    def tiles(self) -> Path:
        """PNG tiles."""
        return self.root / "tiles"

    @property
    def catalog(self) -> Path:
        """The published snapshot that people read."""
        return self.root / "catalog.duckdb"

    @property
    def working_catalog(self) -> Path:
        """The flow's own copy."""
        return self.root / "catalog.writing.duckdb"

    @property
    def spill(self) -> Path:
        """What the flow's questions to its copy cannot keep in memory, as long as they run."""
        return self.root / ".spill"

    def old_catalog(self, version: int) -> Path:
        """The catalog as it was before it was brought forward by the steps from `version` on."""
        return self.root / f"catalog.before-{version:04d}.duckdb"

    def old_catalogs(self) -> list[Path]:
        """All that were kept."""
        return sorted(self.root.glob("catalog.before-*.duckdb"))

    @property
    def store_note(self) -> Path:
        """Which catalog of the store ours was last the same as."""
        return self.root / "store.json"

    @property
    def lock(self) -> Path:
        """Held by the process that writes the catalog."""
        return self.root / "catalog.lock"

    @property
    def datasets(self) -> Path:
        """Immutable dataset directories."""
        return self.root / "datasets"

    @property
    def runs(self) -> Path:
        """Immutable run directories."""
        return self.root / "runs"

    @property
    def reports(self) -> Path:
        """Evaluations."""
        return self.root / "reports"

    @property
    def home(self) -> Path:
        """Home of the libraries' caches and of Prefect, so that nothing is written elsewhere."""
        return self.root / ".home"

    def part(self, uri: str) -> Path:
        """Where the bytes of a product stand while they are fetched."""
        name = _digest(uri)
        return self.products / ".part" / name[:2] / f"{name}.part"

    def product(self, sha256: str, file_name: str) -> Path:
        """Content-addressed place of a product; only the suffix comes from the archive's name."""
        return self.products / sha256[:2] / f"{sha256}{product_suffix(file_name)}"

    def tile(self, tile_id: str, suffix: str = ".png") -> Path:
        """Place of a tile's picture."""
        return self.tiles / tile_id[:2] / f"{tile_id}{suffix}"

    def stored_tile(self, tile_id: str) -> Path:
        """Place of a tile's picture that stands there, whichever its format."""
        jpeg = self.tile(tile_id, ".jpg")
        return jpeg if jpeg.is_file() else self.tile(tile_id)

    def relative(self, path: Path) -> str:
        """`path` as the catalog stores it: relative to the root where it stands below it."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.as_posix()

    def absolute(self, stored: str) -> Path:
        """The inverse of `relative`."""
        return self.root / stored


def _digest(text: str) -> str:
    """32 hex digits that name any text, one with lone surrogates (JSON can bring them) too."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def product_suffix(file_name: str) -> str:
    """The known suffix of a product's name, lower case; `.fits` for an unknown one."""
    lower = file_name.lower()
    return next((suffix for suffix in SUFFIXES if lower.endswith(suffix)), ".fits")


def shard_name(split: str, index: int) -> str:
    """Such as `train-000003.tar`."""
    return f"{split}-{index:06d}.tar"


def parse_shard_name(name: str) -> tuple[str, int]:
    """Split and index of a shard. Raises ValueError for another name."""
    match = SHARD_NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is not a shard's name")
    return match[1], int(match[2])


def parse_digest(text: object) -> str:
    """A dataset's digest, which names its folder. Raises ValueError for anything else."""
    if not isinstance(text, str) or DIGEST.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a dataset's digest")
    return text


def checkpoint_name(step: int) -> str:
    """Such as `step-00000100.pt`."""
    return f"step-{step:08d}.pt"


def tile_id(product_sha256: str, chip: int, y0: int, x0: int, settings_digest: str, *, view: str = "native") -> str:
    """Identity of a tile: 32 hex digits, free of dots, so that it serves as a WebDataset key."""
    other = "" if view == "native" else f":{view}"
    return _digest(f"{product_sha256}:{chip}:{y0}:{x0}:{settings_digest}{other}")
