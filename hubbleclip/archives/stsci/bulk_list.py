"""Reader of STScI's bulk list of proposals, the file `abstracts.cat`, with an index of its records.

The list grows with the archive. The index makes it possible to read only the requested records into memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hubbleclip.archives.stsci.parsers import ProposalText, parse_abstracts_cat, proposal_numbers, split_abstracts_cat
from hubbleclip.core.text_cleaning import decode

ByteRange = tuple[int, int]
"""Offset of the first byte, and number of bytes, of a part of a file."""


@dataclass(frozen=True, slots=True)
class BulkList:
    """A bulk list on disk.

    `byte_ranges` maps each proposal number to the byte ranges of the proposal's records in the file. A few proposals
    have more than one record.
    """

    path: Path
    byte_ranges: Mapping[str, list[ByteRange]]

    def __len__(self) -> int:
        """Return the number of proposals."""
        return len(self.byte_ranges)

    def __contains__(self, number: str) -> bool:
        """Check whether the list has a record of the proposal with this number."""
        return number in self.byte_ranges

    def read(self, numbers: Iterable[str]) -> Iterator[ProposalText]:
        """Read the records of those of the proposals that are in the list, in the order of `numbers`."""
        with self.path.open("rb") as file:
            for number in numbers:
                pieces = []
                for start, size in self.byte_ranges.get(number, ()):
                    file.seek(start)
                    pieces.append(file.read(size))
                # a piece of the file may contain records of other proposals, which are dropped
                texts = parse_abstracts_cat(decode(b"".join(pieces)))
                yield from (text for text in texts if text.number == number)


def index_bulk_list(path: Path, lines: Iterable[bytes]) -> BulkList:
    """Index the lines of a bulk list, which later is at `path`, by proposal number."""
    byte_ranges: dict[str, list[ByteRange]] = {}
    start = 0
    for piece in split_abstracts_cat(lines):
        for number in proposal_numbers(decode(piece)):
            byte_ranges.setdefault(number, []).append((start, len(piece)))
        start += len(piece)
    return BulkList(path, byte_ranges)
