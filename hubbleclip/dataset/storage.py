"""Storage of a dataset: a local folder, or a prefix behind an fsspec URL such as `s3://bucket/datasets/<digest>`.

Both kinds of storage have the same interface: small files are read whole, and large files are read by byte ranges.
Credentials and endpoints are configured as the library of the service requires: for S3, by the environment variables
`AWS_*`.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from hubbleclip.core.errors import DatasetError
from hubbleclip.core.io import TooLargeError, atomic_write, chunks, read_bounded

log = logging.getLogger(__name__)

Span = tuple[str, int, int]
"""A byte range of a file: address of the file, offset in bytes and length in bytes."""
MAX_OPEN_FILES = 128
"""Largest number of shards that a process keeps open; the least recently used shard is closed first."""
MAX_BYTES = 2_000_000_000
"""Largest size of a file that is read whole."""
REQUEST_S, MIN_BYTES_PER_S = 60.0, 250_000
"""Longest pause within an HTTP response, in seconds, and lowest mean rate of a response, in bytes per second.

Without a lowest rate, a server could send bytes slowly and without end.
"""
PIP_EXTRAS = {"s3": "cloud"}
"""Maps a URL protocol to the pip extra (`pip install hubbleclip[cloud]`) that installs the protocol's library."""

HUB, DATASETS = "hf://", "hf://datasets/"
TOKEN, ENDPOINT = "HF_TOKEN", "HF_ENDPOINT"
"""Environment variables of huggingface_hub: the access token, and the address of the hub."""
LIBRARY_ERRORS = {"botocore.exceptions": "BotoCoreError", "httpx": "HTTPError", "httpx2": "HTTPError"}
"""Base classes of errors that libraries of storage services raise in addition to OSError: class name by module name.

s3:// uses botocore, and hf:// uses httpx or httpx2.
"""


def open_storage(place: str | Path) -> Storage:
    """Return the storage that reads and writes the files at a local path or at an fsspec URL."""
    protocol, separator, _ = str(place).partition("://")
    return RemoteStorage(protocol) if separator else LOCAL


class Storage:
    """Storage of files on this machine; the subclass `RemoteStorage` has the same interface for URLs.

    The address of a file is its path or its URL.

    Byte ranges are read with `pread`, which does not use the file position, so that threads can share an open file.
    Every method raises FileNotFoundError if the file is missing, and DatasetError with a one-line message if the
    storage service reports an error.
    """

    def read(self, address: str, max_bytes: int = MAX_BYTES) -> bytes:
        """Read a whole file. DatasetError is raised before reading if the file is too large."""
        num_bytes = self.size_bytes(address)
        if num_bytes > max_bytes:
            raise DatasetError(f"{address} has {num_bytes} bytes, more than {max_bytes}: it is not a dataset file")
        return self._content(address, num_bytes)

    def _content(self, address: str, num_bytes: int) -> bytes:
        return read_bounded(_checked_path(address), num_bytes)

    def read_spans(self, spans: Sequence[Span]) -> list[bytes]:
        """Read byte ranges of files; a range beyond the end of its file gives fewer bytes."""
        return [_read_span(*span) for span in spans]

    def size_bytes(self, address: str) -> int:
        """Determine the size of a file."""
        return _checked_path(address).stat().st_size

    def upload(self, source: Path, address: str) -> None:
        """Copy a local file to an address atomically: if the copy fails, no partial file is visible at the address."""
        with atomic_write(Path(address)) as temporary:
            shutil.copyfile(source, temporary)


def _read_span(address: str, offset: int, length: int) -> bytes:
    """Read a byte range of a local file."""
    # The local variable keeps the file open until `pread` ends. If two threads open the same file at once, the cache
    # keeps only one of the two file objects. Without a reference, Python would close the other object before `pread`.
    file = _open_cached(address)
    return os.pread(file.fileno(), length, offset)


@lru_cache(MAX_OPEN_FILES)
def _open_cached(address: str) -> BinaryIO:
    """Open a file without a buffer; the cache keeps recently used files open."""
    return _checked_path(address).open("rb", buffering=0)


def _checked_path(address: str) -> Path:
    """Return the path of a regular file of a dataset. Raises DatasetError for any other file.

    A dataset from an unknown source may contain a link to a file elsewhere, or a file that never ends, such as a FIFO.
    """
    path = Path(address)
    _check_link(path, path.resolve().parent == path.parent.resolve())
    if path.exists() and not path.is_file():
        raise DatasetError(f"{address} is not a regular file: remove it and copy the dataset again")
    return path


def _is_cached(path: Path) -> bool:
    """Return whether a file is a link to a file in the folder `blobs` of a Hugging Face hub cache.

    All links are resolved before the comparison, so a link inside or in place of `blobs` cannot lead out of the cache.
    """
    snapshots = (folder for folder in path.parent.resolve().parents if folder.name == "snapshots")
    return path.resolve().parent in [folder.with_name("blobs") for folder in snapshots]


def _check_link(path: Path, is_inside: bool) -> None:
    if not is_inside and not _is_cached(path):
        raise DatasetError(f"{path} is a link to another folder: copy the file here")


def file_address(place: str | Path, name: str) -> str:
    """Return the address of a dataset file; DatasetError for a link to a file outside both dataset and hub caches."""
    address = f"{place}/{name}"
    if open_storage(place) is LOCAL:
        _check_link(Path(address), Path(address).resolve().is_relative_to(Path(place).resolve()))
    return address


