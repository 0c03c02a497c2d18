"""Candidates: the files in MAST's product rows that may be chosen for a visit."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass

from hubbleclip.archives.base import proposal_id_of
from hubbleclip.archives.mast.caom_rows import CaomRow, plain_row, whole_number
from hubbleclip.archives.mast.client import TOKEN_VARIABLE
from hubbleclip.core.records import Observation
from hubbleclip.fits.sieve import is_sieved
from hubbleclip.missions.base import Mission, ProductRanking

COLOUR = re.compile(r"_?colou?r", re.IGNORECASE)
THUMBNAIL = re.compile(r"thumb", re.IGNORECASE)
"""Patterns in names and descriptions of previews: `COLOUR` for previews in colour, `THUMBNAIL` for thumbnails."""
SUFFIX = re.compile(r"_([a-z0-9]{3})\.(?:fits?|jpe?g)(?:\.gz)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A file that may be chosen.

    `owner` is the name of the exposure or association from which the file was made. `rank` is the file's position in
    the mission's product ranking, where 0 is the best, and `why` is the ranking's text that explains this position.
    `is_colour` is True for a preview in colour, `is_mosaic` for a combination of several visits.
    `fetched_bytes` is the size of the part that is fetched. `collection`, `proposal_number` and `filters` are empty if
    the row does not have them. `rights` says whether the file is public.
    """

    obsid: int | None
    owner: str
    uri: str
    file_name: str
    kind: str
    rank: int
    why: str
    size_bytes: int | None
    fetched_bytes: int
    archive_version: str
    is_colour: bool
    is_mosaic: bool
    collection: str
    proposal_number: str
    filters: str
    rights: str


def candidate_from_row(row: CaomRow, ranking: ProductRanking) -> Candidate | None:
    """Make a candidate from the row of a calibrated science image; None for files that the ranking does not list."""
    if str(row.get("productType")).upper() != "SCIENCE":
        return None
    plain = plain_row(row)
    name = _file_name(plain)
    kind = str(plain.get("productSubGroupDescription") or _suffix(name)).lower()
    return None if kind == "jpg" else _candidate(plain, name, ranking.origin(name), kind, ranking)


def preview_from_row(row: CaomRow, ranking: ProductRanking) -> Candidate | None:
    """Make a candidate from the row of a greyscale JPEG preview; None for all other files."""
    found = _preview_from_row(row, ranking)
    return None if found is None or found.is_colour else found


def total_preview_from_row(row: CaomRow, ranking: ProductRanking) -> Candidate | None:
    """Make a candidate from the row of a JPEG preview, grey or in colour, that combines all filters of a visit."""
    found = _preview_from_row(row, ranking)
    if found is None:
        return None
    stem, _, suffix = COLOUR.sub("", found.file_name).rpartition(".")[0].rpartition("_")
    return found if ranking.is_total(stem) or ranking.is_total(f"{stem}_{suffix}") else None


READERS = {"science": candidate_from_row, "preview": preview_from_row, "total_preview": total_preview_from_row}
"""For each value of `archive.products`, the function that makes a candidate from a product row."""


def _preview_from_row(row: CaomRow, ranking: ProductRanking) -> Candidate | None:
    """Make a candidate from a product row that describes a JPEG preview; None for other files and for thumbnails."""
    if str(row.get("productType")).upper() != "PREVIEW":
        return None
    plain = plain_row(row)
    name = _file_name(plain)
    if not name.lower().endswith((".jpg", ".jpeg")) or THUMBNAIL.search(f"{name} {plain.get('description')}"):
        return None
    kind = _suffix(name)
    if kind in ranking.no_previews:
        return None
    origin = ranking.origin(name)
    if (origin, kind) not in ranking.order:
        origin, kind = ranking.other_origin, "jpg"
    return _candidate(plain, name, origin, kind, ranking)


def refusal(candidate: Candidate, observation: Observation, mission: Mission, collections: Collection[str]) -> str:
    """Explain why a file in an observation's product list must not be chosen; "" if the file may be chosen."""
    # Hubble's product lists also contain files of the Hubble Legacy Archive, and mosaics that combine exposures of many
    # proposals.
    if candidate.collection and candidate.collection not in collections:
        return f"is in the collection {candidate.collection}, which archive.collections does not name"
    if candidate.is_mosaic:
        return "is a mosaic of several visits"
    if candidate.rights != "PUBLIC" and not os.environ.get(TOKEN_VARIABLE):
        return f"is not public ({candidate.rights}): set {TOKEN_VARIABLE} if your account has access"
    number = candidate.proposal_number
    if number and proposal_id_of(observation.archive, number) != observation.proposal_id:
        return f"belongs to the proposal {number}"
    element = disperser(candidate.filters, mission)
    return f"shows spectra, because {element} disperses light" if element else ""


def disperser(filters: str | None, mission: Mission) -> str:
    """Find the first grism or prism among the optical elements of an image; "" if there is none."""
    return next((name for name in filter_names(filters) if mission.header.disperser.match(name)), "")


def filter_names(filters: str | None) -> list[str]:
    """Split a value of MAST's column `filters` into names in upper case."""
    return [name for name in re.split(r"[;/,\s]+", (filters or "").upper()) if name]


def _candidate(plain: CaomRow, name: str, origin: str, kind: str, ranking: ProductRanking) -> Candidate | None:
    """Make a candidate from a normalised row; None if the ranking does not list the file's origin and kind."""
    if "dataURI" not in plain or (origin, kind) not in ranking.order:
        return None
    size = whole_number(plain.get("size")) or None
    stem = name.rpartition("_")[0]
    parsed = ranking.parse(stem)
    number = plain.get("proposal_id") or (parsed[1].groupdict().get("proposal") if parsed else None) or ""
    return Candidate(
        # In some responses, `parent_obsid` is 0 or missing, and `obsID` is the number of the product's observation.
        obsid=whole_number(plain.get("parent_obsid")) or whole_number(plain.get("obsID")),
        owner=str(plain.get("obs_id", "")).casefold(),
        uri=str(plain["dataURI"]),
        file_name=name,
        kind=kind,
        rank=list(ranking.order).index((origin, kind)),
        why=ranking.order[origin, kind],
        size_bytes=size,
        fetched_bytes=round((size or 0) * (ranking.read_shares.get(kind, 1.0) if is_sieved(name, size) else 1.0)),
        archive_version=f"{plain.get('prvversion', '-')}, {'-' if size is None else size} bytes",
        is_colour=COLOUR.search(f"{name} {plain.get('description')}") is not None,
        is_mosaic=ranking.is_mosaic(stem),
        collection=str(plain.get("obs_collection", "")).upper(),
        proposal_number=str(number),
        filters=str(plain.get("filters", "")),
        rights=str(plain.get("dataRights", "PUBLIC")).upper(),
    )


def _file_name(plain: CaomRow) -> str:
    """Return the file name in a row. If the row has no file name, the name is taken from the URI."""
    return str(plain.get("productFilename") or str(plain.get("dataURI", "")).rpartition("/")[2])


def _suffix(file_name: str) -> str:
    """Return the suffix that gives the kind of a file, such as `drz`, `flt` or `i2d`; "" if the name has none."""
    match = SUFFIX.search(file_name.lower())
    return match[1] if match else ""
