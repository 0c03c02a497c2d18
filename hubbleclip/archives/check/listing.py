"""Checks of the tables of observations and products."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial

from hubbleclip.archives.base import proposal_id_of
from hubbleclip.archives.check.probe import Finding, Level, Probe, compare, shortened
from hubbleclip.archives.http.responses import parse_json
from hubbleclip.archives.mast.caom_rows import COLUMNS, CaomRow, observation_from_row, plane_key
from hubbleclip.archives.mast.client import OBSIDS_PER_REQUEST, Criteria, ResultPage
from hubbleclip.archives.mast.criteria import collections_of, criteria_of, mjd_of, release_window
from hubbleclip.archives.mast.missions_search import MissionsClient
from hubbleclip.archives.mast.product_candidates import READERS, candidate_from_row, preview_from_row
from hubbleclip.archives.mast.product_selection import select_products
from hubbleclip.config.settings import ArchiveSettings
from hubbleclip.core.records import Observation
from hubbleclip.missions.archive import PinnedFile

FILTERED = frozenset(
    ("obs_collection", "dataproduct_type", "intentType", "calib_level", "instrument_name")
) | frozenset(("t_obs_release", "proposal_id", "obs_id", "obsid"))
"""Columns that queries filter by or that identify an observation. If any of them is missing, the ingest stops."""
LEVELS = frozenset({"1", "2", "3"})
PRODUCT_TYPES = frozenset({"SCIENCE", "AUXILIARY", "PREVIEW", "CALIBRATION", "INFO", "THUMBNAIL"})
SEARCHED = "obs_id", "proposal_id", "instrument_name", "t_obs_release", "s_ra", "filters"
"""Columns of the search API. Each must have a value in at least one of the requested rows."""
SEARCH_ROWS = 20
MAX_COUNTS = 6
MAX_SAMPLED, SAMPLE_DAYS, SAMPLE_ROWS, DRAWN = 3, 10.0, 200, 2
"""Limits of the sample for the estimate: number of queries, length (days) of a range of release dates, number of rows
per request, and number of proposals drawn per request.
"""
MIN_WEIGHT = 1e-9
"""Minimum weight of a drawn proposal. It keeps the sum of weights above 0, even if the profile has no observations."""
MAX_OTHERS = 0.1
"""Maximum accepted share of rows whose instrument was not requested."""
WINDOW_ROWS = 200
"""If a range of release dates has too many rows for one page, the range is shortened to about this number of rows."""


def check_columns(probe: Probe) -> Iterator[Finding]:
    """Check that the table of observations has the columns for filters (`FILTERED`) and for records (`COLUMNS`)."""
    url = f"{probe.mast.url}/portal/Mashup/Mashup.asmx/columnsconfig"
    asked = partial(probe.transport.ask, url, data={"colConfigId": "Mast.Caom.Cone"})
    found = parse_json(probe.transport.retried(url, asked).content)
    lost: Set[str] = FILTERED - set(found)
    yield compare("columns of queries", shortened(FILTERED, 3), f"missing: {shortened(lost)}", not lost, Level.STOPS)
    read = COLUMNS.keys() - FILTERED
    lost = read - set(found)
    yield compare("columns of records", shortened(read, 3), f"missing: {shortened(lost)}", not lost)


def check_counts(probe: Probe) -> Iterator[Finding]:
    """Count the profile's observations. Also count all observations of one of its instruments, on all release dates."""
    wide, (low, high) = _wide_query(probe), probe.pins.released_mjd
    first, last = _dates(probe.settings)
    within = {"t_obs_release": [first, last]}
    queries = criteria_of(probe.settings, probe.mission, probe.settings.proposal_numbers)[:MAX_COUNTS]
    probe.counted = [(query, probe.mast.count(query | within)) for query in queries]
    probe.measured.num_observations = sum(num for _, num in probe.counted)
    found = f"{probe.measured.num_observations:,}"
    yield compare("observations of the profile", "some", found, probe.measured.num_observations > 0)
    # no request is needed if the query `wide` was counted above, on dates that include `low` to `high`
    known = [num for query, num in probe.counted if query == wide and first <= low and high <= last]
    probe.num_in_all = known[0] if known else probe.mast.count(wide)


