"""Missions that can be simulated: HST and JWST. Their observation names, files and FITS headers differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.core.errors import SettingsError
from hubbleclip.simulator import fits_headers, jwst, products
from hubbleclip.simulator.fits_headers import Exposure
from hubbleclip.simulator.instruments import Camera, Filter
from hubbleclip.simulator.plans import ObservingPlan
from hubbleclip.simulator.products import FileType

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.wcs import WCS


@dataclass(frozen=True, slots=True, kw_only=True)
class SimMission:
    """Functions and values that differ between simulated missions.

    `collection` is the name of the mission in MAST's column `obs_collection`. `has_hap` says whether the mission has
    Hubble Advanced Products (HAP).
    """

    collection: str
    instrument_label: Callable[[Camera], str]
    mast_filters: Callable[[Camera, Filter], str]
    observation_name: Callable[[ObservingPlan, int, int, bool], str]
    file_types: Callable[[Camera, bool], tuple[FileType, ...]]
    primary_header: Callable[[Exposure, str, int, int], fits.Header]
    extension_header: Callable[[Exposure, str, int, str, WCS], fits.Header]
    has_hap: bool


SIM_MISSIONS = {
    "hst": SimMission(
        collection="HST",
        instrument_label=lambda camera: camera.name,
        mast_filters=products.mast_filters,
        observation_name=products.observation_name,
        file_types=products.file_types,
        primary_header=fits_headers.primary_header,
        extension_header=fits_headers.extension_header,
        has_hap=True,
    ),
    "jwst": SimMission(
        collection="JWST",
        instrument_label=lambda camera: f"{camera.instrument}/IMAGE",
        mast_filters=jwst.mast_filters,
        observation_name=jwst.observation_name,
        file_types=jwst.file_types,
        primary_header=jwst.primary_header,
        extension_header=jwst.extension_header,
        has_hap=False,
    ),
}


def sim_mission(settings: SimulatorSettings) -> SimMission:
    """Look up the mission that the settings select; SettingsError if it cannot be simulated."""
    if settings.mission not in SIM_MISSIONS:
        raise SettingsError(f"simulator.mission = {settings.mission!r}: set it to one of {', '.join(SIM_MISSIONS)}")
    return SIM_MISSIONS[settings.mission]
