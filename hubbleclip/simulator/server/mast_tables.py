"""MAST's tables as the simulated archive fills them: columns, types, nulls and filters as in real answers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hubbleclip.simulator.visits import SimObservation, SimProduct, SimProposal

Row = dict[str, Any]

OBSERVATION_FIELDS = {
    "intentType": "string", "obs_collection": "string", "provenance_name": "string", "instrument_name": "string",
    "project": "string", "filters": "string", "wavelength_region": "string", "target_name": "string",
    "target_classification": "string", "obs_id": "string", "s_ra": "float", "s_dec": "float",
    "dataproduct_type": "string", "proposal_pi": "string", "calib_level": "int", "t_min": "float", "t_max": "float",
    "t_exptime": "float", "em_min": "float", "em_max": "float", "obs_title": "string", "t_obs_release": "float",
    "proposal_id": "string", "s_region": "string", "jpegURL": "string", "dataURL": "string", "dataRights": "string",
    "mtFlag": "boolean", "srcDen": "float", "obsid": "string", "objID": "string",
}  # fmt: skip
PRODUCT_FIELDS = {
    "obsID": "string", "obs_collection": "string", "dataproduct_type": "string", "obs_id": "string",
    "description": "string", "type": "string", "dataURI": "string", "productType": "string",
    "productGroupDescription": "string", "productSubGroupDescription": "string", "productDocumentationURL": "string",
    "project": "string", "prvversion": "string", "proposal_id": "string", "productFilename": "string", "size": "int",
    "parent_obsid": "string", "dataRights": "string", "calib_level": "int",
}  # fmt: skip
SPLIT_AT_SEMICOLON = frozenset({"filters", "wavelength_region", "target_classification", "project", "obs_collection"})
VOT_TYPES = {"string": "char", "float": "double", "int": "int", "boolean": "boolean"}
SECONDS_A_DAY = 86400.0
OBJID_STEP = 9_179_889
NULL_PARENT_EVERY = 7


def columns_config(config_id: str) -> dict[str, Any]:
    """The description of a table's columns that astroquery asks for before its first query."""
    fields = PRODUCT_FIELDS if config_id.endswith("Products") else OBSERVATION_FIELDS
    config: dict[str, Any] = {"_selected_": {"text": "selected", "add": True, "type": "boolean", "hidden": True}}
    for order, (name, kind) in enumerate(fields.items()):
        column = {"text": name, "order": order, "vot.name": name, "vot.ID": name}
        column |= {"type": "boolean"} if kind == "boolean" else {"vot.datatype": VOT_TYPES[kind]}
        config[name] = column | ({"separator": ";"} if name in SPLIT_AT_SEMICOLON else {})
    return config


def fields_of(types: dict[str, str]) -> list[dict[str, str]]:
    """The `fields` member of an answer; MAST ends it with a column of its own."""
    return [*({"name": name, "type": kind} for name, kind in types.items()), {"name": "_selected_", "type": "boolean"}]


def observation_row(observation: SimObservation, proposal: SimProposal) -> Row:
    """One observation in CAOM's columns. A moving target has no footprint.

    `obsid` is a number in a column of type string, and every third `dataURL` is null, as in the real answers.
    """
    best = next((item for item in observation.products if item.product_type == "SCIENCE"), None)
    preview = next((item for item in observation.products if item.file_name.endswith((".jpg", ".jpeg"))), None)
    return {
        "intentType": "science", "obs_collection": observation.collection,
        "provenance_name": "HAP" if observation.is_advanced else "CALSIM",
        "project": "HAP" if observation.is_advanced else observation.collection,
        "instrument_name": observation.instrument, "filters": observation.filters,
        "wavelength_region": _region(observation.em_min), "target_name": observation.target_name,
        "target_classification": observation.target_class, "obs_id": observation.obs_id,
        "s_ra": observation.ra_deg, "s_dec": observation.dec_deg, "dataproduct_type": "image",
        "proposal_pi": proposal.pi, "calib_level": observation.calib_level, "t_min": observation.start_mjd,
        "t_max": observation.start_mjd + observation.exposure_s / SECONDS_A_DAY, "t_exptime": observation.exposure_s,
        "em_min": observation.em_min, "em_max": observation.em_max, "obs_title": observation.title,
        "t_obs_release": observation.released_mjd, "proposal_id": observation.proposal_number,
        "s_region": None if observation.is_moving else observation.footprint,
        "jpegURL": preview.uri if preview else None, "dataURL": best.uri if best and observation.obsid % 3 else None,
        "dataRights": "PUBLIC", "mtFlag": observation.is_moving, "srcDen": None, "obsid": observation.obsid,
        "objID": observation.obsid + OBJID_STEP, "_selected_": None,
    }  # fmt: skip