def _dates(settings: ArchiveSettings) -> list[float]:
    """Return the range of release dates of a profile, up to the beginning of today."""
    window = release_window(settings, mjd_of(settings.since), mjd_of(str(datetime.now(UTC).date())))
    return [window.low, window.high]


def _wide_query(probe: Probe) -> Criteria:
    """Make criteria that select all observations of one of the profile's instruments."""
    settings = probe.settings
    wide = {"name": settings.name, "collections": settings.collections, "instruments": settings.instruments}
    return criteria_of(ArchiveSettings.model_validate(wide), probe.mission)[0]


def check_window(probe: Probe) -> Iterator[Finding]:
    """Check that two requests for the same release dates return the same rows, and that the archive's count agrees."""
    low, high = probe.pins.released_mjd
    query, started = _wide_query(probe) | {"t_obs_release": [low, high]}, time.monotonic()
    first = _first_page(probe, query)
    probe.measured.page = len(first.rows), time.monotonic() - started
    found = f"{first.total:,} of {probe.num_in_all:,} in the date range"
    is_ok = 0 < first.total < probe.num_in_all
    yield compare("counts", "at least 1, fewer than on all dates", found, is_ok, Level.STOPS)
    num = probe.mast.count(query)
    yield compare("count and rows", f"{first.total:,}, as rows came", f"{num:,}", num == first.total, Level.STOPS)
    if first.total > len(first.rows):  # two requests give the same rows only if one page has them all
        query |= {"t_obs_release": [low, low + (high - low) * WINDOW_ROWS / first.total]}
        first = _first_page(probe, query)
    rows, again = first.rows, _first_page(probe, query).rows
    keys, num_numbers = [plane_key(row) for row in rows], len({row.get("obsid") for row in rows})
    is_same = set(keys) == set(map(plane_key, again))
    yield compare("one window twice", "the same rows", f"{len(rows)} and {len(again)} rows", is_same, Level.STOPS)
    found = f"{len(set(keys))} planes of {num_numbers} observations in {len(rows)} rows"
    yield compare("rows", "no row twice", found, len(set(keys)) == len(rows), Level.STOPS)
    yield from _check_filter(rows, query)
    yield from _check_values(probe, rows)


def _check_filter(rows: Sequence[CaomRow], query: Criteria) -> Iterator[Finding]:
    """Check that each row has a release date and is of the requested instrument."""
    num = sum(row.get("t_obs_release") is None for row in rows)
    otherwise = Level.STOPS if num == len(rows) else Level.DIFFERS
    yield compare("release dates", "a date in each row", f"{num} of {len(rows)} without", not num, otherwise)
    patterns = [name.lower() for name in query.get("instrument_name", ["*"])]
    others = _beyond([str(row.get("instrument_name")) for row in rows], patterns)
    found = f"{len(others)} of {len(rows)} rows of other instruments: {shortened(set(others), 3)}"
    is_ok = len(others) <= max(MAX_OTHERS * len(rows), 1)
    yield compare("filter by instrument", f"rows of {shortened(patterns)}", found, is_ok, Level.STOPS)


def _first_page(probe: Probe, query: Criteria) -> ResultPage:
    """Request the first page of a query."""
    return probe.mast.observations(query, page=1, page_size=probe.transport.limits.page_rows)


def _check_values(probe: Probe, rows: Sequence[CaomRow]) -> Iterator[Finding]:
    """Check that each row has a name and a number, and that columns such as the instrument have only known values."""
    nulls = {name: sum(row.get(name) is None for row in rows) for name in ("obs_id", "obsid", "proposal_id")}
    found = ", ".join(f"{num} without {name}" for name, num in nulls.items())
    yield compare("nulls", "a name and a number in each row", found, nulls["obs_id"] == nulls["obsid"] == 0)
    unseen = {
        "instruments": _beyond(_values(rows, "instrument_name"), probe.mission.instruments),
        "collections": _values(rows, "obs_collection") - set(probe.mission.collections),
        "levels": _values(rows, "calib_level") - LEVELS,
        "types": _values(rows, "dataproduct_type") - {"image"},
    }
    found = "; ".join(f"{name}: {shortened(values)}" for name, values in unseen.items() if values)
    yield compare("unseen values", "none", found or "none", not found)


