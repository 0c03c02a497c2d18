"""Columns of MAST's search API, which differ between missions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchColumns:
    """Columns of one mission's table in MAST's search API (https://mast.stsci.edu/search/docs), one row per dataset.

    Attributes
    ----------
    path
        Name of the mission in the address of the API.
    dataset
        Column of the dataset's name, from which the observation's name is made.
    columns
        Column of the search API, by the column of CAOM that it corresponds to.
    images
        Conditions that images of the sky meet.
    intents
        Conditions by the value of `archive.intent`.
    levels
        Pattern of the values of the column for `calib_level`, by calibration level.
    level_values
        All values of the column for `calib_level`, by calibration level; empty if it cannot be filtered by level.
    detector, detectors
        Column whose value begins with the name of a detector, and for each instrument the pattern of these names;
        both are empty if the detector is not taken from such a column.
    is_upper
        Whether the API takes names of datasets in upper case only.
    file_types
        Value of CAOM's `productType`, by the search API's `type` of a file.

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
