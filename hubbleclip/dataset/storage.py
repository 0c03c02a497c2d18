"""Where a dataset stands: a folder, or a prefix behind an fsspec URL such as `s3://bucket/datasets/<digest>`.

Reading asks for whole small files and for ranges of large ones, so that training sees no difference. The credentials
and the endpoint of a service are its library's own: for S3 the environment's `AWS_*`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from hubbleclip.core.errors import DatasetError
from hubbleclip.core.io import atomic_write

Span = tuple[str, int, int]
"""Address, offset and length in bytes."""
OPEN_FILES = 128
EXTRA = {"s3": "cloud"}
OPTIONS = {"file": {"auto_mkdir": True}}


class Storage(Protocol):
    """Files by address. All raise DatasetError with one line when the service refuses, FileNotFoundError when it lacks
    the file.
    """

    def read(self, address: str) -> bytes:
        """A whole file."""

    def read_spans(self, spans: Sequence[Span]) -> list[bytes]:
        """Parts of files, in order; one past the end of its file is shorter than asked."""

    def size_bytes(self, address: str) -> int:
        """Size of a file."""

    def upload(self, source: Path, address: str) -> None:
        """Put a file of the disk there, whole or not at all."""


def storage_of(place: str | Path) -> Storage:
    """What reads and writes `place`. Raises DatasetError for a kind of URL that needs a library which is not there."""
    protocol, found, _ = str(place).partition("://")
    return RemoteStorage(protocol) if found else DISK


class Disk:
    """Files of this machine. `pread` has no state, so threads and processes share the open files."""

    def read(self, address: str) -> bytes:
        """See Storage."""
        return Path(address).read_bytes()

    def read_spans(self, spans: Sequence[Span]) -> list[bytes]:
        """See Storage."""
        return [_read_span(*span) for span in spans]

    def size_bytes(self, address: str) -> int:
        """See Storage."""
        return Path(address).stat().st_size

    def upload(self, source: Path, address: str) -> None:
        """See Storage."""
        with atomic_write(Path(address)) as temporary:
            shutil.copyfile(source, temporary)


def _read_span(address: str, offset: int, length: int) -> bytes:
    """A file is held while it is read: of two that threads open at once, the cache keeps one and drops the other."""
    file = _opened(address)
    return os.pread(file.fileno(), length, offset)


@lru_cache(OPEN_FILES)
def _opened(address: str) -> BinaryIO:
    return Path(address).open("rb", buffering=0)


DISK = Disk()


class RemoteStorage:
    """Files behind a URL, by fsspec; many ranges are asked for at once where the service allows it."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol

    @property
    def files(self) -> Any:
        """The file system, which fsspec keeps, one a process."""
        import fsspec  # noqa: PLC0415 - only who reads a URL needs it

        try:
            return fsspec.filesystem(self.protocol, **OPTIONS.get(self.protocol, {}))
        except (ImportError, ValueError) as error:
            extra = EXTRA.get(self.protocol)
            advice = f"pip install 'hubbleclip[{extra}]'" if extra else "use a folder or an s3:// URL"
            raise DatasetError(f"{self.protocol}:// cannot be opened ({error}): {advice}") from error

    def read(self, address: str) -> bytes:
        """See Storage."""
        with told(address):
            return bytes(self.files.cat_file(address))

    def read_spans(self, spans: Sequence[Span]) -> list[bytes]:
        """See Storage."""
        if not spans:
            return []
        addresses, offsets, lengths = zip(*spans, strict=True)
        ends = [offset + length for offset, length in zip(offsets, lengths, strict=True)]
        with told(addresses[0]):
            return [_bytes(part) for part in self.files.cat_ranges(list(addresses), list(offsets), ends)]

    def size_bytes(self, address: str) -> int:
        """See Storage."""
        with told(address):
            return int(self.files.size(address))

    def upload(self, source: Path, address: str) -> None:
        """See Storage."""
        try:
            with told(address):
                self.files.put_file(str(source), address)
        except FileNotFoundError as error:
            raise DatasetError(f"{address} cannot be written ({error}): make the bucket first") from error


def _bytes(part: bytes | Exception) -> bytes:
    """What came for a range; fsspec gives an error in its place."""
    if isinstance(part, Exception):
        raise part
    return bytes(part)


@contextmanager
def told(address: str) -> Iterator[None]:
    """Turn what a service's library raises into one line; botocore's own errors are no OSError."""
    botocore = sys.modules.get("botocore.exceptions")
    foreign: type[Exception] = botocore.BotoCoreError if botocore else OSError
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, foreign) as error:
        raise DatasetError(f"{address} cannot be reached ({error}): check the URL and the credentials") from error
