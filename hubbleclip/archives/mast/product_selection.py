"""Which files of a proposal are taken: one per visit, camera, filter and target, by the mission's ranking.

Pure functions: from all known observations of whole proposals and the archive's product rows to products, and to a
reason for each observation that gets none.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hubbleclip.archives.base import NO_PROPOSAL, proposal_id_of, reject
from hubbleclip.archives.mast.caom_rows import plain_row
from hubbleclip.config.settings import ArchiveSettings
from hubbleclip.core.records import Observation, Product, Rejection
from hubbleclip.missions.base import ProductRanking

Row = Mapping[str, Any]
Key = tuple[str, ...]
Reason = tuple[str, str]
"""Reason and detail of a rejection."""

PREVIEW = "preview"
NO_PREVIEW = re.compile(r"colou?r|thumb", re.IGNORECASE)
"""Names of previews in colour, and of those too small to use."""
SUFFIX = re.compile(r"_([a-z0-9]{3})\.(?:fits?|jpe?g)(?:\.gz)?$")
BYTES_PER_MB = 1_000_000
ALL_FILTERS = "TOTAL"
"""Filter part of the key of an image of all filters together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One file that may be chosen. `owner` names the exposure or association that it was made from.

    `rank` is its place in the mission's ranking, 0 the best, and `why` the ranking's words.
    """

    obsid: int | None
    owner: str
    uri: str
    file_name: str
    kind: str
    rank: int
    why: str
    size_bytes: int | None
    archive_version: str


@dataclass(slots=True)
class Group:
    """The observations of one visit, camera, filter and target, and the file chosen for them, or why there is none."""

    key: Key
    observations: list[Observation]
    candidates: list[tuple[Candidate, Observation]]
    product: Product | None = None
    rejection: Reason = ("no_science_image", "no usable image is listed")

    @property
    def proposal_id(self) -> str:
        """The proposal of all its observations."""
        return self.key[0]

    @property
    def draw(self) -> str:
        """Sort key of the draw among the proposal's groups; no other group and no later observation changes it."""
        return hashlib.sha256("\n".join(self.key).encode("utf-8", "replace")).hexdigest()


def select_products(
    observations: Sequence[Observation],
    rows: Iterable[Row],
    settings: ArchiveSettings,
    ranking: ProductRanking,
    taken: Mapping[str, frozenset[str]],
) -> tuple[list[Product], list[Rejection]]:
    """Choose the files to fetch.

    Parameters
    ----------
    observations
        All known observations of whole proposals.
    rows
        MAST's product rows of these observations.
    settings
        Kind of file (`products`) and limits.
    ranking
        The mission's names and preferences.
    taken
        By proposal id: the observations that have a file already; they keep their place under
        `max_products_per_proposal`.

    Returns
    -------
    tuple of lists
        Products, and a rejection for each observation without one.

    """
    rejected = {item.obs_id: rejection_reason(item, ranking) for item in observations}
    usable = [item for item in observations if rejected[item.obs_id] is None]
    groups = group_files(usable, candidates_of(rows, settings, ranking), ranking)
    for group in groups:
        _choose_file(group, settings)
    _reject_totals(groups)
    for proposal in _by(groups, lambda group: group.proposal_id).values():
        _draw(proposal, taken.get(proposal[0].proposal_id, frozenset()), settings.max_products_per_proposal)
    groups.sort(key=lambda group: (group.proposal_id, group.draw))
    reasons = {name: reason for name, reason in rejected.items() if reason is not None}
    reasons |= {item.obs_id: group.rejection for group in groups for item in group.observations}
    products = [group.product for group in groups if group.product is not None]
    for product in products:
        reasons.pop(product.obs_id, None)
    digest = settings.digest()
    rejections = [
        reject("observation", name, "products", reason=reason, detail=detail, settings_digest=digest)
        for name, (reason, detail) in reasons.items()
    ]
    return products, rejections


def rejection_reason(observation: Observation, ranking: ProductRanking) -> Reason | None:
    """Say why an observation is rejected before its products are requested.

    Parameters
    ----------
    observation
        As the archive listed it.
    ranking
        The mission's names.

    Returns
    -------
    tuple of str, or None
        Reason and detail; None for a usable observation.

    """
    if observation.proposal_id == proposal_id_of(observation.archive, NO_PROPOSAL):
        return "no_proposal", "the observation names no proposal, so it has no caption"
    if observation.visit is None and ranking.mosaic.fullmatch(observation.obs_id.lower()):
        return "reprocessed", "a mosaic over visits repeats exposures that are listed under their own names"
    if observation.obsid is None:
        return "no_obsid", "the archive gave no number by which to request its products"
    return None


