"""Checks of the tables of observations and products."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence, Set
from datetime import UTC, datetime
from fnmatch import fnmatchcase

import requests

from hubbleclip.archives.check.probe import Finding, Level, Probe, compare, shortened
from hubbleclip.archives.http.client import to_archive_error
from hubbleclip.archives.mast.caom_rows import COLUMNS, CaomRow, observation_from_row, plane_key
from hubbleclip.archives.mast.client import COLUMN_CONFIG, OBSIDS_PER_REQUEST, Criteria, ResultPage
from hubbleclip.archives.mast.criteria import collections_of, criteria_of, mjd_of, release_window
from hubbleclip.archives.mast.missions_search import MissionsClient
from hubbleclip.archives.mast.product_selection import select_products
from hubbleclip.config.settings import ArchiveSettings
from hubbleclip.core.records import Observation, Product

FILTERED = frozenset(
    {
        "obs_collection",
        "dataproduct_type",
        "intentType",
        "calib_level",
        "instrument_name",
        "t_obs_release",
        "proposal_id",
        "obs_id",
        "obsid",
    }
)
"""Columns without which observations can be neither requested nor named."""
LEVELS = frozenset({"1", "2", "3"})
PRODUCT_TYPES = frozenset({"SCIENCE", "AUXILIARY", "PREVIEW", "CALIBRATION", "INFO", "THUMBNAIL"})
SEARCHED = "obs_id", "proposal_id", "instrument_name", "t_obs_release", "s_ra", "filters"
"""Columns of the search API. Each must have a value in at least one of the requested rows."""
SEARCH_ROWS = 20
MAX_COUNTS = 6
WINDOW_ROWS = 200
"""Approximate number of rows to which a window is shortened if it has more rows than one page."""


def check_columns(probe: Probe) -> Iterator[Finding]:
    """Check that the table of observations has the columns that are filtered and read."""
    found = json.loads(probe.columns or _request_columns(probe))
    lost: Set[str] = FILTERED - set(found)
    yield compare("columns of queries", shortened(FILTERED, 3), f"missing: {shortened(lost)}", not lost, Level.STOPS)
    read = COLUMNS.keys() - FILTERED
    lost = read - set(found)
    yield compare("columns of records", shortened(read, 3), f"missing: {shortened(lost)}", not lost)


def _request_columns(probe: Probe) -> bytes:
    """Request the description of the columns, which astroquery requests once per process."""
    url = f"{probe.mast.url}/portal/Mashup/Mashup.asmx/columnsconfig"
    try:
        response = probe.transport.session.post(url, data={"colConfigId": COLUMN_CONFIG})
        response.raise_for_status()
    except requests.RequestException as error:
        raise to_archive_error(error, url) from error
    return response.content


def check_counts(probe: Probe) -> Iterator[Finding]:
    """Count the observations of the profile, and all observations of one of its instruments on any release date."""
    wide, pinned = _wide_query(probe), probe.pins.released_mjd
    queries = criteria_of(probe.settings, probe.mission, probe.settings.proposal_numbers)[:MAX_COUNTS]
    dates = release_window(probe.settings, mjd_of(probe.settings.since), mjd_of(str(datetime.now(UTC).date())))
    counts = [probe.mast.count(query | {"t_obs_release": [dates.low, dates.high]}) for query in queries]
    probe.measured.num_observations = sum(counts)
    found = f"{probe.measured.num_observations:,}"
    yield compare("observations of the profile", "some", found, probe.measured.num_observations > 0)
    # a count whose dates include those of the window serves as well as one without dates
    is_counted = wide in queries and dates.low <= pinned[0] and pinned[1] <= dates.high
    probe.num_in_all = counts[queries.index(wide)] if is_counted else probe.mast.count(wide)


def _wide_query(probe: Probe) -> Criteria:
    """Make criteria that all observations of one of the profile's instruments meet."""
    settings = probe.settings
    wide = {"name": settings.name, "collections": settings.collections, "instruments": settings.instruments}
    return criteria_of(ArchiveSettings.model_validate(wide), probe.mission)[0]


