"""From MAST's rows (CAOM columns) to our records, and the order by which one file of an observation is chosen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hubbleclip.archives.base import proposal_id_of
from hubbleclip.records import Observation
from hubbleclip.settings import ArchiveSettings

Row = Mapping[str, Any]

KIND_ORDER = ("drc", "drz", "crc", "crj", "flc", "flt", "mos", "cal", "c0m", "c0f")
"""Best first: combined and corrected for charge transfer, combined, cosmic rays rejected, single exposures, WFPC2's."""
MOVING_CLASS = re.compile(
    r"SOLAR SYSTEM|((MINOR|DWARF) )?PLANET|COMET|ASTEROID|SATELLITE|MOON|KUIPER BELT.*|TRANS-?NEPTUNIAN.*|TNO|KBO"
)
REPROCESSED = "hst_"
"""Names of the Hubble Advanced Products begin so: the same exposures once more, so they would only repeat."""
NUMBERS_A_QUERY = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One product row that may be chosen. `owner` names the exposure or association it was made of."""

    obsid: int | None
    owner: str
    uri: str
    file_name: str
    kind: str
    size_bytes: int | None


def criteria_of(settings: ArchiveSettings, since_mjd: float, until_mjd: float) -> list[dict[str, Any]]:
    """The queries that together ask for everything wanted.

    MAST takes one wildcard a filter (astroquery drops the others), so each wildcard instrument is a query of its own.
    """
    base = {
        "obs_collection": "HST",
        "dataproduct_type": "image",
        "intentType": "science",
        "calib_level": list(settings.calib_levels),
        "t_obs_release": [since_mjd, until_mjd],
    }
    wild = [[name] for name in settings.instruments if "*" in name or "%" in name]
    exact = [name for name in settings.instruments if [name] not in wild]
    groups = [*wild, *([exact] if exact else [])] or [[]]
    numbers = settings.proposal_numbers
    chunks = [list(numbers[i : i + NUMBERS_A_QUERY]) for i in range(0, len(numbers), NUMBERS_A_QUERY)] or [[]]
    return [
        base | ({"instrument_name": list(group)} if group else {}) | ({"proposal_id": chunk} if chunk else {})
        for group in groups
        for chunk in chunks
    ]


def observation_from_row(row: Row, archive: str, fetched_at: datetime) -> Observation | None:
    """One observation; None when the row has no name. `proposal_id` is MAST's string under the archive's name."""
    if not row.get("obs_id"):
        return None
    target_class = row.get("target_classification")
    footprint = row.get("s_region")
    return Observation(
        obs_id=str(row["obs_id"]),
        archive=archive,
        obsid=_int(row.get("obsid")),
        proposal_id=proposal_id_of(archive, row.get("proposal_id")),
        instrument=row.get("instrument_name") or "UNKNOWN",
        filters=row.get("filters"),
        target_name=row.get("target_name"),
        target_class=target_class,
        is_moving=bool(row.get("mtFlag")) or (not footprint and is_moving_class(target_class)),
        ra_deg=_in_range(row.get("s_ra"), 0, 360),
        dec_deg=_in_range(row.get("s_dec"), -90, 90),
        footprint=" ".join(footprint.split()) if footprint else None,
        start_mjd=_float(row.get("t_min")),
        exposure_s=_float(row.get("t_exptime")),
        calib_level=_int(row.get("calib_level")),
        released_mjd=_float(row.get("t_obs_release")),
        title=row.get("obs_title"),
        fetched_at=fetched_at,
    )


def is_moving_class(target_class: str | None) -> bool:
    """True when MAST's classification, a list between semicolons, names a body of the solar system."""
    return any(MOVING_CLASS.fullmatch(part.strip().upper()) for part in (target_class or "").split(";"))


def candidate_from_row(row: Row) -> Candidate | None:
    """A product row that holds a calibrated science image; None for raw, jitter, weights, tables, previews.

    `parent_obsid` is 0 in some answers and absent in others; `obsID` then says whose product it is.
    """
    uri, name = row.get("dataURI"), row.get("productFilename") or ""
    kind = kind_of(name, row.get("productSubGroupDescription"))
    if not uri or kind not in KIND_ORDER or str(row.get("productType")).upper() != "SCIENCE":
        return None
    return Candidate(
        obsid=_int(row.get("parent_obsid")) or _int(row.get("obsID")),
        owner=str(row.get("obs_id") or "").casefold(),
        uri=str(uri),
        file_name=name or str(uri).rpartition("/")[2],
        kind=kind,
        size_bytes=_int(row.get("size")),
    )


def kind_of(file_name: str, sub_group: str | None) -> str:
    """`drz`, `flt`...: MAST's own word where it has one, else the end of the file's name."""
    match = re.search(r"_([a-z0-9]{3})\.(?:fits|fit)(?:\.gz)?$", file_name.lower())
    return (sub_group or (match[1] if match else "")).lower()


def group_candidates(
    observations: Sequence[Observation], candidates: Iterable[Candidate]
) -> dict[str, list[Candidate]]:  # fmt: skip
    """Candidates by obs_id, each list best first and without repeats.

    A file of the observation's own name comes before files of its member exposures, whatever their kinds.
    """
    names = {item.obsid: item.obs_id for item in observations}
    by_owner = {item.obs_id.casefold(): item.obs_id for item in observations}
    groups: dict[str, dict[str, Candidate]] = {item.obs_id: {} for item in observations}
    for candidate in candidates:
        obs_id = names.get(candidate.obsid) or by_owner.get(candidate.owner)
        if obs_id is not None:
            groups[obs_id].setdefault(candidate.uri, candidate)
    return {
        obs_id: sorted(group.values(), key=lambda c: (c.owner != obs_id.casefold(), KIND_ORDER.index(c.kind), c.uri))
        for obs_id, group in groups.items()
    }


def choice_of(candidates: Sequence[Candidate]) -> str:
    """The reason that is stored with a choice: the kind, and among which it was the best."""
    kinds = sorted({item.kind for item in candidates}, key=KIND_ORDER.index)
    return f"{candidates[0].kind} among {', '.join(kinds)}"


def unique_rows(rows: Iterable[Row], seen: set[str]) -> Iterator[Row]:
    """Rows whose obs_id is not in `seen` yet; adds it."""
    for row in rows:
        key = str(row.get("obs_id"))
        if key not in seen:
            seen.add(key)
            yield row


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _int(value: Any) -> int | None:
    """MAST writes numbers as strings now and then; what is no number is None."""
    text = str(value).strip()
    return int(text) if re.fullmatch(r"-?\d+", text) else None


def _in_range(value: Any, low: float, high: float) -> float | None:
    number = _float(value)
    return number if number is not None and low <= number <= high else None
