"""MAST's answers as they came, kept as files, so that the catalog can be made anew without the network."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from hubbleclip.core.errors import ArchiveError
from hubbleclip.core.io import write_bytes
from hubbleclip.core.layout import Layout

Row = dict[str, Any]

OBSERVATIONS, PRODUCTS = "observations", "products"
SUFFIX = ".json.gz"
GZIP_LEVEL = 2
GZIP_FORMAT = 16
"""What zlib is told, beside the size of its window, for the header and end of a gzip file."""
GZIP_SYSTEM, UNIX = 9, 3
"""Position of the header's byte that names the system, which zlib sets by the machine, and its value in our files."""
ROWS_A_PIECE = 100
HINT = "run without archive.from_raw to ask the archive"


class RawAnswers:
    """Files of two lines of JSON: the numbers (`obsid`) that the rows are about, then the rows. Equal rows give equal
    bytes, so an answer that comes again takes the place of the old one; of others, the younger file is right.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._places: dict[str, Path] | None = None

    def land(self, kind: str, obsids: Sequence[Any], rows: Sequence[Row]) -> None:
        """Keep the rows of one answer about these observations."""
        about = json.dumps([str(obsid) for obsid in obsids])
        write_bytes(self.layout.raw_response(kind, about, SUFFIX), _packed(about, rows))

    def pages(self) -> Iterator[list[Row]]:
        """All landed observations, an answer at a time, oldest first: the last one of an observation is right."""
        for path in self._files(OBSERVATIONS):
            yield _read(path, 2)[1]

    def products(self, obsids: Sequence[int]) -> list[Row]:
        """The youngest landed product rows of these observations. Raises ArchiveError where one was never landed."""
        if self._places is None:
            self._places = {about: path for path in self._files(PRODUCTS) for about in _read(path, 1)[0]}
        wanted: dict[Path, set[str]] = {}
        for obsid in map(str, obsids):
            if obsid not in self._places:
                raise ArchiveError(
                    f"no product list of the observation {obsid} has landed under {self._folder(PRODUCTS)}: {HINT}"
                )
            wanted.setdefault(self._places[obsid], set()).add(obsid)
        return [row for path, numbers in wanted.items() for row in _rows_of(path, numbers)]

    def _folder(self, kind: str) -> Path:
        return self.layout.raw_response(kind, "", "").parent

    def _files(self, kind: str) -> list[Path]:
        """Landed answers, oldest first. Raises ArchiveError when there are none."""
        paths = sorted(self._folder(kind).glob(f"[!.]*{SUFFIX}"), key=lambda path: (path.stat().st_mtime_ns, path.name))
        if not paths:
            raise ArchiveError(f"no {kind} have landed under {self._folder(kind)}: {HINT}")
        return paths


def _packed(about: str, rows: Sequence[Row]) -> bytes:
    """The two lines as a gzip file; packed in pieces, since the text of a page is larger than its rows."""
    packer = zlib.compressobj(GZIP_LEVEL, wbits=zlib.MAX_WBITS + GZIP_FORMAT)
    packed = bytearray(packer.compress(f"{about}\n[".encode()))
    for start in range(0, len(rows), ROWS_A_PIECE):
        piece = json.dumps(rows[start : start + ROWS_A_PIECE])[1:-1]
        packed += packer.compress(f"{', ' if start else ''}{piece}".encode())
    packed += packer.compress(b"]\n") + packer.flush()
    packed[GZIP_SYSTEM] = UNIX
    return bytes(packed)


def _rows_of(path: Path, numbers: Collection[str]) -> list[Row]:
    """The rows of an answer less those that belong to others that it is about."""
    about, rows = _read(path, 2)
    others = set(about) - set(numbers)
    return [row for row in rows if str(row.get("parent_obsid") or row.get("obsID")) not in others]


def _read(path: Path, num_lines: int) -> list[Any]:
    """The first lines. Raises ArchiveError for a damaged file."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return [json.loads(file.readline()) for _ in range(num_lines)]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ArchiveError(f"{path} is damaged ({error}): remove it, and {HINT}") from error
