"""List the files of a folder that can be read, and explain for every other file why it cannot be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hubbleclip.fits.integrity import content_name

FITS = (".fits", ".fit", ".fits.gz", ".fit.gz")
JPEG = (".jpg", ".jpeg")
USABLE = {"a FITS file": FITS, "a JPEG file": JPEG}
"""For each kind of content that can be read, the suffixes that its files may have."""
PACKED = (".fz", ".bz2", ".xz", ".z", ".zip", ".tar", ".tar.gz", ".tgz")
"""Suffixes of packed files, which are not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFiles:
    """Files of a folder, sorted by their relative path.

    `paths` are the files that are read. `skipped` maps the relative path of every other file to a text that says what
    the file is or how it can be made usable.
    """

    paths: list[Path]
    skipped: dict[str, str]


def scan_folder(folder: Path, suffixes: tuple[str, ...], own_folder: Path) -> FolderFiles:
    """List the files below a folder that are neither hidden nor in `own_folder`.

    Files whose name ends in one of `suffixes` (lower case, with the dot) are read, the others are skipped.
    """
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(own_folder))
    by_name = {path.relative_to(folder).as_posix(): path for path in files}
    names = sorted(name for name in by_name if not any(part.startswith(".") for part in name.split("/")))
    read = [name for name in names if name.lower().endswith(suffixes)]
    others = sorted(set(names) - set(read))
    return FolderFiles(
        paths=[by_name[name] for name in read], skipped={name: _why(by_name[name], suffixes) for name in others}
    )


def _why(path: Path, suffixes: tuple[str, ...]) -> str:
    """Explain why a file whose name ends in none of `suffixes` is skipped, or how it can be made usable."""
    if path.name.lower().endswith(PACKED):
        return "a packed file: unpack it"
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
