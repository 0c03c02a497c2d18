"""Every error that a user can meet. Each message is one line that says what to change."""

from __future__ import annotations

import errno

FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
SPENT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""No more files or memory are to be had."""
OF_THE_MACHINE = FULL_DISK | SPENT | {errno.EIO, errno.ESTALE}
"""What the system says of itself, in an OSError's `errno`, not of the file that was read."""


class HubbleclipError(Exception):
    """Base of the errors that end a command with exit code 2 and one line."""


class SettingsError(HubbleclipError):
    """A setting is missing, unknown or out of range."""


class ArchiveError(HubbleclipError):
    """The archive answered wrongly, or not at all."""


class ArchiveDownError(ArchiveError):
    """The archive as a whole does not serve: the run stops here, and the next one goes on."""


class ArchiveUnreachableError(ArchiveDownError):
    """No connection to the archive's host could be made."""


class ArchiveBusyError(ArchiveError):
    """The archive asks to come back later: 429, 503, or a query still EXECUTING after a long wait."""


class ArchiveTimeoutError(ArchiveError):
    """The archive did not answer in time; a smaller question may be answered."""


class WebPageError(ArchiveError):
    """A web page came, with status 200, where data were asked for."""


class BadJsonError(ArchiveError):
    """The answer is no JSON, or JSON of another form than the archive's."""


class EmptyAnswerError(ArchiveError):
    """Nothing came where the archive itself counts something."""


class PartialAnswerError(ArchiveError):
    """Fewer or more rows came than the archive counts."""


class NullColumnsError(ArchiveError):
    """Rows came without the columns that every row has."""


class DownloadError(ArchiveError):
    """One file could not be fetched, or is not what the archive said it was. `reason` is a short code."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class DiskFullError(HubbleclipError):
    """There is not room enough for what is to be written: the run stops before it is written."""


class ImageError(HubbleclipError):
    """A file holds no usable image. `reason` is the short code stored in a Rejection."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class ContractError(HubbleclipError):
    """Rows break the data contract; the message names table, column, rule and rows."""


class CatalogError(HubbleclipError):
    """The catalog cannot be opened, is of a newer version, or a query is wrong."""


class CatalogLockedError(CatalogError):
    """Another living process writes the catalog."""


class DatasetError(HubbleclipError):
    """A dataset directory is missing, empty, damaged or of another contract version."""


class TrainingError(HubbleclipError):
    """Training cannot start or go on (no samples, NaN loss, unknown loss or model)."""


class EvaluationError(HubbleclipError):
    """Evaluation cannot be done (no run, no test samples)."""