def candidates_of(rows: Iterable[Row], settings: ArchiveSettings, ranking: ProductRanking) -> Iterator[Candidate]:
    """Find the rows that hold an image of the wanted kind.

    Parameters
    ----------
    rows
        MAST's product rows.
    settings
        Its field `products` is the kind.
    ranking
        The mission's names and preferences.

    Yields
    ------
    Candidate
        In the order of the rows.

    """
    read = preview_from_row if settings.products == PREVIEW else candidate_from_row
    candidates = (read(row, ranking) for row in rows)
    return (candidate for candidate in candidates if candidate is not None)


def candidate_from_row(row: Row, ranking: ProductRanking) -> Candidate | None:
    """Read a calibrated science image.

    Parameters
    ----------
    row
        MAST's product row.
    ranking
        The mission's names and preferences.

    Returns
    -------
    Candidate or None
        None for raw files, weights, tables, previews and whatever else the ranking does not list.

    """
    if str(row.get("productType")).upper() != "SCIENCE":
        return None
    plain = plain_row(row)
    name = _file_name(plain)
    kind = str(plain.get("productSubGroupDescription") or _suffix(name)).lower()
    return None if kind == "jpg" else _candidate(plain, name, ranking.origin(name), kind, ranking)


def preview_from_row(row: Row, ranking: ProductRanking) -> Candidate | None:
    """Read a grey JPEG of an image.

    Parameters
    ----------
    row
        MAST's product row.
    ranking
        The mission's names and preferences.

    Returns
    -------
    Candidate or None
        None for colour, thumbnails and everything else.

    """
    if str(row.get("productType")).upper() != "PREVIEW":
        return None
    plain = plain_row(row)
    name = _file_name(plain)
    if not name.lower().endswith((".jpg", ".jpeg")) or NO_PREVIEW.search(f"{name} {plain.get('description')}"):
        return None
    origin, kind = ranking.origin(name), _suffix(name)
    if (origin, kind) not in ranking.order:
        origin, kind = ranking.other_origin, "jpg"
    return _candidate(plain, name, origin, kind, ranking)


def _candidate(plain: Row, name: str, origin: str, kind: str, ranking: ProductRanking) -> Candidate | None:
    """A candidate, if the ranking lists its origin and kind."""
    if "dataURI" not in plain or (origin, kind) not in ranking.order:
        return None
    size = _number(plain.get("size")) or None
    return Candidate(
        # `parent_obsid` is 0 in some responses and absent in others; `obsID` then says whose product it is.
        obsid=_number(plain.get("parent_obsid")) or _number(plain.get("obsID")),
        owner=str(plain.get("obs_id", "")).casefold(),
        uri=str(plain["dataURI"]),
        file_name=name,
        kind=kind,
        rank=list(ranking.order).index((origin, kind)),
        why=ranking.order[origin, kind],
        size_bytes=size,
        archive_version=f"{plain.get('prvversion', '-')}, {'-' if size is None else size} bytes",
    )


def _file_name(plain: Row) -> str:
    """The file's name, from its URI if there is no column for it."""
    return str(plain.get("productFilename") or str(plain.get("dataURI", "")).rpartition("/")[2])


def _suffix(file_name: str) -> str:
    """The kind at the end of a file's name: `drz`, `flt`, `i2d`; '' without one."""
    match = SUFFIX.search(file_name.lower())
    return match[1] if match else ""


def _number(value: Any) -> int | None:
    """A whole number of at most 18 digits; None for all else."""
    text = str(value).strip()
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def group_files(
    observations: Sequence[Observation], candidates: Iterable[Candidate], ranking: ProductRanking
) -> list[Group]:
    """Group observations and their files by visit, camera, filter and target.

    Parameters
    ----------
    observations
        Usable ones.
    candidates
        Files; each goes to the observation of its own name, else to the one that it was listed for.
    ranking
        The mission's names.

    Returns
    -------
    list of Group
        The files of each best first, no file twice. Files of an observation's own name come before those of its
        members; then the rank counts, then the exposure time.

    """
    by_name = {item.obs_id.casefold(): item for item in observations}
    by_number = {item.obsid: item for item in observations}
    # Legacy names have two letters of the visit only: the full name comes from another observation of the camera.
    visits = {
        (instrument_use(item), visit[-2:]): visit for item in observations if (visit := item.visit) and len(visit) > 2
    }
    members = _by(observations, lambda item: group_key(item, visits, ranking))
    groups = {key: Group(key, items, []) for key, items in members.items()}
    files: dict[str, tuple[Candidate, Observation]] = {}
    for candidate in candidates:
        owner = by_name.get(candidate.owner) or by_number.get(candidate.obsid)
        if owner is not None:
            files.setdefault(candidate.uri, (candidate, owner))
    for candidate, owner in files.values():
        groups[group_key(owner, visits, ranking)].candidates.append((candidate, owner))
    for group in groups.values():
        group.candidates.sort(key=_preference)
    return list(groups.values())


