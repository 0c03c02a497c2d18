"""Mission: everything that the code must know about one telescope, as data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

CCD, COUNTER, RAMP = "CCD", "photon counter", "infrared array read in ramps"
"""Kinds of detector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """One camera: its detector, its data quality flags and the layout of its files.

    Attributes
    ----------
    kind
        `CCD`, `COUNTER` or `RAMP`; empty if unknown.
    bad_flags
        Data quality (DQ) bits that make a pixel invalid, each with its meaning; "?" marks an uncertain meaning.
    good_flags
        DQ bits that do not make a pixel invalid. Saturation is always here: a saturated pixel is bright, not missing.
    extension
        Where the pixels are (for people).
    filters
        Keywords that name the filters (for people).
    unit
        Unit of the calibrated files (for people).
    scale_arcsec
        Size of a pixel.
    handbook
        Source of these facts.
    raw_yx
        Shape of an uncalibrated full frame.
    light_yx
        Shape of the part of `raw_yx` that is exposed to light; it begins at the keywords LTV1 and LTV2.
    gap
        Columns of the raw frame between two amplifiers, as (first, last + 1).
    planes
        Largest number of planes of an image cube in which each plane is one chip.
    filter_keywords
        Groups of keywords that name the filters, in the order to try; empty means those of the mission's headers.
    nm_per_number
        Wavelength in nm of one unit of the number in a filter's name: 1 for F606W, 10 for F160W and F356W.
    pivots_nm
        Pivot wavelengths in nm of the filters whose number is not their wavelength.

    """

    kind: str
    bad_flags: Mapping[int, str]
    good_flags: Mapping[int, str] = field(default_factory=dict)
    extension: str = "SCI"
    filters: str = "FILTER"
    unit: str = ""
    scale_arcsec: float | None = None
    handbook: str = ""
    raw_yx: tuple[int, int] | None = None
    light_yx: tuple[int, int] | None = None
    gap: tuple[int, int] | None = None
    planes: int = 1
    filter_keywords: tuple[tuple[str, ...], ...] = ()
    nm_per_number: float = 1.0
    pivots_nm: Mapping[str, float] = field(default_factory=dict)

    @property
    def bad_mask(self) -> int:
        """The bad DQ bits as one integer mask."""
        return sum(self.bad_flags)

    @property
    def counts_photons(self) -> bool:
        """Whether the detector counts photons: no read noise, whole numbers, and zero is a measurement."""
        return self.kind == COUNTER

    @property
    def reads_ramps(self) -> bool:
        """Whether it is read up the ramp: its calibrated files hold no cosmic rays; SCI versions may be reads."""
        return self.kind == RAMP


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderConvention:
    """Which FITS keywords hold what, as far as missions differ.

    Attributes
    ----------
    filter_keywords
        Groups of keywords that name the filters; the first group that names any counts.
    detector_keyword
        Keyword that names the detector of most instruments; empty where the instrument's name is enough.
    detectors
        Exceptions by instrument: (keyword, prefix of its value).
    target_keywords
        Keywords of the target's name, best first.
    aim_keywords
        Keyword pairs of the pointing (right ascension and declination in degrees), best first.
    exposure_keywords
        Keywords of the exposure time in seconds, best first.
    proposal_keyword
        Keyword of the proposal number.
    pi_keywords
        Keywords that together give the principal investigator's name.
    moving_keyword, moving_values
        Keyword that marks a moving target, and the values (upper case) that do.
    gain_keywords
        Keywords of the gain in electrons per count, best first.
    disperser
        Pattern of the names of optical elements that disperse light.
    element_keywords
        Keywords of optical elements beyond the filters.
    spectrographs
        Instruments that take no images.
    image_values
        By keyword: the pattern that its value (upper case) must match in an image of the sky; absent keywords pass.
    calibration_keywords, calibration_values
        Keywords and their values (upper case) that mark an image of a lamp or of nothing.

    """

    filter_keywords: tuple[tuple[str, ...], ...]
    detector_keyword: str
    detectors: Mapping[str, tuple[str, str]]
    target_keywords: tuple[str, ...]
    aim_keywords: tuple[tuple[str, str], ...]
    exposure_keywords: tuple[str, ...]
    proposal_keyword: str
    pi_keywords: tuple[str, ...]
    moving_keyword: str
    moving_values: frozenset[str]
    disperser: re.Pattern[str]
    image_values: Mapping[str, re.Pattern[str]]
    gain_keywords: tuple[str, ...] = ()
    element_keywords: tuple[str, ...] = ()
    spectrographs: frozenset[str] = frozenset()
    calibration_keywords: tuple[str, ...] = ()
    calibration_values: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class NamePattern:
    """One form of the names of observations and files (without the suffix such as `_drz.fits`), in lower case.

    Attributes
    ----------
    origin
        What such a file was made from; part of the key of `ProductRanking.order`.
    pattern
        Matches the whole name; its groups fill `ProductRanking.visit_templates`.

    """

    origin: str
    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductRanking:
    """How names are parsed and which file of a visit is preferred.

    Attributes
    ----------
    names
        Forms of names; the first that matches counts.
    other_origin
        Origin of a file whose name has none of these forms.
    all_filters_origin
        Origin of images of all filters together; empty if the mission makes none.
    visit_templates
        `re.Match.expand` templates of a visit's name; the first that is not empty counts.
    mosaic
        Pattern of observations over several visits, which repeat exposures that have names of their own.
    order
        Reason by (origin, suffix), best first. Files of other suffixes are never chosen.

    """

    names: tuple[NamePattern, ...]
    other_origin: str
    all_filters_origin: str
    visit_templates: tuple[str, ...]
    mosaic: re.Pattern[str]
    order: Mapping[tuple[str, str], str]

    def parse(self, name: str) -> tuple[str, re.Match[str]] | None:
        """Parse a name, in any case.

        Parameters
        ----------
        name
            An observation's name, or a file's without suffix.

        Returns
        -------
        tuple of str and re.Match, or None
            The origin and the match of the first form; None for a name of no known form.

        """
        for form in self.names:
            if match := form.pattern.fullmatch(name.lower()):
                return form.origin, match
        return None

    def visit(self, obs_id: str) -> str | None:
        """Name the visit of an observation.

        Parameters
        ----------
        obs_id
            The observation's name.

        Returns
        -------
        str or None
            The visit in lower case; None where the name does not give it.

        """
        parsed = self.parse(obs_id)
        expanded = (parsed[1].expand(template) for template in self.visit_templates) if parsed else ()
        return next(filter(None, expanded), None)

    def origin(self, file_name: str) -> str:
        """Say what a file was made from.

        Parameters
        ----------
        file_name
            The file's name with its suffix.

        Returns
        -------
        str
            An origin of `names`, or `other_origin`.

        """
        parsed = self.parse(file_name.rpartition("_")[0])
        return parsed[0] if parsed else self.other_origin


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicBucket:
    """The mission's folder in the public bucket of STScI at Amazon (s3://stpubdata).

    Attributes
    ----------
    uri_prefix
        Start of the data URIs (lower case) whose files are in the bucket.
    path_prefix
        The folder within the bucket; paths from MAST begin with it.
    paths
        Patterns of file names, each with the `re.Match.expand` template of its path below `path_prefix`. The
        path of any other file is requested from MAST.

    """

    uri_prefix: str
    path_prefix: str
    paths: tuple[tuple[re.Pattern[str], str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalPages:
    """Where STScI publishes proposals. Paths are below `archive.programs_url`; `{}` is the number; empty means none.

    Attributes
    ----------
    bulk_page
        URL of the page that links the bulk list of abstracts.
    apt
        Path of a programme's APT file.
    listing
        Path of a programme's text listing.
    page
        Path of a programme's page.

    """

    bulk_page: str
    apt: str
    listing: str
    page: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mission:
    """One telescope. A mission that differs in more needs a new field here, not a condition elsewhere.

    Attributes
    ----------
    name
        Name of the archive in the settings and the first half of every `proposal_id`; lower case.
    telescope
        Value of the keyword TELESCOP.
    collections
        MAST's `obs_collection` values, the main one first.
    instruments
        Instruments with imaging cameras as MAST's `instrument_name` begins, each with a wildcard.
    products
        Names and preferred files.
    cameras
        By `INSTRUMENT` or `INSTRUMENT/DETECTOR`.
    unknown_camera
        What holds for a camera that is not among `cameras`.
    header
        FITS keywords.
    bucket
        The copy in the cloud.
    proposals
        Pages of proposals at STScI.
    ads_bibstem
        The nine characters of an ADS bibcode after the year: journal and volume.
    licence, attribution
        Words for datasets made from this mission's files.
    homepage
        The archive's page.

    """

    name: str
    telescope: str
    collections: tuple[str, ...]
    instruments: tuple[str, ...]
    products: ProductRanking
    cameras: Mapping[str, Camera]
    unknown_camera: Camera
    header: HeaderConvention
    bucket: PublicBucket
    proposals: ProposalPages
    ads_bibstem: str
    licence: str
    attribution: str
    homepage: str
