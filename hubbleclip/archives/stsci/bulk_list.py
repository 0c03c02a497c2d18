"""STScI's bulk list of proposals, `abstracts.cat`, indexed on disk.

The list grows with the archive, so only the requested records are read into memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hubbleclip.archives.stsci.parsers import ProposalText, parse_abstracts_cat, proposal_numbers, split_abstracts_cat
from hubbleclip.core.text_cleaning import decode

ByteRange = tuple[int, int]
"""Offset of the first byte, and number of bytes."""


@dataclass(frozen=True, slots=True)
class BulkList:
    """A bulk list on disk. `byte_ranges` locates each proposal by number; a few have more than one record."""

    path: Path
    byte_ranges: Mapping[str, list[ByteRange]]

    def __len__(self) -> int:
        """Return the number of proposals."""
        return len(self.byte_ranges)

    def __contains__(self, number: str) -> bool:
        """Check whether the list has a proposal."""
        return number in self.byte_ranges

    def read(self, numbers: Iterable[str]) -> Iterator[ProposalText]:
        """Read the records of some proposals.

        Parameters
        ----------
        numbers
            Proposal numbers; those that the list lacks are skipped.

        Yields
        ------
        ProposalText
            One per proposal, in the order of `numbers`.

        """
        with self.path.open("rb") as file:
            for number in numbers:
                pieces = []
                for start, size in self.byte_ranges.get(number, ()):
                    file.seek(start)
                    pieces.append(file.read(size))
                # a piece may hold the records of other proposals too
                texts = parse_abstracts_cat(decode(b"".join(pieces)))
                yield from (text for text in texts if text.number == number)


def index_bulk_list(path: Path, lines: Iterable[bytes]) -> BulkList:
    """Index a bulk list.

    Parameters
    ----------
    path
        Where the list is, or will be before it is read.
    lines
        Its lines, with their ends.

    Returns
    -------
    BulkList
        The list with the byte range of every proposal.

    """
    byte_ranges: dict[str, list[ByteRange]] = {}
    start = 0
    for piece in split_abstracts_cat(lines):
        for number in proposal_numbers(decode(piece)):
            byte_ranges.setdefault(number, []).append((start, len(piece)))
        start += len(piece)
    return BulkList(path, byte_ranges)
