"""Records that describe a mission's archive: search columns, public bucket, pages of proposals, facts to check."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchColumns:
    """Columns of a mission's table of datasets in MAST's search API (https://mast.stsci.edu/search/docs).

    Attributes
    ----------
    path
        Name of the mission in the address of the API.
    dataset
        Column of the dataset's name. In lower case, this name is the observation's name.
    columns
        Mapping from a column's name in CAOM to the same column's name in the search API.
    images
        Search conditions, by column, that select images of the sky.
    intents
        Search conditions, by column, for each value of `archive.intent`.
    levels
        For each calibration level, a pattern of the values in the column for `calib_level`.
    level_values
        For each calibration level, all values in the column for `calib_level`; empty if the API cannot filter by level.
    detector, detectors
        Column whose value begins with the name of a detector, and the pattern of these names for each instrument.
        Both are empty if no column gives the detector.
    is_upper
        Whether the API takes names of datasets in upper case only.
    file_types
        Mapping from a file's `type` in the search API to the file's `productType` in CAOM.

    """

    path: str
    dataset: str
    columns: Mapping[str, str]
    images: Mapping[str, str]
    intents: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    levels: Mapping[int, re.Pattern[str]]
    level_values: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    detector: str = ""
    detectors: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    is_upper: bool = False
    file_types: Mapping[str, str] = field(default_factory=lambda: {"science": "SCIENCE", "preview": "PREVIEW"})

    @property
    def selected(self) -> list[str]:
        """All columns that are requested."""
        return sorted({self.dataset, *self.columns.values(), self.detector} - {""})


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicBucket:
    """The mission's folder in the public bucket of STScI at Amazon (s3://stpubdata).

    Attributes
    ----------
    uri_prefix
        Start of the data URIs (lower case) whose files are in the bucket.
    path_prefix
        Path of the mission's folder within the bucket. Paths that MAST returns begin with it.
    paths
        Pairs of a pattern and a template. The pattern matches `observation/file`: the name of the observation for which
        MAST lists a file, and the file's name. The template (`re.Match.expand`) gives the file's path below
        `path_prefix`. If no pattern matches, the file's path is requested from MAST.
    region
        Amazon region of the bucket. From a machine in this region, reads are fast and free.

    """

    uri_prefix: str
    path_prefix: str
    paths: tuple[tuple[re.Pattern[str], str], ...]
    region: str = "us-east-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalPages:
    """Addresses at which STScI publishes proposals. An empty text means that there is no such page.

    Paths are relative to STScI's server of programmes, and `{}` in a path is replaced by the proposal number.

    Attributes
    ----------
    bulk_page
        URL of the page that links to the bulk list of abstracts.
    apt
        Path of a proposal's APT file.
    listing
        Path of a proposal's text listing.
    apt_copy, listing_copy
        Second paths of the two files, which are requested if the first paths give no abstract.
    page
        Path of a proposal's web page.

    """

    bulk_page: str
    apt: str
    listing: str
    page: str
    apt_copy: str = ""
    listing_copy: str = ""


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
    """Facts of an archive that do not change. `check-archive` compares the archive with every fact that is not None.

    Attributes
    ----------
    released_mjd
        Range of release dates (MJD) with some hundreds of observations of the instrument that `check-archive` queries.
    proposal, file_names
        Number of a proposal, and the names of all its files that are chosen with the default settings.
    file
        A file of a few megabytes, which the check downloads.
    title
        Number and title of a proposal; the number may differ from `proposal`.

    """

    released_mjd: tuple[float, float]
    proposal: str | None = None
    file_names: frozenset[str] = frozenset()
    file: PinnedFile | None = None
    title: tuple[str, str] | None = None
