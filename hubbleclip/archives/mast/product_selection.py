"""Which files of a proposal are taken: one for each visit, camera, filter and target, by a written order.

Pure functions: from all known observations of whole proposals and the archive's product rows to products, and for each
observation that gets none the reason.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hubbleclip.archives.base import NO_PROPOSAL, proposal_id_of, reject
from hubbleclip.archives.mast.caom_rows import ADVANCED, plain_row
from hubbleclip.config.settings import ArchiveSettings
from hubbleclip.core.records import Observation, Product, Rejection

Row = Mapping[str, Any]
Key = tuple[str, ...]
Refusal = tuple[str, str]

ORDER: dict[tuple[str, str], str] = {
    ("advanced", "drc"): "advanced product of the visit through one filter, corrected for charge transfer",
    ("advanced", "drz"): "advanced product of the visit through one filter",
    ("calibrated", "drc"): "combined image, corrected for charge transfer",
    ("calibrated", "drz"): "combined image",
    ("calibrated", "crc"): "exposures with cosmic rays rejected, corrected for charge transfer",
    ("calibrated", "crj"): "exposures with cosmic rays rejected",
    ("exposure", "drc"): "one drizzled exposure, corrected for charge transfer",
    ("exposure", "drz"): "one drizzled exposure",
    ("calibrated", "flc"): "one exposure, corrected for charge transfer",
    ("exposure", "flc"): "one exposure, aligned, corrected for charge transfer",
    ("calibrated", "flt"): "one exposure",
    ("exposure", "flt"): "one exposure, aligned",
    ("calibrated", "mos"): "mosaic of exposures (NICMOS)",
    ("calibrated", "cal"): "one exposure (NICMOS)",
    ("calibrated", "c0m"): "one exposure (WFPC2)",
    ("calibrated", "c0f"): "one exposure (WFPC2), older format",
    ("total", "drc"): "all filters of the visit together, corrected for charge transfer",
    ("total", "drz"): "all filters of the visit together",
    ("calibrated", "jpg"): "image of no stated kind",
}
"""Best first, by what a file was made of and its kind. What counts is the signal: combined before single exposures."""
RANKS = {key: rank for rank, key in enumerate(ORDER)}
PREVIEW = "preview"
NO_PREVIEW = re.compile(r"colou?r|thumb", re.IGNORECASE)
"""Names of previews in colour, and of those too small to use."""
SUFFIX = re.compile(r"_([a-z0-9]{3})\.(?:fits?|jpe?g)(?:\.gz)?$")
BYTES_PER_MB = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One file that may be chosen. `owner` names the exposure or association that it was made of."""

    obsid: int | None
    owner: str
    uri: str
    file_name: str
    made_of: str
    kind: str
    size_bytes: int | None
    archive_version: str

    @property
    def rank(self) -> int:
        """Place in ORDER."""
        return RANKS[self.made_of, self.kind]


@dataclass(slots=True)
class Group:
    """The observations of one visit, camera, filter and target, and what stands for them: a file or why none does."""

    key: Key
    observations: list[Observation]
    candidates: list[tuple[Candidate, Observation]]
    product: Product | None = None
    refusal: Refusal = ("no_science_image", "no usable image is listed")

    @property
    def proposal_id(self) -> str:
        """The proposal of all its observations."""
        return self.key[0]

    @property
    def draw(self) -> str:
        """Place in the draw of the proposal's files, which no other group and no later observation changes."""
        return hashlib.sha256("\n".join(self.key).encode("utf-8", "replace")).hexdigest()


def choose(
    observations: Sequence[Observation],
    rows: Iterable[Row],
    settings: ArchiveSettings,
    taken: Mapping[str, frozenset[str]],
) -> tuple[list[Product], list[Rejection]]:
    """The files to take of these observations' products, and the reason for each observation that gives none."""
    refusals = {item.obs_id: refusal_of(item) for item in observations}
    usable = [item for item in observations if refusals[item.obs_id] is None]
    groups = grouped(usable, candidates_of(rows, settings))
    for group in groups:
        _choose_file(group, settings)
    _leave_out_totals(groups)
    for proposal in _by(groups, lambda group: group.proposal_id).values():
        _draw(proposal, taken.get(proposal[0].proposal_id, frozenset()), settings.max_products_per_proposal)
    groups.sort(key=lambda group: (group.proposal_id, group.draw))
    reasons = {name: refusal for name, refusal in refusals.items() if refusal is not None}
    reasons |= {item.obs_id: group.refusal for group in groups for item in group.observations}
    products = [group.product for group in groups if group.product is not None]
    for product in products:
        reasons.pop(product.obs_id, None)
    digest = settings.digest()
    rejections = [
        reject("observation", name, "products", reason=reason, detail=detail, settings_digest=digest)
        for name, (reason, detail) in reasons.items()
    ]
    return products, rejections


