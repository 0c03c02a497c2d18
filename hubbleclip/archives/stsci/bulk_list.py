"""STScI's bulk list of proposals, `abstracts.cat`, read where it stands on the disk: of its texts, which grow with the
archive, only those that are asked for are in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hubbleclip.archives.stsci.parsers import ProposalText, numbers_in, parse_abstracts_cat, split_abstracts_cat
from hubbleclip.core.text_cleaning import decode

Place = tuple[int, int]
"""First byte and number of bytes."""


@dataclass(frozen=True, slots=True)
class BulkList:
    """A bulk list on the disk, and where in it each proposal stands, by number: more than once, now and then."""

    path: Path
    places: Mapping[str, list[Place]]

    def __len__(self) -> int:
        """How many proposals."""
        return len(self.places)

    def __contains__(self, number: str) -> bool:
        """Whether it has the proposal."""
        return number in self.places

    def read(self, numbers: Iterable[str]) -> Iterator[ProposalText]:
        """What it says of those of these proposals that it has."""
        with self.path.open("rb") as file:
            for number in numbers:
                pieces = []
                for start, size in self.places.get(number, ()):
                    file.seek(start)
                    pieces.append(file.read(size))
                found = parse_abstracts_cat(decode(b"".join(pieces)))
                yield from (text for text in found if text.number == number)


def index_bulk_list(path: Path, lines: Iterable[bytes]) -> BulkList:
    """The list of these lines, which stand, or will, at `path`."""
    places: dict[str, list[Place]] = {}
    start = 0
    for piece in split_abstracts_cat(lines):
        for number in numbers_in(decode(piece)):
            places.setdefault(number, []).append((start, len(piece)))
        start += len(piece)
    return BulkList(path, places)
