"""Imitation of MAST's search API, which lists the datasets and the files of one mission."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from hubbleclip.missions import mission_of_collections
from hubbleclip.missions.archive import SearchColumns
from hubbleclip.simulator.missions import sim_mission
from hubbleclip.simulator.observations import SimObservation
from hubbleclip.simulator.server.mast_tables import Row
from hubbleclip.simulator.server.product_store import ArchiveStore

MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
DATES = frozenset({"t_min", "t_obs_release"})
MAX_ROWS = 5000
PADDED = 6  # The search API pads the names of HST's instruments with blanks to 6 characters.
TYPES = {"SCIENCE": "science", "PREVIEW": "preview"}


class MissionSearch:
    """The search API of the simulated mission; Hubble Advanced Products are not part of it."""

    def __init__(self, store: ArchiveStore) -> None:
        self.store = store
        self.columns = mission_of_collections([sim_mission(store.settings).collection]).search

    def routes(self) -> list[Route]:
        """List the routes."""
        root = f"/search/{self.columns.path}/api/v0.1"
        return [
            Route(f"{root}/search", self.search, methods=["POST"]),
            Route(f"{root}/post_list_products", self.list_products, methods=["POST"]),
        ]

    @cached_property
    def datasets(self) -> dict[str, SimObservation]:
        """Observations by the name of their dataset."""
        found = (item for item in self.store.observations.values() if not item.is_hap)
        return {item.obs_id.upper() if self.columns.is_upper else item.obs_id: item for item in found}

    @cached_property
    def rows(self) -> list[Row]:
        """Rows of all datasets, sorted by name."""
        return [self._row(name, self.datasets[name]) for name in sorted(self.datasets)]

    def _row(self, name: str, observation: SimObservation) -> Row:
        """Make the row of a dataset."""
        caom = self.store.row(observation)
        row = {column: _value(caom_name, caom[caom_name]) for caom_name, column in self.columns.columns.items()}
        instrument, _, detector = str(caom["instrument_name"]).partition("/")
        row[self.columns.columns["instrument_name"]] = instrument.ljust(PADDED)
        if self.columns.detector:
            row[self.columns.detector] = f"{detector or 'WFALL'}-FIX"
        constant = {**self.columns.images, **self.columns.intents.get("science", {})}
        row |= {column: values.split(",")[0] for column, values in constant.items()}
        return row | {self.columns.dataset: name}

    async def search(self, request: Request) -> Response:
        """Search the datasets."""
        query = await request.json()
        conditions = {name: str(value) for entry in query.get("conditions", []) for name, value in entry.items()}
        rows = await asyncio.to_thread(lambda: self.rows)
        unknown = [name for name in conditions if rows and name not in rows[0]]
        if unknown:
            return PlainTextResponse(f"Search condition {unknown[0]!r} does not exist", status_code=400)
        tests = [(name, _matcher(text)) for name, text in conditions.items()]
        found = [row for row in rows if all(matches(row[name]) for name, matches in tests)]
        start, limit = int(query.get("offset") or 0), min(int(query.get("limit") or MAX_ROWS), MAX_ROWS)
        page = [] if query.get("count_only") else found[start : start + limit]
        head = {"messages": [], "search_params": query, "totalResults": len(found)}
        return JSONResponse(head | {"info": _info(self.columns), "results": page})

    async def list_products(self, request: Request) -> Response:
        """List the files of datasets."""
        names: Sequence[str] = (await request.json()).get("dataset_ids", [])
        found = [(name, self.datasets[name]) for name in names if name in self.datasets]
        products = [
            {
                "product_key": f"{name}_{item.file_name}",
                "access": "PUBLIC",
                "dataset": name,
                "instrument_name": observation.instrument.partition("/")[0].ljust(PADDED),
                "filters": observation.filters,
                "filename": item.file_name,
                "uri": f"{name}/{item.file_name}",
                "file_suffix": item.kind,
                "category": "CALIBRATED" if item.product_type == "SCIENCE" else "AUX",
                "size": item.size_bytes,
                "type": TYPES.get(item.product_type, "other"),
            }
            for name, observation in found
            for item in observation.products
        ]
        return JSONResponse({"products": products})


def _value(caom_name: str, value: Any) -> Any:
    """Convert a value of a CAOM column to the form in which the search API returns it."""
    if caom_name in DATES and value is not None:
        return (MJD_EPOCH + timedelta(days=value)).replace(tzinfo=None).isoformat()
    if caom_name == "mtFlag":
        return "MOVING" if value else "FIXED"
    return value


def _info(columns: SearchColumns) -> list[Mapping[str, Any]]:
    """List the columns of a response."""
    return [{"name": name, "type": "VARCHAR", "sortable": True} for name in columns.selected]


def _matcher(text: str) -> Callable[[Any], bool]:
    """Make a function that decides whether a value meets a condition.

    The condition is a range `low..high`, or a comma-separated list of values, in which `*` matches any text.
    """
    low, is_range, high = text.partition("..")
    if is_range:
        return lambda value: value is not None and _as_key(low, value) <= _as_key(value, value) <= _as_key(high, value)
    names = [re.escape(name.strip().lower()).replace(r"\*", ".*") for name in text.split(",")]
    pattern = re.compile("|".join(names))
    return lambda value: pattern.fullmatch(str(value).strip().lower()) is not None


def _as_key(bound: Any, value: Any) -> Any:
    """Convert `bound` for a comparison: to a number if `value` is a number, otherwise to a date."""
    return float(bound) if isinstance(value, int | float) else datetime.fromisoformat(str(bound))
