"""Client of MAST's search API, which lists the datasets of one mission, as `astroquery.mast.MastMissions` does.

With `archive.listing = "missions"`, this client replaces `MastClient`, which sends CAOM queries. A row of the API is a
dataset. The client converts it to a row with CAOM's columns, so that it is processed like a row of a CAOM query. The
API has no observation ids (`obsid`); an id is made from the dataset's name.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from hubbleclip.archives.http.client import Transport
from hubbleclip.archives.http.responses import DamagedError, parse_json, rows_limit
from hubbleclip.archives.mast.caom_rows import CaomRow, whole_number
from hubbleclip.archives.mast.client import CONTINUOUS, Criteria, MastClient, ResultPage, batches
from hubbleclip.archives.mast.criteria import LAST_MJD, MJD_EPOCH, mjd_of
from hubbleclip.core.errors import SettingsError
from hubbleclip.core.records import Observation
from hubbleclip.missions import Mission
from hubbleclip.missions.archive import SearchColumns

DATES = frozenset({"t_min", "t_obs_release"})
"""Columns that hold a date in the search API, and an MJD in CAOM."""
MAX_PRODUCTS = 8_000
"""Maximum number of products of `OBSIDS_PER_REQUEST` datasets. The size limit of a response is computed from this."""
NUMBER_DIGITS = 17
"""Number of decimal digits of an observation's number; numbers of this size fit into 64 bits."""
CAOM_ONLY = frozenset({"obs_collection"})
"""CAOM columns whose criteria are not sent to the search API, because the API has one table per mission."""