def check_window(probe: Probe) -> Iterator[Finding]:
    """Request the rows of a window of release dates twice, and compare them."""
    low, high = probe.pins.released_mjd
    query, started = _wide_query(probe) | {"t_obs_release": [low, high]}, time.monotonic()
    first, probe.measured.rows_s = _first_page(probe, query), time.monotonic() - started
    found = f"{first.total:,} of {probe.num_in_all:,} in the dates"
    is_ok = 0 < first.total < probe.num_in_all
    yield compare("counts", "some, but fewer than on all dates", found, is_ok, Level.STOPS)
    if first.total > len(first.rows):  # two requests give the same rows only if one page has them all
        query |= {"t_obs_release": [low, low + (high - low) * WINDOW_ROWS / first.total]}
        first = _first_page(probe, query)
    rows, again = first.rows, _first_page(probe, query).rows
    keys, num_numbers = [plane_key(row) for row in rows], len({row.get("obsid") for row in rows})
    is_same = set(keys) == set(map(plane_key, again))
    yield compare("one window twice", "the same rows", f"{len(rows)} and {len(again)} rows", is_same, Level.STOPS)
    found = f"{len(set(keys))} planes of {num_numbers} observations in {len(rows)} rows"
    yield compare("rows", "no row twice", found, len(set(keys)) == len(rows), Level.STOPS)
    yield from _check_values(probe, rows)
    probe.sample = _observations(probe, rows)


def _first_page(probe: Probe, query: Criteria) -> ResultPage:
    """Request the first page of a query."""
    return probe.mast.observations(query, page=1, page_size=probe.transport.limits.page_rows)


def _check_values(probe: Probe, rows: Sequence[CaomRow]) -> Iterator[Finding]:
    """Check for null names, and for instruments, collections, levels and types that are not known."""
    nulls = {name: sum(row.get(name) is None for row in rows) for name in ("obs_id", "obsid", "proposal_id")}
    found = ", ".join(f"{num} without {name}" for name, num in nulls.items())
    yield compare("nulls", "a name and a number in each row", found, nulls["obs_id"] == nulls["obsid"] == 0)
    patterns = [name.lower() for name in probe.mission.instruments]
    unseen = {
        "instruments": [
            name
            for name in _values(rows, "instrument_name")
            if not any(fnmatchcase(name.lower(), pattern) for pattern in patterns)
        ],
        "collections": _values(rows, "obs_collection") - set(probe.mission.collections),
        "levels": _values(rows, "calib_level") - LEVELS,
        "types": _values(rows, "dataproduct_type") - {"image"},
    }
    found = "; ".join(f"{name}: {shortened(values)}" for name, values in unseen.items() if values)
    yield compare("unseen values", "none", found or "none", not found)


def _values(rows: Sequence[CaomRow], column: str) -> set[str]:
    """Return the values of a column that occur, as text."""
    return {str(row[column]) for row in rows if row.get(column) is not None}


def check_search_api(probe: Probe) -> Iterator[Finding]:
    """Check that the search API, which `archive.listing = "missions"` uses, counts and lists datasets."""
    client = MissionsClient(probe.mast.url, probe.transport, probe.mission)
    query = _wide_query(probe) | {"t_obs_release": list(probe.pins.released_mjd)}
    page = client.observations(query, page=1, page_size=SEARCH_ROWS)
    num, rows = page.total, page.rows
    lost = [name for name in SEARCHED if rows and all(row.get(name) is None for row in rows)]
    found = f"{num:,} datasets in the dates, {len(rows)} rows; without values: {shortened(lost)}"
    otherwise = Level.STOPS if probe.settings.listing == "missions" else Level.DIFFERS
    yield compare("search API", "datasets with the columns that are read", found, bool(rows) and not lost, otherwise)


