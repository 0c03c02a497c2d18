"""File names and folder structure, built and parsed only here.

A name from the archive never reaches the disk: files are named by hashes, with a suffix from a fixed list.
"""

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
    """Folders and files of one profile.

    Parameters
    ----------
    root
        `data/<profile>`; paths in the catalog are relative to it.
    store
        URL of the remote copy of the large files, with the same relative paths; empty without one.
    keep_local
        Keep products and tiles under `root` too; without, some exist only in `store`.

    """

    root: Path
    store: str = ""
    keep_local: bool = True

    @property
    def raw(self) -> Path:
        """Responses of the archive as received."""
        return self.root / "raw"

    def raw_response(self, kind: str, key: str, suffix: str) -> Path:
        """File of one response of the archive.

        Parameters
        ----------
        kind
            Folder, one of this project's own names, such as `observations`.
        key
            Any text that identifies the response, such as the query; only its hash is used.
        suffix
            File suffix with its dot.

        Returns
        -------
        Path
            `raw/<kind>/<hash><suffix>`.

        """
        return self.raw / kind / f"{_digest(key)}{suffix}"

    @property
    def products(self) -> Path:
        """Downloaded files, content-addressed."""
        return self.root / "products"

    @property
    def tiles(self) -> Path:
        """PNG tiles."""
        return self.root / "tiles"

    @property
    def catalog(self) -> Path:
        """Published snapshot of the catalog, which readers open."""
        return self.root / "catalog.duckdb"

    @property
    def working_catalog(self) -> Path:
        """Working copy of the catalog, which only the flow opens."""
        return self.root / "catalog.writing.duckdb"

    @property
    def spill(self) -> Path:
        """Temporary files of DuckDB for queries that exceed its memory limit."""
        return self.root / ".spill"

    def catalog_backup(self, version: int) -> Path:
        """Copy of the catalog from before a migration.

        Parameters
        ----------
        version
            The first migration that the copy has not run.

        Returns
        -------
        Path
            `catalog.before-NNNN.duckdb`.

        """
        return self.root / f"catalog.before-{version:04d}.duckdb"

    def catalog_backups(self) -> list[Path]:
        """Existing copies from before migrations.

        Returns
        -------
        list of Path
            Oldest version first.

        """
        return sorted(self.root.glob("catalog.before-*.duckdb"))

    @property
    def remote_state(self) -> Path:
        """Note of the remote catalog that the local one was last equal to."""
        return self.root / "store.json"

    @property
    def lock(self) -> Path:
        """Lock file, held by the process that writes the catalog."""
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
        """Evaluation reports."""
        return self.root / "reports"

    @property
    def home(self) -> Path:
        """Caches of libraries and files of Prefect, so that nothing is written outside the data root."""
        return self.root / ".home"

    def part(self, uri: str) -> Path:
        """File of an unfinished download.

        Parameters
        ----------
        uri
            The archive's name of the product.

        Returns
        -------
        Path
            The same for every attempt, so that a download resumes.

        """
        name = _digest(uri)
        return self.products / ".part" / name[:2] / f"{name}.part"

    def product(self, sha256: str, file_name: str) -> Path:
        """Content-addressed file of a product.

        Parameters
        ----------
        sha256
            64 hex digits of the content.
        file_name
            The archive's file name, of which only the suffix is used.

        Returns
        -------
        Path
            `products/<2 digits>/<sha256><suffix>`.

        """
        return self.products / sha256[:2] / f"{sha256}{product_suffix(file_name)}"

    def tile(self, tile_id: str, suffix: str = ".png") -> Path:
        """File of a tile's image.

        Parameters
        ----------
        tile_id
            32 hex digits.
        suffix
            `.png` or `.jpg`.

        Returns
        -------
        Path
            `tiles/<2 digits>/<tile_id><suffix>`, whether it exists or not.

        """
        return self.tiles / tile_id[:2] / f"{tile_id}{suffix}"

    def existing_tile(self, tile_id: str) -> Path:
        """File of a tile's image in the format that exists on disk.

        Parameters
        ----------
        tile_id
            32 hex digits.

        Returns
        -------
        Path
            The JPEG where it exists, else the PNG.

        """
        jpeg = self.tile(tile_id, ".jpg")
        return jpeg if jpeg.is_file() else self.tile(tile_id)

    def relative(self, path: Path) -> str:
        """Path as the catalog stores it.

        Parameters
        ----------
        path
            Any path.

        Returns
        -------
        str
            Relative to the root where the path is below it, else unchanged; with `/` on every system.

        """
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.as_posix()

    def absolute(self, stored: str) -> Path:
        """Path on disk of a path that the catalog stores; the inverse of `relative`.

        Parameters
        ----------
        stored
            Relative to the root, or absolute.

        Returns
        -------
        Path
            On this machine.

        """
        return self.root / stored


def _digest(text: str) -> str:
    """Hash any text to 32 hex digits, also text with lone surrogates, which JSON escapes can produce."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def product_suffix(file_name: str) -> str:
    """Suffix of a product's file, from a fixed list.

    Parameters
    ----------
    file_name
        The archive's file name.

    Returns
    -------
    str
        One of `SUFFIXES`; `.fits` for an unknown suffix.

    """
    lower = file_name.lower()
    return next((suffix for suffix in SUFFIXES if lower.endswith(suffix)), ".fits")


def shard_name(split: str, index: int) -> str:
    """File name of a shard.

    Parameters
    ----------
    split
        `train`, `val` or `test`.
    index
        Number within the split, from 0.

    Returns
    -------
    str
        Such as `train-000003.tar`.

    """
    return f"{split}-{index:06d}.tar"


def parse_shard_name(name: str) -> tuple[str, int]:
    """Split and index of a shard's file name; the inverse of `shard_name`.

    Parameters
    ----------
    name
        File name without folder.

    Returns
    -------
    tuple of (str, int)
        Split and index.

    Raises
    ------
    ValueError
        For any other name.

    """
    match = SHARD_NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is not a shard name, such as train-000003.tar")
    return match[1], int(match[2])


def parse_digest(text: object) -> str:
    """Validate a dataset's digest, which names its folder.

    Parameters
    ----------
    text
        Any value, such as one read from a JSON file.

    Returns
    -------
    str
        The digest: 32 hex digits.

    Raises
    ------
    ValueError
        For anything else.

    """
    if not isinstance(text, str) or DIGEST.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a dataset digest of 32 hex digits")
    return text


def checkpoint_name(step: int) -> str:
    """File name of a checkpoint.

    Parameters
    ----------
    step
        Optimizer step.

    Returns
    -------
    str
        Such as `step-00000100.pt`.

    """
    return f"step-{step:08d}.pt"


def tile_id(product_sha256: str, chip: int, y0: int, x0: int, settings_digest: str, *, view: str = "native") -> str:
    """Identity of a tile: a hash of all that determines its pixels.

    Parameters
    ----------
    product_sha256
        Content of the FITS file.
    chip
        FITS extension number.
    y0, x0
        First row and column in the image, in pixels; negative where the tile is padded.
    settings_digest
        Digest of the tile settings.
    view
        `native`, `overview`, `aim` or `colour`.

    Returns
    -------
    str
        32 hex digits. No dots: WebDataset takes a key up to the first dot.

    """
    # Native tiles hash without a view: they were identified so before there were other views.
    other = "" if view == "native" else f":{view}"
    return _digest(f"{product_sha256}:{chip}:{y0}:{x0}:{settings_digest}{other}")