def refusal_of(observation: Observation) -> Refusal | None:
    """Why an observation is left out before its products are asked for: reason and detail."""
    if observation.proposal_id == proposal_id_of(observation.archive, NO_PROPOSAL):
        return "no_proposal", "the observation names no proposal, so it has no caption"
    if observation.visit is None and observation.obs_id.lower().startswith("hst_"):
        return "reprocessed", "a mosaic over visits repeats exposures that stand under their own names"
    if observation.obsid is None:
        return "no_obsid", "the archive gave no number to ask for its products by"
    return None


def candidates_of(rows: Iterable[Row], settings: ArchiveSettings) -> Iterator[Candidate]:
    """The rows that hold an image of the kind that the settings want."""
    read = preview_from_row if settings.products == PREVIEW else candidate_from_row
    found = (read(row) for row in rows)
    return (candidate for candidate in found if candidate is not None)


def candidate_from_row(row: Row) -> Candidate | None:
    """A calibrated science image; None for raw, jitter, weights, tables, previews."""
    if str(row.get("productType")).upper() != "SCIENCE":
        return None
    plain = plain_row(row)
    name = _file_name(plain)
    kind = str(plain.get("productSubGroupDescription") or _suffix(name)).lower()
    return None if kind == "jpg" else _candidate(plain, name, kind)


def preview_from_row(row: Row) -> Candidate | None:
    """A grey JPEG of an image; None for colour, thumbnails and everything else."""
    if str(row.get("productType")).upper() != "PREVIEW":
        return None
    plain = plain_row(row)
    name = _file_name(plain)
    if not name.lower().endswith((".jpg", ".jpeg")) or NO_PREVIEW.search(f"{name} {plain.get('description')}"):
        return None
    kind = _suffix(name)
    return _candidate(plain, name, kind if (_made_of(name), kind) in RANKS else "jpg")


def _candidate(plain: Row, name: str, kind: str) -> Candidate | None:
    """`parent_obsid` is 0 in some answers and absent in others; `obsID` then says whose product it is."""
    made_of = "calibrated" if kind == "jpg" else _made_of(name)
    if "dataURI" not in plain or (made_of, kind) not in RANKS:
        return None
    size = _number(plain.get("size")) or None
    return Candidate(
        obsid=_number(plain.get("parent_obsid")) or _number(plain.get("obsID")),
        owner=str(plain.get("obs_id", "")).casefold(),
        uri=str(plain["dataURI"]),
        file_name=name,
        made_of=made_of,
        kind=kind,
        size_bytes=size,
        archive_version=f"{plain.get('prvversion', '-')}, {'-' if size is None else size} bytes",
    )


def _file_name(plain: Row) -> str:
    return str(plain.get("productFilename") or str(plain.get("dataURI", "")).rpartition("/")[2])


def _suffix(file_name: str) -> str:
    """`drz`, `flt`... at the end of a file's name."""
    match = SUFFIX.search(file_name.lower())
    return match[1] if match else ""


def _number(value: Any) -> int | None:
    text = str(value).strip()
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _made_of(file_name: str) -> str:
    """What a file was made of, as its name tells: `hst_` begins those of advanced products."""
    match = ADVANCED.fullmatch(file_name.lower().rpartition("_")[0])
    if match is None:
        return "calibrated"
    if is_total(file_name):
        return "total"
    return "exposure" if match["exposure"] else "advanced"


def is_total(name: str) -> bool:
    """Whether a name of an advanced product, or of its file, stands for all filters of a visit together."""
    return name.lower().startswith("hst_") and bool({"total", "detection"} & set(name.lower().split("_")))