def _beyond(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Select the names that match no pattern; case does not matter."""
    return [name for name in names if not any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)]


def _values(rows: Sequence[CaomRow], column: str) -> set[str]:
    """Return the distinct values of a column as texts, without nulls."""
    return {str(row[column]) for row in rows if row.get(column) is not None}


def check_search_api(probe: Probe) -> Iterator[Finding]:
    """Check that the search API, which `archive.listing = "missions"` uses, counts and lists datasets."""
    client = MissionsClient(probe.mast.url, probe.transport, probe.mission)
    query = _wide_query(probe) | {"t_obs_release": list(probe.pins.released_mjd)}
    page = client.observations(query, page=1, page_size=SEARCH_ROWS)
    num, rows = page.total, page.rows
    lost = [name for name in SEARCHED if rows and all(row.get(name) is None for row in rows)]
    found = f"{num:,} datasets in the date range, {len(rows)} rows; without values: {shortened(lost)}"
    otherwise = Level.STOPS if probe.settings.listing == "missions" else Level.DIFFERS
    yield compare("search API", "datasets with the columns that are read", found, bool(rows) and not lost, otherwise)


def check_products(probe: Probe) -> Iterator[Finding]:
    """List the products of the drawn proposals and of the proposal in `pins`, and choose files for each proposal."""
    own, pinned = _pinned_observations(probe)
    queries, weights = _sampled_proposals(probe)
    sample = [item for query in queries for item in _observations_of(probe, query, sorted(weights))]
    numbered, started = {item.obsid: item for item in (*sample, *own, *pinned)}, time.monotonic()
    listed = probe.mast.products_of(list(numbered.values()))
    probe.measured.list_s = (time.monotonic() - started) / max(len(numbered), 1) * OBSIDS_PER_REQUEST
    yield from _check_sample(probe, sample, weights, listed)
    if own or pinned:
        yield from _check_proposal(probe, own, listed)
    elif sample:
        _find_files(probe, sample, listed)


def _sampled_proposals(probe: Probe) -> tuple[list[Criteria], dict[str, float]]:
    """Draw proposals as a sample, from which the size of the whole ingest is estimated.

    The sample is drawn from the profile's observations in two ranges of release dates. If there are none, it is drawn
    from all observations of the profile. If the profile has no observations, it is drawn from the observations of one
    instrument in the two ranges. Returns the queries, and the weight of each drawn proposal, which is the number of
    observations that the proposal represents.
    """
    low, high = probe.pins.released_mjd
    middle = (mjd_of(probe.settings.since) + high) / 2
    parts = [[low, high], [middle, middle + SAMPLE_DAYS]]
    wide = [(_wide_query(probe), probe.num_in_all)]
    for queries, windows in ((probe.counted, parts), (probe.counted, [_dates(probe.settings)]), (wide, parts)):
        weights: dict[str, float] = defaultdict(float)
        for query, num in queries[:MAX_SAMPLED]:
            numbers = [name for dates in windows for name in _drawn(probe, query | {"t_obs_release": dates})]
            for number in numbers:
                weights[number] += max(num / len(numbers), MIN_WEIGHT)
        if weights:
            return [query for query, _ in queries], weights
    return [], {}


def _drawn(probe: Probe, query: Criteria) -> list[str]:
    """Request the first rows of a query, choose at most `DRAWN` evenly spaced rows, and return their proposals."""
    started = time.monotonic()
    rows = probe.mast.observations(query, page=1, page_size=SAMPLE_ROWS).rows
    latency_s = time.monotonic() - started
    probe.measured.latency_s = min(probe.measured.latency_s or latency_s, latency_s)
    own = [str(row["proposal_id"]) for row in rows if row.get("proposal_id")]
    return own[:: max(len(own) // DRAWN, 1)][:DRAWN]


def _observations_of(probe: Probe, query: Criteria, numbers: Sequence[str]) -> list[Observation]:
    """Request the observations that match `query` and belong to the proposals `numbers`."""
    rows = _first_page(probe, query | {"proposal_id": list(numbers)}).rows
    made = (observation_from_row(row, probe.settings.name, datetime.now(UTC), probe.mission.products) for row in rows)
    return list({one.obs_id: one for one in made if one is not None}.values())


def _pinned_observations(probe: Probe) -> tuple[list[Observation], list[Observation]]:
    """Request the observations of the proposal in `pins`, and the observation of the file in `pins`."""
    pins, file = probe.pins, probe.pins.file
    if pins.proposal is None:
        return [], []
    query: Criteria = {"obs_collection": collections_of(probe.settings, probe.mission), "dataproduct_type": "image"}
    found = _observations_of(probe, query, sorted({pins.proposal, file.proposal if file else pins.proposal}))
    own = [item for item in found if item.proposal_id == proposal_id_of(probe.settings.name, pins.proposal)]
    return own, [item for item in found if file and item.obs_id == file.obs_id]


def _check_sample(
    probe: Probe, sample: Sequence[Observation], weights: Mapping[str, float], listed: Sequence[CaomRow]
) -> Iterator[Finding]:
    """Choose files of the sampled observations, and estimate files and fetched bytes per observation."""
    measured = probe.measured
    chosen, rejections = select_products(sample, listed, probe.settings, probe.mission, {})
    sizes = [product.size_bytes for product in chosen if product.size_bytes is not None]
    measured.file_bytes = sum(sizes) / len(sizes) if sizes else None
    read = (READERS[probe.settings.products](row, probe.mission.products) for row in listed)
    fetched = {one.uri: one.fetched_bytes for one in read if one is not None}
    # A proposal with many observations is drawn with a higher probability. The number of files per observation is
    # therefore computed for each drawn proposal, and then averaged over these proposals (Hansen-Hurwitz estimator).
    num_of = Counter(item.proposal_id for item in sample)
    total, name = sum(weights.values()), probe.settings.name
    share_of = {proposal_id_of(name, number): weight / total for number, weight in weights.items()}
    shares = [(share_of.get(one.proposal_id, 0.0) / num_of[one.proposal_id], fetched[one.uri]) for one in chosen]
    measured.files_each = sum(share for share, _ in shares) or None
    measured.bytes_each = sum(share * size for share, size in shares)
    found = f"{len(chosen)} files for {len(sample)} observations, from {len(listed)} products"
    yield compare("product list", "files of the profile", found, bool(chosen), Level.STOPS if sample else Level.DIFFERS)
    large = [item.detail for item in rejections if item.reason == "too_large"]
    yield compare("sizes of files", "as archive.max_product_mb allows", shortened(large, 1), not large)
    unseen = _values(listed, "productType") - PRODUCT_TYPES
    yield compare("unseen product types", "none", shortened(unseen), not unseen)


def _find_files(probe: Probe, sample: Sequence[Observation], listed: Sequence[CaomRow]) -> None:
    """Choose files for the checks of downloads: a preview, and the smallest file of each `ProductRanking.origin`."""
    ranking, by_number = probe.mission.products, {item.obsid: item for item in sample}
    read = (candidate_from_row(row, ranking) for row in listed)
    found = [one for one in read if one and one.size_bytes and one.obsid in by_number]
    for one in sorted(found, key=lambda one: (one.size_bytes, one.uri)):
        owner = by_number[one.obsid]
        file = PinnedFile(
            proposal=owner.proposal_id.partition(":")[2],
            obs_id=owner.obs_id,
            uri=one.uri,
            size_bytes=one.size_bytes or 0,
            preview_uri=next((row["dataURI"] for row in listed if preview_from_row(row, ranking)), ""),
        )
        probe.files.setdefault(ranking.origin(one.file_name), file)


def _check_proposal(probe: Probe, own: Sequence[Observation], listed: Sequence[CaomRow]) -> Iterator[Finding]:
    """Choose files of the proposal in `pins` with default settings; compare the file names with the names in `pins`."""
    pins, file = probe.pins, probe.pins.file
    default = ArchiveSettings.model_validate({"name": probe.settings.name, "collections": probe.settings.collections})
    names = {product.file_name for product in select_products(own, listed, default, probe.mission, {})[0]}
    lost, more = pins.file_names - names, names - pins.file_names
    found = f"{len(names & pins.file_names)} of them; missing: {shortened(lost, 2)}; others: {shortened(more, 2)}"
    yield compare(f"proposal {pins.proposal}", f"{len(pins.file_names)} known files", found, not (lost or more))
    if file:
        sizes = {row.get("size") for row in listed if row.get("dataURI") == file.uri}
        listed_bytes = next((size for size in sizes if isinstance(size, int)), file.size_bytes)
        probe.files["file"] = replace(file, size_bytes=listed_bytes)
        yield compare("listed size", f"{file.size_bytes:,} bytes", shortened(sizes), sizes == {file.size_bytes})
