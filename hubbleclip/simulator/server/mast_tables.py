"""Tables of the simulated archive, with the same columns, types, null values and filters as in MAST."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hubbleclip.simulator.observations import SimObservation, SimProduct, SimProposal

Row = dict[str, Any]

OBSERVATION_FIELDS = {
    "intentType": "string",
    "obs_collection": "string",
    "provenance_name": "string",
    "instrument_name": "string",
    "project": "string",
    "filters": "string",
    "wavelength_region": "string",
    "target_name": "string",
    "target_classification": "string",
    "obs_id": "string",
    "s_ra": "float",
    "s_dec": "float",
    "dataproduct_type": "string",
    "proposal_pi": "string",
    "calib_level": "int",
    "t_min": "float",
    "t_max": "float",
    "t_exptime": "float",
    "em_min": "float",
    "em_max": "float",
    "obs_title": "string",
    "t_obs_release": "float",
    "proposal_id": "string",
    "s_region": "string",
    "jpegURL": "string",
    "dataURL": "string",
    "dataRights": "string",
    "mtFlag": "boolean",
    "srcDen": "float",
    "obsid": "string",
    "objID": "string",
    "wave_region": "string",
    "wave_min": "float",
    "wave_max": "float",
    "proposal_type": "string",
    "sequence_number": "int",
}
PRODUCT_FIELDS = {
    "obsID": "string",
    "obs_collection": "string",
    "dataproduct_type": "string",
    "obs_id": "string",
    "description": "string",
    "type": "string",
    "dataURI": "string",
    "productType": "string",
    "productGroupDescription": "string",
    "productSubGroupDescription": "string",
    "productDocumentationURL": "string",
    "project": "string",
    "prvversion": "string",
    "proposal_id": "string",
    "productFilename": "string",
    "size": "int",
    "parent_obsid": "string",
    "dataRights": "string",
    "calib_level": "int",
    "filters": "string",
}
# The values of these columns are lists separated by semicolons; a filter matches if any element matches.
SPLIT_AT_SEMICOLON = frozenset({"filters", "wavelength_region", "target_classification", "project", "obs_collection"})
VOT_TYPES = {
    "string": "char",
    "float": "double",
    "int": "int",
    "boolean": "boolean",
}  # Names of the types in the VOTable format.
SECONDS_PER_DAY = 86400.0
RECOMMENDED = frozenset({"DRC", "DRZ", "DRW", "FLC", "FLT", "C0F", "C1F", "I2D"})
OBJID_STEP = 9_179_889  # For CAOM plane 0, the column `objID` is `obsid` plus this arbitrary number.
PLANE_STEP = 1_000_000_000  # `objID` grows by this arbitrary number from one plane to the next.
NULL_PARENT_EVERY = 7  # For one in NULL_PARENT_EVERY observations, the column `parent_obsid` is 0.


def columns_config(config_id: str) -> dict[str, Any]:
    """Describe the columns of a table; astroquery requests this description before its first query."""
    fields = PRODUCT_FIELDS if config_id.endswith("Products") else OBSERVATION_FIELDS
    config: dict[str, Any] = {"_selected_": {"text": "selected", "add": True, "type": "boolean", "hidden": True}}
    for order, (name, kind) in enumerate(fields.items()):
        column = {"text": name, "order": order, "vot.name": name, "vot.ID": name}
        column |= {"type": "boolean"} if kind == "boolean" else {"vot.datatype": VOT_TYPES[kind]}
        config[name] = column | ({"separator": ";"} if name in SPLIT_AT_SEMICOLON else {})
    return config


def table_fields(types: dict[str, str]) -> list[dict[str, str]]:
    """Make the entry `fields` of a response, which lists the columns."""
    return [*({"name": name, "type": kind} for name, kind in types.items()), {"name": "_selected_", "type": "boolean"}]


def observation_row(observation: SimObservation, proposal: SimProposal | None) -> Row:
    """Make the row of a plane in MAST's CAOM table; `proposal` is None if the observation belongs to no proposal."""
    # As in MAST, `dataURL` is the URI of the first science file. It is null for one in three observations.
    best = next((item for item in observation.products if item.product_type == "SCIENCE"), None)
    preview = next((item for item in observation.products if item.file_name.endswith((".jpg", ".jpeg"))), None)
    return {
        "intentType": "science",
        "obs_collection": observation.collection,
        "provenance_name": "HAP" if observation.is_hap else "CALSIM",
        "project": "HAP" if observation.is_hap else observation.collection,
        "instrument_name": observation.instrument,
        "filters": observation.filters,
        "wavelength_region": _region(observation.em_min),
        "target_name": observation.target_name,
        "target_classification": observation.target_class,
        "obs_id": observation.obs_id,
        "s_ra": observation.ra_deg,
        "s_dec": observation.dec_deg,
        "dataproduct_type": "image",
        "proposal_pi": proposal.pi if proposal else None,
        "calib_level": observation.calib_level,
        "t_min": observation.start_mjd,
        "t_max": observation.start_mjd + observation.exposure_s / SECONDS_PER_DAY,
        "t_exptime": observation.exposure_s,
        "em_min": observation.em_min,
        "em_max": observation.em_max,
        "obs_title": observation.title,
        "t_obs_release": observation.released_mjd,
        "proposal_id": observation.proposal_number or None,
        "s_region": None if observation.is_moving else observation.footprint,
        "jpegURL": preview.uri if preview else None,
        "dataURL": best.uri if best and observation.obsid % 3 else None,
        "dataRights": "PUBLIC",
        "mtFlag": observation.is_moving,
        "srcDen": None,
        "obsid": observation.obsid,
        "objID": observation.obsid + OBJID_STEP + observation.plane * PLANE_STEP,
        "wave_region": _region(observation.em_min),
        "wave_min": observation.em_min,
        "wave_max": observation.em_max,
        "proposal_type": proposal.proposal_type if proposal else None,
        "sequence_number": None,
        "_selected_": None,
    }


