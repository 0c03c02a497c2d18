"""Mission: a record of everything that the code must know about one telescope."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hubbleclip.missions.archive import ArchivePins, ProposalPages, PublicBucket, SearchColumns

CCD, COUNTER, RAMP = "CCD", "photon counter", "infrared array read in ramps"
"""Kinds of detector, for `Camera.kind`."""
PARALLEL = "parallel exposure: the named target belongs to another instrument"
"""Note on a tile of a parallel exposure, which is taken while the telescope is pointed for another instrument."""
PRESS = "PRESS"
"""Instrument of an observation that is an image of a press release."""
NOTHING = re.compile(r"(?!)")
"""Pattern that matches no text."""
STAR_CONTRASTS = {475: 4.5, 606: 5.5}
"""Default of `Camera.star_contrasts`, from the PSFs of ACS/WFC in F475W, F606W and F814W."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """One camera: its detector, its data quality flags and the layout of its files.

    Attributes
    ----------
    kind
        `CCD`, `COUNTER` or `RAMP`; empty if unknown. Only a single exposure of a CCD contains cosmic rays. In a photon
        counter, pixel values are integers without read noise, and 0 is a valid measurement. Calibrated files of a
        detector that is read in ramps contain no cosmic rays, and their SCI extensions may be single reads.
    bad_flags
        Data quality (DQ) bits that make a pixel invalid, each with its meaning; "?" marks an uncertain meaning.
        The bit for saturation is never one of them: a saturated pixel is bright, not missing.
    raw_yx
        Height and width of an uncalibrated full frame in pixels.
    light_yx
        Height and width in pixels of the part of the full frame that is exposed to light. The keywords LTV2 and LTV1
        give the first row and the first column of this part.
    gap
        Columns of the full frame between two amplifiers, as (first, last + 1).
    planes
        Maximum number of planes of an image cube in which each plane is one chip.
    filter_keywords
        Groups of keywords that name the filters. The first group that names a filter is used. If the tuple is empty,
        the mission's `HeaderConvention.filter_keywords` are used instead.
    nm_per_number
        Wavelength in nm of one unit of the number in a filter's name: 1 for F606W, 10 for F160W and F356W.
    pivots_nm
        Pivot wavelengths in nm, by filter name, of the filters whose names contain a number that is not their
        wavelength.
    star_contrasts
        Largest ratio of a pixel of a star to the median of the 3x3 pixels around it, by wavelength in nm. The ratio is
        interpolated linearly between these wavelengths, and is constant beyond them. A pixel with a larger ratio is a
        cosmic ray. docs/tiles.md derives the limits.
    saturated_flags
        DQ bits of saturated pixels, as one integer mask. A saturated pixel is never taken for a cosmic ray.

    """

    kind: str
    bad_flags: Mapping[int, str]
    raw_yx: tuple[int, int] | None = None
    light_yx: tuple[int, int] | None = None
    gap: tuple[int, int] | None = None
    planes: int = 1
    filter_keywords: tuple[tuple[str, ...], ...] = ()
    nm_per_number: float = 1.0
    pivots_nm: Mapping[str, float] = field(default_factory=dict)
    star_contrasts: Mapping[int, float] = field(default_factory=lambda: STAR_CONTRASTS)
    saturated_flags: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderConvention:
    """FITS keywords whose names or meanings differ between missions.

    Attributes
    ----------
    filter_keywords
        Groups of keywords that name the filters. The first group that names a filter is used.
    detector_keyword
        Keyword that names the detector of most instruments; empty where the instrument's name is enough.
    detectors
        Exceptions to `detector_keyword`: for an instrument, the keyword that names the detector, and a prefix that is
        put before the keyword's value.
    target_keywords
        Keywords of the target's name, in order of preference.
    aim_keywords
        Keyword pairs of the pointing (right ascension and declination in degrees), in order of preference.
    exposure_keywords
        Keywords of the exposure time in seconds, in order of preference.
    proposal_keyword
        Keyword of the proposal number.
    pi_keywords
        Keywords whose values, joined in this order, give the principal investigator's name.
    moving_keyword, moving_values
        Keyword that says whether the target moves, and the values (upper case) that mean a moving target.
    gain_keywords
        Keywords of the gain in electrons per count, in order of preference.
    disperser
        Pattern of the names of optical elements that disperse light.
    element_keywords
        Keywords that name optical elements other than filters.
    spectrographs
        Instruments that take no images.
    image_values
        Patterns by keyword. In the header of an image of the sky, the keyword's value (upper case) must match the
        pattern, or the keyword must be absent.
    prime_keyword
        Keyword of the instrument that the telescope was pointed for; empty if there is none.
    calibration_keywords, calibration_values
        Keywords and their values (upper case) that mark a calibration image, for example of a lamp or a dark.

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
    prime_keyword: str = ""
    calibration_keywords: tuple[str, ...] = ()
    calibration_values: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductRanking:
    """Rules that parse the names of files and rank the files of a visit.

    Attributes
    ----------
    names
        Naming schemes of observations and files: a pattern for each origin. The origin is what the data of a file were
        made from, such as `exposure`. The first pattern that matches the whole name is used. A name is matched in
        lower case, and without the last part of a file's name, such as `_drz.fits`. The groups of the pattern are
        inserted into `visit_templates`.
    other_origin
        Origin of a file whose name matches none of the schemes.
    all_filters_origins
        Origins of images that combine all filters; empty if the mission makes no such images.
    visit_templates
        Templates of a visit's name for `re.Match.expand`. The first template that gives a non-empty name is used.
    mosaic
        Pattern of the names of observations that combine several visits. MAST also lists the exposures of these visits
        as separate observations.
    order
        Description of each kind of file by (origin, suffix), in order of preference. Files of other kinds are never
        chosen.
    single_cameras
        Instruments whose files hold the images of all detectors, although MAST's name of the instrument contains only
        one detector.
    no_previews
        Suffixes of previews that are never chosen.
    tunable
        Pattern of the names of filters whose wavelength is set for each exposure.
    read_shares
        For each suffix, the share of a file's bytes that is fetched. The other bytes are extensions that are not read.

    """

    names: Mapping[str, re.Pattern[str]]
    other_origin: str
    visit_templates: tuple[str, ...]
    mosaic: re.Pattern[str]
    order: Mapping[tuple[str, str], str]
    all_filters_origins: tuple[str, ...] = ()
    single_cameras: frozenset[str] = frozenset()
    no_previews: frozenset[str] = frozenset()
    tunable: re.Pattern[str] = NOTHING
    read_shares: Mapping[str, float] = field(default_factory=dict)

    def parse(self, name: str) -> tuple[str, re.Match[str]] | None:
        """Parse the name of an observation or file, in upper or lower case.

        Parameters
        ----------
        name
            Name of an observation, or of a file without suffix.

        Returns
        -------
        tuple of str and re.Match, or None
            The origin and the match of the first naming scheme that fits; None for a name that fits no scheme.

        """
        matches = ((origin, pattern.fullmatch(name.lower())) for origin, pattern in self.names.items())
        return next(((origin, match) for origin, match in matches if match), None)

    def visit(self, obs_id: str) -> str | None:
        """Return the name of an observation's visit.

        Parameters
        ----------
        obs_id
            The observation's name.

        Returns
        -------
        str or None
            The visit's name in lower case; None if the observation's name contains no name of a visit.

        """
        parsed = self.parse(obs_id)
        expanded = (parsed[1].expand(template) for template in self.visit_templates) if parsed else ()
        return next(filter(None, expanded), None)

    def is_mosaic(self, name: str) -> bool:
        """Check whether the name of an observation or file marks a combination of several visits.

        Parameters
        ----------
        name
            Name of the observation, or of the file without suffix.

        Returns
        -------
        bool
            True for a name that matches `mosaic` and contains no visit.

        """
        return self.visit(name) is None and self.mosaic.fullmatch(name.lower()) is not None

    def is_total(self, name: str) -> bool:
        """Check whether the name of an observation or file marks a combination of all filters of a visit.

        Parameters
        ----------
        name
            Name of the observation, or of the file without suffix.

        Returns
        -------
        bool
            True for a name of one of the `all_filters_origins`.

        """
        parsed = self.parse(name)
        return parsed is not None and parsed[0] in self.all_filters_origins

    def camera(self, instrument: str) -> str:
        """Return the name of the camera that made an image.

        Parameters
        ----------
        instrument
            MAST's instrument name, such as `ACS/WFC` or `WFPC2/PC`.

        Returns
        -------
        str
            The name in upper case. The detector is removed if the instrument is in `single_cameras`.

        """
        family = instrument.upper().partition("/")[0]
        return family if family in self.single_cameras else instrument.upper()

    def origin(self, file_name: str) -> str:
        """Return the origin of a file: what its data were made from, such as `exposure`.

        Parameters
        ----------
        file_name
            The file's name with its suffix.

        Returns
        -------
        str
            The origin of the naming scheme that fits the name, or `other_origin` if none fits.

        """
        parsed = self.parse(file_name.rpartition("_")[0])
        return parsed[0] if parsed else self.other_origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Mission:
    """One telescope.

    If another difference between missions is needed, add a field to this record. Code elsewhere must not test the
    mission's name.

    Attributes
    ----------
    name
        Name of the mission in the settings, and the first part of every `proposal_id`; lower case.
    telescope
        Value of the keyword TELESCOP.
    collections
        MAST's `obs_collection` values of the mission, the main one first.
    instruments
        Patterns of MAST's `instrument_name` that match the instruments with imaging cameras; each ends with a wildcard.
    other_modes
        Pattern of `instrument_name` values (upper case) of modes that give no usable images, such as coronagraphy.
    products
        Naming schemes of files, and the order of preference among the files of a visit.
    cameras
        Cameras by name, `INSTRUMENT` or `INSTRUMENT/DETECTOR`.
    unknown_camera
        Facts that are assumed for a camera that is not in `cameras`.
    header
        Keywords of the mission's FITS headers.
    bucket
        The mission's folder in the public bucket of STScI.
    proposals
        Addresses of the proposals' pages at STScI.
    ads_bibstem
        The nine characters of an ADS bibcode that follow the year: journal and volume.
    licence, attribution
        Licence and credit line of datasets that are made from the mission's files.
    homepage
        URL of the mission's archive.
    observation_page
        URL of the page of an observation, with `{0}` for its id, or `{1}` for its id in upper case.
    search
        Columns of the mission's table in MAST's search API.
    pins
        Facts of the mission's archive, with which `hubbleclip check-archive` compares the archive's answers.
    press_collection
        MAST's `obs_collection` of the images of press releases; empty if there is none.

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
    observation_page: str
    search: SearchColumns
    pins: ArchivePins
    other_modes: re.Pattern[str] = NOTHING
    press_collection: str = ""
