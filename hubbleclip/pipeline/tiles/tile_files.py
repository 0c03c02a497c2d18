"""`hubbleclip tile`: cut FITS and JPEG files into tiles, without catalog or archive, and draw a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hubbleclip.config.settings import TileSettings
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.io import sha256_file, write_bytes
from hubbleclip.core.records import Rejection
from hubbleclip.images.contact_sheet import write_sheet
from hubbleclip.images.encode import decode_tile
from hubbleclip.images.tiling import CutResult, tile_file
from hubbleclip.pipeline.engine.attempts import attempt


def tile_files(files: Sequence[Path], out_dir: Path, settings: TileSettings) -> Iterator[str]:
    """Cut files into tiles, and draw a contact sheet of all tiles.

    Parameters
    ----------
    files
        FITS or JPEG files.
    out_dir
        Folder for the tiles and `sheet.png`.
    settings
        Tile settings (the section `tiles`).

    Yields
    ------
    str
        A line of text for each file, and at the end a line with the path of the contact sheet.

    Raises
    ------
    HubbleclipError
        When a file does not exist, when `out_dir` cannot be written, or when no tile was cut from any file.

    """
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise HubbleclipError(f"there is no file {missing[0]}: give paths of FITS or JPEG files")
    with _writing_to(out_dir):
        out_dir.mkdir(parents=True, exist_ok=True)
    shown = []
    for file in files:
        cut = cut_file(file, settings)
        if isinstance(cut, Rejection):
            yield f"{file.name}: rejected, {cut.reason}: {cut.detail}"
            continue
        with _writing_to(out_dir):
            for tile in cut.tiles:
                write_bytes(out_dir / f"{file.name.split('.')[0]}-{tile.tile_id}{tile.suffix}", tile.encoded)
        shown += [(decode_tile(tile.encoded), f"{tile.view} {file.name}") for tile in cut.tiles]
        reasons = "".join(f", rejected {r.entity_id.split(':', 1)[1]}: {r.reason}" for r in cut.rejections)
        yield f"{file.name}: {len(cut.tiles)} tiles{reasons}"
    if not shown:
        raise HubbleclipError(f"none of {len(files)} files gave a tile: see the reasons above")
    sheet = out_dir / "sheet.png"
    with _writing_to(out_dir):
        write_sheet([levels_yx for levels_yx, _ in shown], [name for _, name in shown], sheet)
    yield f"{len(shown)} tiles and {sheet}"


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    """Replace an error of the operating system in a `with` block by a HubbleclipError that names the folder."""
    try:
        yield
    except OSError as error:
        raise HubbleclipError(f"{folder} cannot be written ({error.strerror}): give another folder by --out") from error


def cut_file(file: Path, settings: TileSettings) -> CutResult | Rejection:
    """Cut one file into tiles.

    Parameters
    ----------
    file
        A FITS or JPEG file.
    settings
        Tile settings (the section `tiles`).

    Returns
    -------
    CutResult or Rejection
        The tiles, or a Rejection with the reason when there are none.

    """
    return attempt(
        lambda: tile_file(file, sha256_file(file), settings),
        entity="product", entity_id=file.name, stage="tiles", digest=settings.digest(),
    )  # fmt: skip