def _region(em_min_nm: float | None) -> str | None:
    """Return the name of the spectral region of a filter, given the short-wavelength limit of the filter in nm."""
    if em_min_nm is None:
        return None
    return "UV" if em_min_nm < 320 else "OPTICAL" if em_min_nm < 800 else "INFRARED"


def product_row(observation: SimObservation, product: SimProduct) -> Row:
    """Make the row of one file in MAST's product table."""
    suffix = product.kind.upper()
    is_recommended = product.product_type == "SCIENCE" and suffix in RECOMMENDED
    return {
        "obsID": observation.obsid,
        "obs_collection": observation.collection,
        "dataproduct_type": "image",
        "obs_id": observation.obs_id,
        "description": product.description,
        "type": "S" if observation.calib_level == 2 else "D",
        "dataURI": product.uri,
        "productType": product.product_type,
        "productGroupDescription": "Minimum Recommended Products" if is_recommended else None,
        "productSubGroupDescription": suffix if product.product_type != "PREVIEW" else None,
        "productDocumentationURL": None,
        "project": "HAP" if observation.is_hap else "CALSIM",
        "prvversion": f"1.{observation.version}" if observation.version else None,
        "proposal_id": observation.proposal_number,
        "productFilename": product.file_name,
        "size": product.size_bytes,
        "parent_obsid": 0 if observation.obsid % NULL_PARENT_EVERY == 0 else observation.obsid,
        "dataRights": "PUBLIC",
        "calib_level": observation.calib_level,
        "filters": observation.filters,
        "_selected_": None,
    }


@dataclass(frozen=True, slots=True)
class Cone:
    """Circle on the sky: centre and radius in degrees."""

    ra_deg: float
    dec_deg: float
    radius_deg: float

    def __contains__(self, observation: SimObservation) -> bool:
        """Return whether the centre of an observation lies in the circle."""
        return self.distance_arcsec(observation) <= self.radius_deg * 3600

    def distance_arcsec(self, observation: SimObservation) -> float:
        """Compute the great-circle distance of an observation from the centre of the circle (haversine)."""
        dec, other = math.radians(self.dec_deg), math.radians(observation.dec_deg)
        half_ra = math.radians(observation.ra_deg - self.ra_deg) / 2
        square = math.sin((other - dec) / 2) ** 2 + math.cos(dec) * math.cos(other) * math.sin(half_ra) ** 2
        return math.degrees(2 * math.asin(math.sqrt(square))) * 3600


def release_range(filters: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Compute the range of release dates (MJD) that filters allow; it is infinite if no filter limits the dates."""
    low, high = -math.inf, math.inf
    for item in filters:
        ranges = [value for value in item.get("values", []) if isinstance(value, dict)]
        if item.get("paramName") == "t_obs_release" and ranges:
            low = max(low, min(float(value["min"]) for value in ranges))
            high = min(high, max(float(value["max"]) for value in ranges))
    return low, high


def row_filter(filters: Sequence[dict[str, Any]]) -> Callable[[Row], bool]:
    """Make a function that decides whether a row matches filters. Raises ValueError for an unknown column."""
    predicates = [_column_filter(item) for item in filters]
    return lambda row: all(predicate(row) for predicate in predicates)


def _column_filter(item: dict[str, Any]) -> Callable[[Row], bool]:
    """Make a function that decides whether a row matches one filter.

    A filter of a numeric column has ranges, and the value in the row must lie in one of the ranges. A filter of a text
    column has a list of values or a pattern `freeText`, in which `%` matches any text. The value in the row must equal
    a listed value or match the pattern.
    """
    # The comparison ignores case, as in MAST.
    name = next((field for field in OBSERVATION_FIELDS if field.lower() == str(item.get("paramName")).lower()), None)
    if name is None:
        raise ValueError(f"Invalid column name '{item.get('paramName')}'.")
    values = item.get("values", [])
    ranges = [(float(value["min"]), float(value["max"])) for value in values if isinstance(value, dict)]
    texts = {str(value).lower() for value in values if not isinstance(value, dict)}
    free_text = str(item.get("freeText") or "")
    pattern = re.compile(".*".join(re.escape(part) for part in free_text.lower().split("%"))) if free_text else None

    def matches(row: Row) -> bool:
        value = row[name]
        if value is None:  # A null value matches no filter.
            return False
        if ranges:
            return any(low <= value <= high for low, high in ranges)
        text = str(value).lower()
        parts = [part.strip() for part in text.split(";")] if name in SPLIT_AT_SEMICOLON else []
        return any(part in texts for part in [text, *parts]) or bool(pattern and pattern.fullmatch(text))

    return matches
