"""Store of unchanged MAST responses on disk, from which the catalog can be rebuilt without the network."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from hubbleclip.archives.mast.caom_rows import CaomRow
from hubbleclip.core.errors import ArchiveError
from hubbleclip.core.io import write_bytes
from hubbleclip.core.layout import Layout

OBSERVATIONS, PRODUCTS = "observations", "products"
SUFFIX = ".json.gz"
GZIP_LEVEL = 2
HINT = "run without archive.from_raw to query the archive"


class RawResponses:
    """Store of responses, one gzip file per response.

    A file has two lines of JSON: the numbers (`obsid`) of the observations, then the rows. A new response for the same
    list of observations replaces the file. Product rows of an observation that is in several files are read from the
    newest file.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._places: dict[str, Path] | None = None

    def store(self, kind: str, obsids: Sequence[Any], rows: Sequence[CaomRow]) -> None:
        """Write the rows of one response."""
        about = json.dumps([str(obsid) for obsid in obsids])
        packed = gzip.compress(f"{about}\n{json.dumps(rows)}\n".encode(), GZIP_LEVEL, mtime=0)
        write_bytes(self.layout.raw_response(kind, about, SUFFIX), packed)

    def pages(self) -> Iterator[list[CaomRow]]:
        """Yield the stored rows of observations, one list per file, oldest first."""
        for path in self._files(OBSERVATIONS):
            yield _read(path, 2)[1]

    def products(self, obsids: Sequence[int]) -> list[CaomRow]:
        """Read the newest stored product rows of some observations; ArchiveError if an observation is in no file."""
        if self._places is None:
            self._places = {about: path for path in self._files(PRODUCTS) for about in _read(path, 1)[0]}
        wanted: dict[Path, set[str]] = {}
        for obsid in map(str, obsids):
            if obsid not in self._places:
                raise ArchiveError(
                    f"no product list of the observation {obsid} is stored under {self._folder(PRODUCTS)}: {HINT}"
                )
            wanted.setdefault(self._places[obsid], set()).add(obsid)
        return [row for path, numbers in wanted.items() for row in _rows_of(path, numbers)]

    def _folder(self, kind: str) -> Path:
        """Return the folder of the stored responses of a kind, `OBSERVATIONS` or `PRODUCTS`."""
        return self.layout.raw_response(kind, "", "").parent

    def _files(self, kind: str) -> list[Path]:
        """List the files of stored responses of a kind, oldest first. Raises ArchiveError if there are none."""
        paths = sorted(self._folder(kind).glob(f"[!.]*{SUFFIX}"), key=lambda path: (path.stat().st_mtime_ns, path.name))
        if not paths:
            raise ArchiveError(f"no {kind} are stored under {self._folder(kind)}: {HINT}")
        return paths


def _rows_of(path: Path, numbers: Collection[str]) -> list[CaomRow]:
    """Read the rows of a response file. Rows of the file's observations that are not in `numbers` are dropped."""
    about, rows = _read(path, 2)
    others = set(about) - set(numbers)
    return [row for row in rows if str(row.get("parent_obsid") or row.get("obsID")) not in others]


def _read(path: Path, num_lines: int) -> list[Any]:
    """Read and parse the first lines of a response file. Raises ArchiveError if the file is damaged."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return [json.loads(file.readline()) for _ in range(num_lines)]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ArchiveError(f"{path} is damaged ({error}): remove it, and {HINT}") from error
