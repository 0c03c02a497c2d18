"""Every error that a user can meet. Each message is one line that says what to change."""

from __future__ import annotations

import errno

DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
"""Nothing more can be written: full disk, quota, read-only file system, file size limit."""
EXHAUSTED_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""The machine is out of file descriptors or memory."""
SYSTEM_ERRNOS = DISK_FULL_ERRNOS | EXHAUSTED_ERRNOS | {errno.EIO, errno.ESTALE}
"""Values of `OSError.errno` that are a fault of the machine, not of the file that was read."""


class HubbleclipError(Exception):
    """Base of the errors that end a command with exit code 2 and one line."""


class SettingsError(HubbleclipError):
    """A setting is missing, unknown or out of range."""


class ArchiveError(HubbleclipError):
    """The archive sent a wrong response, or none."""


class ArchiveDownError(ArchiveError):
    """The archive as a whole is not available: the run stops, and the next run resumes."""


class ArchiveUnreachableError(ArchiveDownError):
    """No connection to the archive's host could be opened."""


class ArchiveBusyError(ArchiveError):
    """The archive asks to retry later: HTTP 429 or 503, or a query still EXECUTING after a long wait."""


class ArchiveTimeoutError(ArchiveError):
    """The archive did not respond in time; a smaller query may succeed."""


class WebPageError(ArchiveError):
    """The response is an HTML page with status 200 where data were requested."""


class BadJsonError(ArchiveError):
    """The response is not JSON, or JSON with another structure than the archive's."""


class EmptyResultError(ArchiveError):
    """The response has no rows although the archive's own count is above zero."""


class PartialResultError(ArchiveError):
    """The response has fewer or more rows than the archive's own count."""


class NullColumnsError(ArchiveError):
    """The rows lack columns that every row has."""


class DownloadError(ArchiveError):
    """One file could not be downloaded, or does not match its description in the archive.

    Parameters
    ----------
    reason
        Short code, stored in an Attempt or a Rejection.
    detail
        One line for people.

    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class DiskFullError(HubbleclipError):
    """The disk has not enough free space for the next write: the run stops before it."""


class ImageError(HubbleclipError):
    """A file holds no usable image.

    Parameters
    ----------
    reason
        Short code, stored in a Rejection.
    detail
        One line for people.

    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class ContractError(HubbleclipError):
    """Rows break the data contract; the message names table, column, rule and rows."""


class CatalogError(HubbleclipError):
    """The catalog cannot be opened, is of a newer version, or a query is wrong."""


class CatalogLockedError(CatalogError):
    """Another running process writes the catalog."""


class DatasetError(HubbleclipError):
    """A dataset directory is missing, empty, damaged or of another contract version."""


class TrainingError(HubbleclipError):
    """Training cannot start or continue (no samples, NaN loss, unknown loss or model)."""


class EvaluationError(HubbleclipError):
    """Evaluation cannot be done (no run, no test samples)."""