def _region(em_min_nm: float | None) -> str | None:
    if em_min_nm is None:
        return None
    return "UV" if em_min_nm < 320 else "OPTICAL" if em_min_nm < 800 else "INFRARED"


def product_row(observation: SimObservation, product: SimProduct) -> Row:
    """One file in the columns of MAST's product list; the parent's number is 0 now and then, as it is there."""
    suffix = product.kind.upper()
    is_recommended = product.product_type == "SCIENCE" and suffix in {"DRC", "DRZ", "FLC", "FLT", "C0F", "C1F", "I2D"}
    return {
        "obsID": observation.obsid, "obs_collection": observation.collection, "dataproduct_type": "image",
        "obs_id": observation.obs_id,
        "description": product.description, "type": "S" if observation.calib_level == 2 else "D",
        "dataURI": product.uri,
        "productType": product.product_type,
        "productGroupDescription": "Minimum Recommended Products" if is_recommended else None,
        "productSubGroupDescription": suffix if product.product_type != "PREVIEW" else None,
        "productDocumentationURL": None,
        "project": "HAP" if observation.is_advanced else "CALSIM",
        "prvversion": f"1.{observation.version}" if observation.version else None,
        "proposal_id": observation.proposal_number,
        "productFilename": product.file_name, "size": product.size_bytes,
        "parent_obsid": 0 if observation.obsid % NULL_PARENT_EVERY == 0 else observation.obsid, "dataRights": "PUBLIC",
        "calib_level": observation.calib_level, "_selected_": None,
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cone:
    """A circle on the sky, in degrees."""

    ra_deg: float
    dec_deg: float
    radius_deg: float

    def __contains__(self, observation: SimObservation) -> bool:
        """Whether the observation's centre lies in the circle."""
        return self.distance_arcsec(observation) <= self.radius_deg * 3600

    def distance_arcsec(self, observation: SimObservation) -> float:
        """From the circle's centre to the observation's, by the haversine formula."""
        dec, other = math.radians(self.dec_deg), math.radians(observation.dec_deg)
        half_ra = math.radians(observation.ra_deg - self.ra_deg) / 2
        square = math.sin((other - dec) / 2) ** 2 + math.cos(dec) * math.cos(other) * math.sin(half_ra) ** 2
        return math.degrees(2 * math.asin(math.sqrt(square))) * 3600


def release_span(filters: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Between which release dates (MJD) all that meets the filters lies."""
    low, high = -math.inf, math.inf
    for item in filters:
        ranges = [value for value in item.get("values", []) if isinstance(value, dict)]
        if item.get("paramName") == "t_obs_release" and ranges:
            low = max(low, min(float(value["min"]) for value in ranges))
            high = min(high, max(float(value["max"]) for value in ranges))
    return low, high


def matcher(filters: Sequence[dict[str, Any]]) -> Callable[[Row], bool]:
    """Whether a row meets every filter of a `Mast.Caom.Filtered` request. Raises ValueError for an unknown column."""
    tests = [_column_test(item) for item in filters]
    return lambda row: all(test(row) for test in tests)


def _column_test(item: dict[str, Any]) -> Callable[[Row], bool]:
    """One filter: ranges for numbers; for text any of the values, or a pattern with `%` in `freeText`."""
    name = next((field for field in OBSERVATION_FIELDS if field.lower() == str(item.get("paramName")).lower()), None)
    if name is None:
        raise ValueError(f"Invalid column name '{item.get('paramName')}'.")
    values = item.get("values", [])
    ranges = [(float(value["min"]), float(value["max"])) for value in values if isinstance(value, dict)]
    words = {str(value).lower() for value in values if not isinstance(value, dict)}
    free = str(item.get("freeText") or "")
    pattern = re.compile(".*".join(re.escape(part) for part in free.lower().split("%"))) if free else None

    def test(row: Row) -> bool:
        value = row[name]
        if value is None:
            return False
        if ranges:
            return any(low <= value <= high for low, high in ranges)
        text = str(value).lower()
        parts = [part.strip() for part in text.split(";")] if name in SPLIT_AT_SEMICOLON else []
        return any(part in words for part in [text, *parts]) or bool(pattern and pattern.fullmatch(text))

    return test
