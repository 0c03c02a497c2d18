"""Define all errors that a user can see. Each message is one line that says what the user can change."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pickle import UnpicklingError
from textwrap import shorten
from typing import Any

DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
"""Error numbers for writes that fail because of a full disk, a quota, a read-only file system or a file size limit."""
EXHAUSTED_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Error numbers for a lack of file descriptors or memory."""
SYSTEM_ERRNOS = DISK_FULL_ERRNOS | EXHAUSTED_ERRNOS | {errno.EIO, errno.ESTALE}
"""Error numbers for failures of the machine, and not of the file that was read or written."""
NO_MEMORY_TEXT = "can't allocate memory"
"""Text of torch's RuntimeError for a lack of memory."""
NO_ACCESS_ERRNOS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
)
"""Error numbers for a missing permission, an invalid path, and a file where a folder is needed or vice versa."""

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters except tab and line feed, and marks that change the direction of the text."""


def without_control(text: str) -> str:
    """Replace the control characters of a text by U+FFFD."""
    return CONTROL.sub("\ufffd", text)


class HubbleclipError(Exception):
    """Base class of all errors that end a command with exit code 2 and a one-line message.

    The message is stored and printed. Its control characters are replaced, because it may quote a text from outside.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(without_control(arg) if isinstance(arg, str) else arg for arg in args))


class ItemError(HubbleclipError):
    """One item cannot be used; the run continues with the other items.

    `reason` is a short code that is stored in an `Attempt` or a `Rejection`, `detail` explains it in one line.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = without_control(detail)


class SettingsError(HubbleclipError):
    """A setting is missing, unknown or out of range."""


@contextmanager
def needing(extra: str, user: str) -> Iterator[None]:
    """Turn a ModuleNotFoundError in a `with` block into a SettingsError that says which extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise SettingsError(f"{user} needs an extra: run pip install 'hubbleclip[{extra}]'") from error


class ArchiveError(HubbleclipError):
    """The archive sent an invalid response or no response; `reason` is a code of `archives.http`, if known."""

    def __init__(self, message: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class ArchiveDownError(ArchiveError):
    """The whole archive is unavailable. The run stops, and the next run resumes."""


class ArchiveTimeoutError(ArchiveError):
    """The archive did not respond in time; a smaller query may succeed."""


class PartialResultError(ArchiveError):
    """The number of rows in the response differs from the archive's own row count for the query."""


class DownloadError(ItemError, ArchiveError):
    """One file could not be downloaded, or the downloaded file does not match the archive's description of it."""


class RejectedShareError(HubbleclipError):
    """The share of rejected items in a stage is larger than `flows.max_rejected_share`."""


class ClusterError(HubbleclipError):
    """A Dask or Ray cluster cannot be reached, or lost a batch."""


class MachineError(HubbleclipError):
    """The disk, the memory or a worker process failed, not the item; the run stops, and the next run resumes.

    `suspect` is a Rejection of the item that was being processed, if known.
    """

    suspect: Any = None


class DiskFullError(MachineError):
    """The disk does not have enough free space, so the run stops."""


def machine_error(error: BaseException | None, place: object = "a file") -> MachineError | None:
    """Return a MachineError if an error, its cause or its context shows a failure of the machine; otherwise None.

    The message names the file of the error or, if the error has no file, `place`. Some libraries raise errors that
    have no error number but quote a message of the operating system. Therefore the texts of errors are searched for
    such messages. Quotations in errors of this package are ignored, because they may come from another machine.
    """
    while error is not None:
        if isinstance(error, MachineError):
            return error
        if isinstance(error, MemoryError) or NO_MEMORY_TEXT in str(error):
            return MachineError("the memory does not suffice: lower flows.workers or the batch size, or add memory")
        numbers = [number for number in SYSTEM_ERRNOS if os.strerror(number) in str(error)]
        if isinstance(error, OSError):
            place, numbers = error.filename or place, [error.errno] if error.errno in SYSTEM_ERRNOS else []
        if numbers and not type(error).__module__.startswith("hubbleclip"):
            return _failed_call(numbers[0], place)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def _failed_call(number: int, place: object) -> MachineError:
    """Describe a system call that failed, and say what to change."""
    reason = os.strerror(number)
    if number in DISK_FULL_ERRNOS:
        return DiskFullError(f"{place} cannot be written ({reason}): make room or set --data or --out, then run again")
    if number in EXHAUSTED_ERRNOS:
        advice = "lower flows.workers, or raise the limit (`ulimit -a` lists the limits)"
        return MachineError(f"a limit of the system is reached ({reason}): {advice}")
    return MachineError(f"{place} cannot be read or written ({reason}): check the disk, then run again to resume")


@contextmanager
def explained(explain: Callable[[Exception], HubbleclipError], place: object = "a file") -> Iterator[None]:
    """Convert a library's error in a `with` block to a MachineError if the machine failed, else to `explain(error)`.

    All exceptions are caught, because libraries raise many classes of errors for a damaged file, even `Exception`.
    """
    try:
        yield
    except HubbleclipError:
        raise
    except Exception as error:
        raise machine_error(error, place) or explain(error) from error


def detail_of(error: Exception) -> str:
    """Shorten an error of a library to one line."""
    if isinstance(error, UnpicklingError):
        return "the file contains objects that are not tensors"
    return shorten(str(error), 200, placeholder=" ...") or type(error).__name__


class AnswerError(ItemError):
    """A caption backend returned no answer for an abstract, or an answer that violates the schema."""


class ImageError(ItemError):
    """A file contains no usable image."""


class ContractError(HubbleclipError):
    """Rows violate the data contract; the message names the table, the column, the rule and the rows."""


class CatalogError(HubbleclipError):
    """The catalog cannot be opened or was written by a newer version of this code, or a query is invalid."""


class DamagedCatalogError(CatalogError):
    """A block of the catalog's file cannot be read."""


class CatalogLockedError(CatalogError):
    """Another process has the catalog open for writing."""


class DatasetError(HubbleclipError):
    """A dataset directory is missing, empty or damaged, or follows another version of the data contract."""


class TileFileError(DatasetError):
    """The images of the tiles `tile_ids` are missing or damaged."""

    def __init__(self, tile_ids: Sequence[str]) -> None:
        super().__init__(tile_ids)
        self.tile_ids = tile_ids

    def __str__(self) -> str:
        return f"{len(self.tile_ids)} tiles have a missing or damaged image, such as {self.tile_ids[0]}: pack the rest"


class TrainingError(HubbleclipError):
    """Training cannot start or continue, for instance without samples, with an unknown model or with a NaN loss."""


class EvaluationError(HubbleclipError):
    """Evaluation is not possible, for instance without a run or without test samples."""


class SearchError(HubbleclipError):
    """The search index is missing or damaged, or a query is invalid."""


class NotFoundError(SearchError):
    """A requested tile, picture or FITS file does not exist."""


class DamagedIndexError(SearchError):
    """A file of the search index was damaged after it was opened."""