class MissionsClient(MastClient):
    """Client of the search API of one mission. Files are downloaded from MAST as with `MastClient`."""

    def __init__(self, url: str, transport: Transport, mission: Mission) -> None:
        super().__init__(url, transport)
        self.mission = mission
        self.api = f"{self.url}/search/{mission.search.path}/api/v0.1"

    def count(self, criteria: Criteria) -> int:
        """See `MastClient.count`."""
        params = {"conditions": conditions_of(criteria, self.mission.search), "count_only": True}
        return self._search(params).total

    def observations(self, criteria: Criteria, *, page: int, page_size: int, tries: int = 0) -> ResultPage:
        """See `MastClient.observations`. The rows have CAOM's columns."""
        columns = self.mission.search
        rows = {"conditions": conditions_of(criteria, columns), "limit": page_size, "offset": (page - 1) * page_size}
        form = {"select_cols": columns.selected, "sort_by": [columns.dataset], "sort_desc": [False]}
        result = self._search(rows | form, tries)
        return ResultPage(rows=[caom_row(row, self.mission) for row in result.rows], total=result.total)

    def products_of(self, observations: Sequence[Observation]) -> list[CaomRow]:
        """See `MastClient.products_of`. The rows have CAOM's columns."""
        names = sorted({item.obs_id for item in observations})
        rows: list[CaomRow] = []
        for batch in batches(names):
            listed = self.retried(lambda batch=batch: self._try_products(batch))  # type: ignore[misc]
            rows += [product_row(row, self.mission) for row in listed.rows]
        return rows

    def known_numbers(self, obsids: Sequence[int]) -> set[str]:
        """See `MastClient.known_numbers`. All numbers are known: a number is a hash of a name and never changes."""
        return set(map(str, obsids))

    def _search(self, params: dict[str, Any], tries: int = 0) -> ResultPage:
        """Search with retries."""
        return self.retried(lambda: read_search(self._post("search", params), params), tries)

    def _try_products(self, names: Sequence[str]) -> ResultPage:
        """Request the products of datasets once."""
        wanted = [name.upper() if self.mission.search.is_upper else name for name in names]
        body = self._post("post_list_products", {"dataset_ids": wanted})
        products = body.get("products")
        if isinstance(products, list) and products and isinstance(products[0], list):
            products = products[0]
        if not isinstance(products, list) or not all(isinstance(row, dict) and "filename" in row for row in products):
            raise DamagedError("the response has no list of products", "bad_json")
        return ResultPage(rows=products, total=len(products))

    def _post(self, service: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send one request without retries. Raises DamagedError for a response that is not a JSON object."""
        limit = rows_limit(1 if params.get("count_only") else params.get("limit", MAX_PRODUCTS))
        response = self.transport.ask(f"{self.api}/{service}", limit, json=params)
        try:
            body = parse_json(response.content)
        except ValueError as error:
            is_page = response.content.lstrip()[:1] == b"<"
            raise DamagedError("the response is not JSON", "html" if is_page else "bad_json") from error
        if not isinstance(body, dict):
            raise DamagedError("the response is not a JSON object", "bad_json")
        return body


def read_search(body: Mapping[str, Any], params: Mapping[str, Any]) -> ResultPage:
    """Read the response to a search; DamagedError if it is not valid, or has more or fewer rows than it announces."""
    total, rows = whole_number(body.get("totalResults")), body.get("results")
    if total is None or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DamagedError("the response has no totalResults or no results", "bad_json")
    if params.get("count_only"):
        return ResultPage(rows=[], total=total)
    expected = max(min(total - params["offset"], params["limit"]), 0)
    if len(rows) != expected:
        raise DamagedError(f"{len(rows)} of {expected} rows came", "partial" if rows else "empty")
    return ResultPage(rows=rows, total=total)


def conditions_of(criteria: Criteria, columns: SearchColumns) -> list[dict[str, str]]:
    """Convert criteria on CAOM's columns to API conditions, such as a range `low..high` or comma-separated values."""
    conditions: dict[str, str] = {}
    for name, given in criteria.items():
        values = given if isinstance(given, list) else [given]
        if name in CAOM_ONLY:
            continue
        if name == "dataproduct_type":
            conditions |= columns.images
        elif name == "intentType":
            conditions |= columns.intents.get(str(given), {})
        elif name == "calib_level":
            conditions |= _level_condition(values, columns)
        elif name in CONTINUOUS:
            ends = (date_of_mjd(value) if name in DATES else repr(float(value)) for value in values)
            conditions[columns.columns[name]] = "..".join(ends)
        elif name == "instrument_name":
            conditions[columns.columns[name]] = ",".join(sorted({re.split(r"[*%/]", str(v))[0] for v in values}))
        else:
            conditions[columns.columns[name]] = ",".join(str(value).replace("%", "*") for value in values)
    return [{name: value} for name, value in conditions.items()]


def _level_condition(levels: Sequence[int], columns: SearchColumns) -> dict[str, str]:
    """Make the condition for calibration levels; {} for all levels, SettingsError if levels cannot be searched."""
    if set(levels) >= set(columns.levels):
        return {}
    wanted = [value for level in levels for value in columns.level_values.get(level, ())]
    if not wanted:
        words = f"archive.calib_levels = {list(levels)} cannot be requested from MAST's search API"
        raise SettingsError(f'{words}: add 2 and 3, or set archive.listing = "caom"')
    return {columns.columns["calib_level"]: ",".join(wanted)}


def date_of_mjd(value: float) -> str:
    """Convert an MJD to a date and time (UTC)."""
    date = MJD_EPOCH + timedelta(days=min(value, LAST_MJD))
    return date.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")


def mjd_of_date(text: object) -> float | None:
    """Convert a date of the search API to MJD; None if it is not a date."""
    try:
        return mjd_of(str(text))
    except ValueError:
        return None


def number_of(name: str) -> int:
    """Hash an observation's name to a number of at most `NUMBER_DIGITS` digits."""
    return int.from_bytes(hashlib.sha256(name.strip().lower().encode()).digest()) % int(10**NUMBER_DIGITS)


def caom_row(row: CaomRow, mission: Mission) -> CaomRow:
    """Convert a dataset to a row with CAOM's columns."""
    columns = mission.search
    values = {name: row.get(column) for name, column in columns.columns.items()}
    values = {name: value.strip() if isinstance(value, str) else value for name, value in values.items()}
    name, level = str(row.get(columns.dataset) or "").strip(), str(values.get("calib_level") or "")
    levels = (level_number for level_number, pattern in columns.levels.items() if pattern.fullmatch(level))
    dates = {date: mjd_of_date(values[date]) for date in DATES & set(values)}
    exposure_s = values.get("t_exptime")
    is_number = isinstance(exposure_s, int | float) and math.isfinite(exposure_s)
    return {
        **values,
        **dates,
        "obs_collection": mission.collections[0],
        "dataproduct_type": "image",
        "intentType": "science",
        "obs_id": name.lower() or None,
        "obsid": number_of(name) if name else None,
        "objID": number_of(name) if name else None,
        "calib_level": next(levels, None),
        "instrument_name": _instrument(row, values.get("instrument_name"), columns),
        "t_exptime": exposure_s if is_number else None,
        "mtFlag": values.get("mtFlag") in mission.header.moving_values,
    }


def _instrument(row: CaomRow, instrument: object, columns: SearchColumns) -> object:
    """Return the instrument's name, with the detector (as in `ACS/WFC`) if the row has a known detector."""
    pattern = columns.detectors.get(str(instrument))
    detector = pattern.match(str(row.get(columns.detector) or "")) if pattern else None
    return f"{instrument}/{detector[0]}" if detector else instrument


def product_row(row: CaomRow, mission: Mission) -> CaomRow:
    """Convert a file of a dataset to a product row with CAOM's columns."""
    dataset, name = str(row.get("dataset") or "").strip(), str(row["filename"]).rpartition("/")[2]
    collection = mission.collections[0]
    is_preview = name.lower().endswith((".jpg", ".jpeg"))
    kind = "preview" if is_preview else str(row.get("type") or "").lower()
    return {
        "obsID": number_of(dataset),
        "parent_obsid": number_of(dataset),
        "obs_id": dataset.lower(),
        "obs_collection": collection,
        "dataproduct_type": "image",
        "productFilename": name,
        "dataURI": f"mast:{collection}/product/{name}",
        "size": row.get("size"),
        "filters": row.get("filters"),
        "productType": mission.search.file_types.get(kind, "AUXILIARY"),
        "productSubGroupDescription": None if is_preview else row.get("file_suffix"),
        "prvversion": None,
    }
