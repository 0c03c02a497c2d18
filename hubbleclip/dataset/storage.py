"""Storage of a dataset: a folder, or a prefix behind an fsspec URL such as `s3://bucket/datasets/<digest>`.

Small files are read whole and large ones by byte ranges, so training reads both kinds alike. Credentials and endpoint
are those of the service's library: for S3 the environment variables `AWS_*`.
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
MAX_OPEN_FILES = 128
"""Shards that one process keeps open; least recently used ones are closed."""
PIP_EXTRAS = {"s3": "cloud"}
"""Extra of this package that installs the library for a URL protocol."""
FILESYSTEM_OPTIONS = {"file": {"auto_mkdir": True}}
"""Options of fsspec by protocol; object stores create folders implicitly, `file://` does not."""


class Storage(Protocol):
    """Files by address, which is a path or a URL.

    Every method raises FileNotFoundError when the file is missing, and DatasetError with a one-line message when the
    service refuses.
    """

    def read(self, address: str) -> bytes:
        """Read a whole file.

        Parameters
        ----------
        address
            Path or URL.

        Returns
        -------
        bytes
            Content of the file.

        """

    def read_spans(self, spans: Sequence[Span]) -> list[bytes]:
        """Read byte ranges of files.

        Parameters
        ----------
        spans
            Address, offset and length of each range.

        Returns
        -------
        list[bytes]
            Content in the order of `spans`; a range that exceeds its file is shorter than requested.

        """

    def size_bytes(self, address: str) -> int:
        """Size of a file.

        Parameters
        ----------
        address
            Path or URL.

        Returns
        -------
        int
            In bytes.

        """

    def upload(self, source: Path, address: str) -> None:
        """Copy a local file to an address, completely or not at all.

        Parameters
        ----------
        source
            Local file.
        address
            Target path or URL; its folder is created.

        """


def open_storage(place: str | Path) -> Storage:
    """Storage that reads and writes a place.

    Parameters
    ----------
    place
        Local path, or URL with a protocol that fsspec knows; an unknown protocol raises DatasetError at the first use.

    Returns
    -------
    Storage
        `LOCAL` for a path.

    """
    protocol, separator, _ = str(place).partition("://")
    return RemoteStorage(protocol) if separator else LOCAL


class LocalStorage:
    """Files of this machine; `pread` keeps no position, so threads and processes share the open files."""

    def read(self, address: str) -> bytes:
        """See `Storage`."""
        return Path(address).read_bytes()

    def read_spans(self, spans: Sequence[Span]) -> list[bytes]:
        """See `Storage`."""
        return [_read_span(*span) for span in spans]

    def size_bytes(self, address: str) -> int:
        """See `Storage`."""
        return Path(address).stat().st_size

    def upload(self, source: Path, address: str) -> None:
        """See `Storage`."""
        with atomic_write(Path(address)) as temporary:
            shutil.copyfile(source, temporary)


def _read_span(address: str, offset: int, length: int) -> bytes:
    """Read a byte range of a local file."""
    # The local name keeps the file open while it is read: if two threads open the same file at once, the cache drops
    # one of the two, which would close its descriptor.
    file = _open_cached(address)
    return os.pread(file.fileno(), length, offset)


@lru_cache(MAX_OPEN_FILES)
def _open_cached(address: str) -> BinaryIO:
    """Open a file once per process; unbuffered, because `pread` bypasses the buffer."""
    return Path(address).open("rb", buffering=0)


LOCAL = LocalStorage()


class RemoteStorage:
    """Files behind a URL, by fsspec; byte ranges are requested concurrently where the service supports it."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol

    @property
    def filesystem(self) -> Any:
        """The fsspec file system; fsspec caches one instance per process."""
        import fsspec  # noqa: PLC0415 - needed for URLs only

        try:
            return fsspec.filesystem(self.protocol, **FILESYSTEM_OPTIONS.get(self.protocol, {}))
        except (ImportError, ValueError) as error:
            extra = PIP_EXTRAS.get(self.protocol)
            advice = f"pip install 'hubbleclip[{extra}]'" if extra else "use a folder or an s3:// URL"
            raise DatasetError(f"{self.protocol}:// URLs cannot be opened ({error}): {advice}") from error

    def read(self, address: str) -> bytes:
        """See `Storage`."""
        with service_errors(address):
            return bytes(self.filesystem.cat_file(address))

    def read_spans(self, spans: Sequence[Span]) -> list[bytes]:
        """See `Storage`."""
        if not spans:
            return []
        addresses, offsets, lengths = zip(*spans, strict=True)
        ends = [offset + length for offset, length in zip(offsets, lengths, strict=True)]
        with service_errors(addresses[0]):
            parts = self.filesystem.cat_ranges(list(addresses), list(offsets), ends)  # concurrent where supported
            return [_checked(part) for part in parts]

    def size_bytes(self, address: str) -> int:
        """See `Storage`."""
        with service_errors(address):
            return int(self.filesystem.size(address))

    def upload(self, source: Path, address: str) -> None:
        """See `Storage`."""
        try:
            with service_errors(address):
                self.filesystem.put_file(str(source), address)
        except FileNotFoundError as error:
            raise DatasetError(f"{address} cannot be written ({error}): create the bucket first") from error


def _checked(part: bytes | Exception) -> bytes:
    """Content of a range, or raise the exception that fsspec returned in its place."""
    if isinstance(part, Exception):
        raise part
    return bytes(part)


@contextmanager
def service_errors(address: str) -> Iterator[None]:
    """Convert exceptions of a service's library to a DatasetError with a one-line message.

    Parameters
    ----------
    address
        Named in the message.

    Yields
    ------
    None
        Control to the body of the `with` statement.

    Raises
    ------
    DatasetError
        For every error of the body but FileNotFoundError.

    """
    # botocore's errors are not OSErrors. Looked up and not imported: unless S3 is in use it need not be installed.
    botocore = sys.modules.get("botocore.exceptions")
    service_error: type[Exception] = botocore.BotoCoreError if botocore else OSError
    try:
        yield
    except FileNotFoundError:  # a subclass of OSError that callers handle themselves
        raise
    except (OSError, service_error) as error:
        raise DatasetError(f"{address} cannot be reached ({error}): check the URL and the credentials") from error