def grouped(observations: Sequence[Observation], candidates: Iterable[Candidate]) -> list[Group]:
    """Observations of one visit, camera, filter and target together, each group's files best first, no file twice.

    A file goes to the observation of its own name, else to the one that it was listed for. Files of an observation's
    own name come before those of its members, then counts ORDER, then the exposure.
    """
    by_name = {item.obs_id.casefold(): item for item in observations}
    by_number = {item.obsid: item for item in observations}
    visits = {(camera_of(item), visit[-2:]): visit for item in observations if (visit := item.visit) and len(visit) > 2}
    members = _by(observations, lambda item: group_key(item, visits))
    groups = {key: Group(key, items, []) for key, items in members.items()}
    files: dict[str, tuple[Candidate, Observation]] = {}
    for candidate in candidates:
        owner = by_name.get(candidate.owner) or by_number.get(candidate.obsid)
        if owner is not None:
            files.setdefault(candidate.uri, (candidate, owner))
    for candidate, owner in files.values():
        groups[group_key(owner, visits)].candidates.append((candidate, owner))
    for group in groups.values():
        group.candidates.sort(key=_goodness)
    return list(groups.values())


def camera_of(observation: Observation) -> tuple[str, str]:
    """A proposal's use of an instrument, of whatever detector."""
    return observation.proposal_id, observation.instrument.upper().partition("/")[0]


def group_key(observation: Observation, visits: Mapping[tuple[tuple[str, str], str], str]) -> Key:
    """What one file stands for. `visits` has the full names of a camera's visits by the two letters of Legacy names."""
    visit = observation.visit or observation.obs_id
    names = re.split(r"[;/,]", (observation.filters or "").upper())
    filters = "+".join(sorted(name for name in names if name and not name.startswith("CLEAR")))
    return (
        observation.proposal_id,
        visits.get((camera_of(observation), visit), visit),
        observation.instrument.upper(),
        "TOTAL" if is_total(observation.obs_id) else filters,
        (observation.target_name or "").upper(),
    )


def _goodness(found: tuple[Candidate, Observation]) -> tuple[bool, int, float, str]:
    candidate, owner = found
    is_member = candidate.owner != owner.obs_id.casefold()
    return is_member, candidate.rank, -(owner.exposure_s or 0.0), candidate.uri


def _choose_file(group: Group, settings: ArchiveSettings) -> None:
    """Set the group's product, the best of its files that is not too large, or the reason why it has none."""
    most_bytes = settings.max_product_mb * BYTES_PER_MB
    fitting = [item for item in group.candidates if (item[0].size_bytes or 0) <= most_bytes]
    if not fitting:
        if group.candidates:
            best = group.candidates[0][0]
            words = f"{best.file_name} has {best.size_bytes} bytes; see archive.max_product_mb"
            group.refusal = "too_large", words
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
        choice=f"{ORDER[best.made_of, best.kind]}: best of {num} ({kinds})"
        + (f", {too_large} of them larger than archive.max_product_mb" if too_large else ""),
        archive_version=best.archive_version,
    )
    group.refusal = "covered", f"{best.file_name} stands for its visit, filter and target"


def _leave_out_totals(groups: Iterable[Group]) -> None:
    """An image of all filters together is taken only where its visit and camera have no other."""
    for visit in _by(groups, lambda group: group.key[:3]).values():
        others = [group.product.file_name for group in visit if group.product and group.key[3] != "TOTAL"]
        for group in visit if others else ():
            if group.key[3] == "TOTAL":
                group.product = None
                group.refusal = "covered", f"{min(others)} and others stand for the filters of its visit"


def _draw(groups: Sequence[Group], taken: frozenset[str], most: int) -> None:
    """Leave the first `most` groups of a proposal their files: those taken already, then by the draw."""
    names = {item.obs_id for group in groups for item in group.observations}

    def place(group: Group) -> tuple[bool, str]:
        return not any(item.obs_id in taken for item in group.observations), group.draw

    chosen = sorted((group for group in groups if group.product), key=place)
    for group in chosen[max(most - len(taken - names), 0) :]:
        group.product = None
        group.refusal = "over_limit", f"the proposal has its {most} files already"


def _by(items: Iterable[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return found