LOCAL = Storage()


class RemoteStorage(Storage):
    """Storage of files at URLs that fsspec supports; byte ranges are read concurrently if possible."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol

    def filesystem(self, num_bytes: int = 0) -> Any:
        """Return fsspec's cached file system for the protocol; the HTTP timeout is long enough for `num_bytes`."""
        import fsspec  # noqa: PLC0415 - imported here because only URLs need it

        # only `file://` needs an option to create folders; object stores have no folders
        options: dict[str, Any] = {"auto_mkdir": True} if self.protocol == "file" else {}
        try:
            if self.protocol in {"http", "https"}:
                from aiohttp import ClientTimeout  # noqa: PLC0415 - an optional dependency

                # Each value of the timeout needs its own HTTP session. Sizes are rounded up to powers of two, so
                # that there are few values.
                total_s = _longest_s(1 << num_bytes.bit_length())
                options["client_kwargs"] = {"timeout": ClientTimeout(total=total_s, sock_read=REQUEST_S)}
            return fsspec.filesystem(self.protocol, **options)
        except (ImportError, ValueError) as error:
            extra = PIP_EXTRAS.get(self.protocol)
            advice = f"pip install 'hubbleclip[{extra}]'" if extra else "use a folder or an s3:// URL"
            raise DatasetError(f"{self.protocol}:// URLs cannot be opened ({error}): {advice}") from error

    def _content(self, address: str, num_bytes: int) -> bytes:
        with service_errors(address), self.filesystem(num_bytes).open(address, "rb") as file:
            return b"".join(chunks(file.read, num_bytes, _longest_s(num_bytes)))

    def read_spans(self, spans: Sequence[Span]) -> list[bytes]:
        """Read byte ranges of files."""
        if not spans:
            return []
        addresses, offsets, lengths = zip(*spans, strict=True)
        ends = [offset + length for offset, length in zip(offsets, lengths, strict=True)]
        with service_errors(addresses[0]):
            # fsspec requests the ranges concurrently if the protocol supports it.
            parts = self.filesystem(sum(lengths)).cat_ranges(list(addresses), list(offsets), ends)
            return [_checked(part) for part in parts]

    def size_bytes(self, address: str) -> int:
        """Request the size of a file."""
        with service_errors(address):
            num_bytes = self.filesystem().size(address)
            if num_bytes is None:
                raise OSError("the server does not report the size")
            return int(num_bytes)

    def upload(self, source: Path, address: str) -> None:
        """Copy a local file to a URL. Raises DatasetError if the bucket does not exist."""
        try:
            with service_errors(address):
                self.filesystem().put_file(str(source), address)
        except FileNotFoundError as error:
            raise DatasetError(f"{address} cannot be written ({error}): create the bucket first") from error


def _longest_s(num_bytes: int) -> float:
    """Return the time in seconds within which a response of `num_bytes` must arrive."""
    return REQUEST_S + num_bytes / MIN_BYTES_PER_S


def _checked(part: bytes | Exception) -> bytes:
    """Return the content of a byte range, or raise the exception that fsspec returned instead of the content."""
    if isinstance(part, Exception):
        raise part
    return bytes(part)


@contextmanager
def service_errors(address: str) -> Iterator[None]:
    """Convert exceptions from the library of a storage service to a DatasetError with a one-line message."""
    try:
        yield
    except FileNotFoundError:  # this subclass of OSError is handled by the callers
        raise
    except _error_classes() as error:  # called only after an error, so the library is already loaded
        raise DatasetError(f"{address} cannot be reached ({error}): check the URL and the credentials") from error


def commit_to_hub(url: str, files: Mapping[str, Path | bytes], message: str) -> str:
    """Upload files in one commit to a dataset `hf://datasets/owner/name` or a model `hf://owner/name`.

    `files` maps names in the repository to contents. A repository that does not exist is created. Large files that a
    failed commit has sent are not sent again.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token  # noqa: PLC0415 - takes 1 s
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415

    token = os.environ.get(TOKEN) or get_token()
    if not token:
        raise DatasetError(f"{url} needs an access token of the hub: set {TOKEN}, or run hf auth login")
    kind, prefix = ("dataset", DATASETS) if url.startswith(DATASETS) else ("model", HUB)
    hub, name = HfApi(endpoint=os.environ.get(ENDPOINT), token=token), url.removeprefix(prefix)
    added = [CommitOperationAdd(path, source) for path, source in files.items()]
    try:
        with service_errors(url):
            if not hub.repo_exists(name, repo_type=kind):
                hub.create_repo(name, repo_type=kind)
            done = hub.create_commit(name, added, commit_message=message, repo_type=kind)
    except HFValidationError as error:
        raise DatasetError(f"{url} is not a repository address ({error}): write {prefix}owner/name") from error
    log.info("published %s: %s", url, done.commit_url)
    return str(done.repo_url)


def _error_classes() -> tuple[type[Exception], ...]:
    """Return the error classes to convert: OSError, TooLargeError, and the base classes of the loaded libraries."""
    loaded = (getattr(sys.modules[module], name) for module, name in LIBRARY_ERRORS.items() if module in sys.modules)
    return OSError, TooLargeError, *loaded
