"""Find the files of a folder that can be read, and say of every other file why it cannot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hubbleclip.fits.integrity import content_name

FITS = (".fits", ".fit", ".fits.gz", ".fit.gz")
JPEG = (".jpg", ".jpeg")
USABLE = {"a FITS file": FITS, "a JPEG file": JPEG}
"""Suffixes of the files that can be used, by their content."""
UNPACKERS = {
    ".fz": "funpack",
    ".bz2": "bunzip2",
    ".xz": "unxz",
    ".z": "uncompress",
    ".zip": "unzip",
    ".tar": "tar",
    ".tar.gz": "tar",
    ".tgz": "tar",
}
"""Programs that unpack files that are not read, by suffix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFiles:
    """Files of a folder, sorted by their path relative to it.

    `paths` are those that are read. `skipped` says of every other file, by its relative path, what it is and what makes
    it usable.
    """

    paths: list[Path]
    skipped: dict[str, str]


def scan_folder(folder: Path, suffixes: tuple[str, ...], own_folder: Path) -> FolderFiles:
    """List the files below a folder; those that end in one of `suffixes` (lower case, with the dot) are read."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(own_folder))
    by_name = {path.relative_to(folder).as_posix(): path for path in files}
    names = sorted(name for name in by_name if not any(part.startswith(".") for part in name.split("/")))
    read = [name for name in names if name.lower().endswith(suffixes)]
    others = sorted(set(names) - set(read))
    return FolderFiles(
        paths=[by_name[name] for name in read], skipped={name: _why(by_name[name], suffixes) for name in others}
    )


def _why(path: Path, suffixes: tuple[str, ...]) -> str:
    """Explain why a file was skipped, and how it can be made usable; its name ends in none of `suffixes`."""
    for suffix, program in UNPACKERS.items():
        if path.name.lower().endswith(suffix):
            return f"a packed file ({suffix}): unpack it with {program}"
    try:
        with path.open("rb") as file:
            content = content_name(file.read(512))
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    usable = USABLE.get(content or "")
    if usable is None:
        return f"{content or 'a file'} whose name ends in none of {', '.join(suffixes)}"
    if path.name.lower().endswith(usable):
        return f"{content}, which this value of archive.products does not use"
    return f"{content} under another name: rename it so that it ends in {usable[0]}"