def check_products(probe: Probe) -> Iterator[Finding]:
    """List the products of the window's observations and of the pinned proposal, and choose files from both lists."""
    own, pinned = _pinned_observations(probe)
    sample = probe.sample[: OBSIDS_PER_REQUEST - len(own) - len(pinned)]
    started = time.monotonic()
    listed = probe.mast.products_of([*sample, *own, *pinned])
    probe.measured.list_s = time.monotonic() - started
    yield from _check_sample(probe, sample, listed)
    if own or pinned:
        yield from _check_proposal(probe, own, listed)


def _pinned_observations(probe: Probe) -> tuple[list[Observation], list[Observation]]:
    """Request the observations of the pinned proposal, and the observation of the pinned file."""
    pins, file = probe.pins, probe.pins.file
    if pins.proposal is None:
        return [], []
    query: Criteria = {
        "obs_collection": collections_of(probe.settings, probe.mission),
        "dataproduct_type": "image",
        "proposal_id": sorted({pins.proposal, file.proposal if file else pins.proposal}),
    }
    rows = _first_page(probe, query).rows
    own = _observations(probe, [row for row in rows if str(row.get("proposal_id")) == pins.proposal])
    return own, _observations(probe, [row for row in rows if file and row.get("obs_id") == file.obs_id])


def _check_sample(probe: Probe, sample: Sequence[Observation], listed: Sequence[CaomRow]) -> Iterator[Finding]:
    """Choose the files of a sample by the settings of the profile, for the estimate."""
    measured = probe.measured
    chosen = select_products(sample, listed, probe.settings, probe.mission, {})[0]
    sizes = [product.size_bytes for product in chosen if product.size_bytes is not None]
    measured.num_sampled, measured.num_files = len(sample), len(chosen)
    measured.file_bytes = sum(sizes) / len(sizes) if sizes else None
    found = f"{len(chosen)} files of {len(sample)} observations, of {len(listed)} products"
    yield compare("product list", "files of the profile", found, bool(chosen), Level.STOPS)
    unseen = _values(listed, "productType") - PRODUCT_TYPES
    yield compare("unseen product types", "none", shortened(unseen), not unseen)


def _check_proposal(probe: Probe, own: Sequence[Observation], listed: Sequence[CaomRow]) -> Iterator[Finding]:
    """Choose the files of the pinned proposal by the default settings, and compare them with the pinned names."""
    pins, file = probe.pins, probe.pins.file
    default = ArchiveSettings.model_validate({"name": probe.settings.name, "collections": probe.settings.collections})
    names = {product.file_name for product in select_products(own, listed, default, probe.mission, {})[0]}
    lost, more = pins.file_names - names, names - pins.file_names
    found = f"{len(names & pins.file_names)} of them; missing: {shortened(lost, 2)}; others: {shortened(more, 2)}"
    yield compare(f"proposal {pins.proposal}", f"{len(pins.file_names)} known files", found, not (lost or more))
    if file:
        sizes = {row.get("size") for row in listed if row.get("dataURI") == file.uri}
        probe.listed_bytes = next((size for size in sizes if isinstance(size, int)), None)
        yield compare("listed size", f"{file.size_bytes:,} bytes", shortened(sizes), sizes == {file.size_bytes})


def _observations(probe: Probe, rows: Sequence[CaomRow]) -> list[Observation]:
    """Convert rows to observations; one plane of each observation is used."""
    made = (observation_from_row(row, probe.settings.name, datetime.now(UTC), probe.mission.products) for row in rows)
    return list({one.obs_id: one for one in made if one is not None}.values())


def pinned_product(probe: Probe) -> Product | None:
    """Make the record of the pinned file; None if no file is pinned."""
    file = probe.pins.file
    if file is None:
        return None
    return Product(
        uri=file.uri,
        obs_id=file.obs_id,
        proposal_id=f"{probe.settings.name}:{file.proposal}",
        file_name=file.uri.rpartition("/")[2],
        kind="",
        size_bytes=file.size_bytes,
        choice="pinned",
    )