def instrument_use(observation: Observation) -> tuple[str, str]:
    """Name a proposal's use of an instrument, of whatever detector.

    Parameters
    ----------
    observation
        Of the proposal.

    Returns
    -------
    tuple of str
        Proposal id and instrument.

    """
    return observation.proposal_id, observation.instrument.upper().partition("/")[0]


def group_key(
    observation: Observation, visits: Mapping[tuple[tuple[str, str], str], str], ranking: ProductRanking
) -> Key:
    """Build the key of a group: one file is chosen per key.

    Parameters
    ----------
    observation
        A member of the group.
    visits
        Full names of an instrument's visits by the two letters of Legacy names.
    ranking
        The mission's names.

    Returns
    -------
    tuple of str
        Proposal, visit, instrument, filters and target.

    """
    visit = observation.visit or observation.obs_id
    names = re.split(r"[;/,]", (observation.filters or "").upper())
    filters = "+".join(sorted(name for name in names if name and not name.startswith("CLEAR")))
    return (
        observation.proposal_id,
        visits.get((instrument_use(observation), visit), visit),
        observation.instrument.upper(),
        ALL_FILTERS if _is_total(observation.obs_id, ranking) else filters,
        (observation.target_name or "").upper(),
    )


def _is_total(obs_id: str, ranking: ProductRanking) -> bool:
    """Whether an observation is of all filters of a visit together."""
    parsed = ranking.parse(obs_id)
    return parsed is not None and parsed[0] == ranking.all_filters_origin


def _preference(pair: tuple[Candidate, Observation]) -> tuple[bool, int, float, str]:
    """Sort key of a group's files, the best first."""
    candidate, owner = pair
    is_member = candidate.owner != owner.obs_id.casefold()
    return is_member, candidate.rank, -(owner.exposure_s or 0.0), candidate.uri


def _choose_file(group: Group, settings: ArchiveSettings) -> None:
    """Set the group's product, the best of its files that is not too large, or the reason for none."""
    max_bytes = settings.max_product_mb * BYTES_PER_MB
    fitting = [item for item in group.candidates if (item[0].size_bytes or 0) <= max_bytes]
    if not fitting:
        if group.candidates:
            best = group.candidates[0][0]
            detail = f"{best.file_name} has {best.size_bytes} bytes; see archive.max_product_mb"
            group.rejection = "too_large", detail
        return
    best, owner = fitting[0]
    num, too_large = len(group.candidates), len([item for item in group.candidates if item not in fitting])
    kinds = ", ".join(dict.fromkeys(item.kind for item, _ in group.candidates))
    group.product = Product(
        uri=best.uri,
        obs_id=owner.obs_id,
        proposal_id=owner.proposal_id,
        file_name=best.file_name,
        kind=PREVIEW if settings.products == PREVIEW else best.kind,
        size_bytes=best.size_bytes,
        choice=f"{best.why}: best of {num} ({kinds})"
        + (f", {too_large} of them larger than archive.max_product_mb" if too_large else ""),
        archive_version=best.archive_version,
    )
    group.rejection = "covered", f"{best.file_name} is the file of its visit, filter and target"


def _reject_totals(groups: Iterable[Group]) -> None:
    """An image of all filters together is taken only where its visit and camera have no other."""
    for visit in _by(groups, lambda group: group.key[:3]).values():
        others = [group.product.file_name for group in visit if group.product and group.key[3] != ALL_FILTERS]
        for group in visit if others else ():
            if group.key[3] == ALL_FILTERS:
                group.product = None
                group.rejection = "covered", f"{min(others)} and others are the files of the filters of its visit"


def _draw(groups: Sequence[Group], taken: frozenset[str], limit: int) -> None:
    """Keep the files of the first `limit` groups of a proposal: those taken already, then by the draw."""
    names = {item.obs_id for group in groups for item in group.observations}

    def place(group: Group) -> tuple[bool, str]:
        return not any(item.obs_id in taken for item in group.observations), group.draw

    chosen = sorted((group for group in groups if group.product), key=place)
    for group in chosen[max(limit - len(taken - names), 0) :]:
        group.product = None
        group.rejection = "over_limit", f"the proposal has its {limit} files already"


def _by(items: Iterable[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    """Items by key, in order."""
    lists: dict[Any, list[Any]] = defaultdict(list)
    for item in items:
        lists[key(item)].append(item)
    return lists
