"""Pinned facts of an archive, which `hubbleclip check-archive` compares with the archive's answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedFile:
    """One file of known size.

    Attributes
    ----------
    proposal
        Number of the file's proposal.
    obs_id
        Name of the file's observation.
    uri
        Data URI of the file.
    size_bytes
        Size of the file.
    preview_uri
        Data URI of a JPEG preview of the same observation.

    """

    proposal: str
    obs_id: str
    uri: str
    size_bytes: int
    preview_uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivePins:
    """Facts of an archive that do not change. `check-archive` checks each that is not None.

    Attributes
    ----------
    released_mjd
        Range of release dates (MJD) in which the archive has some hundreds of observations of an instrument.
    proposal, file_names
        Number of a proposal, and the names of all its files that are chosen with the default settings.
    file
        A file of a few megabytes, which the check downloads.
    title
        Number of a proposal, which need not be `proposal`, and its title.

    """

    released_mjd: tuple[float, float]
    proposal: str | None = None
    file_names: frozenset[str] = frozenset()
    file: PinnedFile | None = None
    title: tuple[str, str] | None = None
