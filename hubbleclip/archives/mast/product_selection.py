"""Selection of the files to fetch: one per visit, camera, filter and target, by the mission's product ranking.

The functions are pure. Their input is all known observations of whole proposals, and the archive's product rows. Their
output is the selected products, and a rejection of each observation for which no product is selected.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from hubbleclip.archives.base import NO_PROPOSAL, proposal_id_of
from hubbleclip.archives.mast.caom_rows import CaomRow
from hubbleclip.archives.mast.criteria import collections_of
from hubbleclip.archives.mast.product_candidates import READERS, Candidate, disperser, filter_names, refusal
from hubbleclip.config.settings import ArchiveSettings
from hubbleclip.core.records import Observation, Product, Rejection, reject
from hubbleclip.core.vectors import unit_vectors
from hubbleclip.missions.base import Mission, ProductRanking

Key = tuple[str, ...]
Reason = tuple[str, str]
"""Short code and one-line explanation of a rejection."""

COLOUR = "COLOUR"
BYTES_PER_MB = 1_000_000
POINTING_ARCSEC = 60.0
"""Two observations of the same proposal count as one field if the angle between their centres is less than this. The
fields of Hubble's wide cameras are 130 to 200 arcseconds wide.
"""
FILTERS = 3
"""Position of the filters in a group's key."""
ALL_FILTERS = "TOTAL"
"""Value that is used as the filter in a group's key if an image combines all filters of its visit."""


@dataclass(slots=True)
class Group:
    """The observations of one visit, camera, filter and target, and the candidate files of these observations.

    `refused` has the listed files that must not be chosen, each with the reason. `product` is the chosen file, or None.
    All observations without a chosen file are rejected, usually for the reason `rejection`. If a file is better than
    the chosen file but too large, its observation is rejected for the reason in `too_large`.
    """

    key: Key
    observations: list[Observation]
    candidates: list[tuple[Candidate, Observation]] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    product: Product | None = None
    too_large: dict[str, Reason] = field(default_factory=dict)
    rejection: Reason = ("no_science_image", "no usable image is listed")

    @property
    def proposal_id(self) -> str:
        """Id of the proposal to which all observations of the group belong."""
        return self.key[0]

    @property
    def owner(self) -> Observation:
        """The observation of the chosen file, or the first observation if there is no chosen file."""
        name = self.product.obs_id if self.product else ""
        return next((item for item in self.observations if item.obs_id == name), self.observations[0])

    @property
    def draw(self) -> str:
        """Sort key that puts a proposal's groups in pseudo-random order.

        It depends only on the group's `key`, so that later observations and groups do not change it.
        """
        return hashlib.sha256("\n".join(self.key).encode("utf-8", "replace")).hexdigest()


def select_products(
    observations: Sequence[Observation],
    rows: Iterable[CaomRow],
    settings: ArchiveSettings,
    mission: Mission,
    taken: Mapping[str, frozenset[str]],
) -> tuple[list[Product], list[Rejection]]:
    """Choose the files to fetch; reject each observation without a file. For `taken` see `Archive.list_products`."""
    refused = {item.obs_id: rejection_reason(item, mission) for item in observations}
    usable = [item for item in observations if refused[item.obs_id] is None]
    read = READERS[settings.products]
    candidates = filter(None, (read(row, mission.products) for row in rows))
    groups = group_files(usable, candidates, mission, collections_of(settings, mission))
    for group in groups:
        _choose_file(group, settings)
    _reject_totals(groups)
    for proposal in _by(groups, lambda group: group.proposal_id).values():
        _draw(proposal, taken.get(proposal[0].proposal_id, frozenset()), settings.max_products_per_proposal)
    groups.sort(key=lambda group: (group.proposal_id, group.draw))
    reasons = {name: reason for name, reason in refused.items() if reason is not None}
    for group in groups:
        own = group.too_large if group.product else {}
        reasons |= dict.fromkeys((item.obs_id for item in group.observations), group.rejection) | own
    products = [group.product for group in groups if group.product is not None]
    for product in products:
        reasons.pop(product.obs_id, None)
    rejected = partial(reject, "observation", stage="products", settings_digest=settings.digest())
    return products, [rejected(name, reason=reason, detail=detail) for name, (reason, detail) in reasons.items()]


def rejection_reason(observation: Observation, mission: Mission) -> Reason | None:
    """Return the reason for which an observation is rejected before its products are requested, or None."""
    if observation.proposal_id == proposal_id_of(observation.archive, NO_PROPOSAL):
        return "no_proposal", "the observation names no proposal, so it has no caption"
    if mission.products.is_mosaic(observation.obs_id):
        return "reprocessed", "the observation is a mosaic of visits whose exposures are listed separately"
    if mission.other_modes.fullmatch(observation.instrument.upper()):
        return "not_an_image", f"the mode {observation.instrument} takes no images"
    if element := disperser(observation.filters, mission):
        return "not_an_image", f"seen through {element}, which disperses light"
    if observation.obsid is None:
        return "no_obsid", "the observation has no obsid, which is needed to request its products"
    return None


def group_files(
    observations: Sequence[Observation], candidates: Iterable[Candidate], mission: Mission, collections: Collection[str]
) -> list[Group]:
    """Group observations and their files by visit, camera, filter and target; the best file of a group is first.

    A file belongs to the observation with the name `owner`. If there is no such observation, the file belongs to the
    observation for which it was listed.
    """
    by_name = {item.obs_id.casefold(): item for item in observations}
    by_number = {item.obsid: item for item in observations}
    # Names of legacy observations contain only the last two characters of the visit's name. The full name is therefore
    # taken from another observation of the same proposal and instrument.
    visits = {
        (instrument_use(item), visit[-2:]): visit for item in observations if (visit := item.visit) and len(visit) > 2
    }
    members = _by(observations, lambda item: group_key(item, visits, mission.products))
    groups = {key: Group(key, items) for key, items in members.items()}
    files: dict[str, tuple[Candidate, Observation]] = {}
    for candidate in candidates:
        owner = by_name.get(candidate.owner) or by_number.get(candidate.obsid)
        if owner is not None:
            files.setdefault(candidate.uri, (candidate, owner))
    for candidate, owner in files.values():
        key = group_key(owner, visits, mission.products)
        if candidate.is_colour:  # a colour picture is chosen in addition to a grey picture
            key = (*key, COLOUR)
            groups.setdefault(key, Group(key, members[key[:-1]]))
        group = groups[key]
        if problem := refusal(candidate, owner, mission, collections):
            group.refused[candidate.file_name] = problem
        else:
            group.candidates.append((candidate, owner))
    for group in groups.values():
        group.candidates.sort(key=_preference)
    return list(groups.values())


def instrument_use(observation: Observation) -> tuple[str, str]:
    """Return an observation's proposal and instrument, without the instrument's detector."""
    return observation.proposal_id, observation.instrument.upper().partition("/")[0]


def group_key(
    observation: Observation, visits: Mapping[tuple[tuple[str, str], str], str], ranking: ProductRanking
) -> Key:
    """Build the key of the group to which an observation belongs. One file is chosen per key."""
    visit = observation.visit or observation.obs_id
    names = sorted(name for name in filter_names(observation.filters) if not name.startswith("CLEAR"))
    is_tuned = any(map(ranking.tunable.fullmatch, names))
    return (
        observation.proposal_id,
        visits.get((instrument_use(observation), visit), visit),
        ranking.camera(observation.instrument),
        ALL_FILTERS if ranking.is_total(observation.obs_id) else "+".join(names),
        (observation.target_name or "").upper(),
        # a ramp filter is tuned for each observation, so two observations through it may be of different bands
        *([observation.obs_id.casefold()] if is_tuned else []),
    )


def _preference(pair: tuple[Candidate, Observation]) -> tuple[bool, int, float, str]:
    """Return the sort key of a candidate and its observation. The best candidate of a group has the lowest key."""
    candidate, owner = pair
    is_member = candidate.owner != owner.obs_id.casefold()
    return is_member, candidate.rank, -(owner.exposure_s or 0.0), candidate.uri


def _choose_file(group: Group, settings: ArchiveSettings) -> None:
    """Choose the best candidate file that is not too large, and set the group's product and rejection."""
    max_bytes = settings.max_product_mb * BYTES_PER_MB
    fitting = [item for item in group.candidates if item[0].fetched_bytes <= max_bytes]
    num, too_large = len(group.candidates), len(group.candidates) - len(fitting)
    for candidate, owner in reversed(group.candidates[: group.candidates.index(fitting[0]) if fitting else num]):
        megabytes = candidate.fetched_bytes / BYTES_PER_MB
        detail = f"{candidate.file_name}: {megabytes:,.0f} MB would be fetched: raise archive.max_product_mb"
        group.too_large[owner.obs_id] = "too_large", detail
    if not fitting:
        group.rejection = _rejection_without_file(group)
        return
    best, owner = fitting[0]
    kinds = ", ".join(dict.fromkeys(item.kind for item, _ in group.candidates))
    group.product = Product(
        uri=best.uri,
        obs_id=owner.obs_id,
        proposal_id=owner.proposal_id,
        file_name=best.file_name,
        kind=best.kind if settings.products == "science" else "preview",
        size_bytes=best.size_bytes,
        choice=f"{best.why}: best of {num} ({kinds})"
        + (f", {too_large} of them larger than archive.max_product_mb" if too_large else ""),
        archive_version=best.archive_version,
    )
    group.rejection = "covered", f"{best.file_name} is the chosen file of the same visit, filter and target"


def _rejection_without_file(group: Group) -> Reason:
    """Return the reason for which no file of a group can be chosen; its text names the first refused file, if any."""
    refused = next((f"{name} {problem}" for name, problem in sorted(group.refused.items())), "")
    if group.candidates:
        reason, detail = group.too_large[group.candidates[0][1].obs_id]
        return reason, f"{detail}; {refused}" if refused else detail
    if not refused:
        return group.rejection
    others = f", and {len(group.refused) - 1} others are refused" if len(group.refused) > 1 else ""
    return "foreign_files", f"no listed file can be used: {refused}{others}"


def _reject_totals(groups: Iterable[Group]) -> None:
    """Reject images that combine all filters, if their visit and camera have a chosen image of a single filter."""
    for visit in _by(groups, lambda group: group.key[:FILTERS]).values():
        others = [group.product.file_name for group in visit if group.product and group.key[FILTERS] != ALL_FILTERS]
        for group in visit if others else ():
            if group.key[FILTERS] == ALL_FILTERS:
                group.product = None
                group.rejection = "covered", f"{min(others)} is a chosen file of one filter of the same visit"


def _draw(groups: Sequence[Group], taken: frozenset[str], limit: int) -> None:
    """Keep the chosen files of at most the first `limit` groups of a proposal, and reject the other groups."""
    names = {item.obs_id for group in groups for item in group.observations}
    for group in _in_order_of_draw(groups, taken)[max(limit - len(taken - names), 0) :]:
        group.product = None
        group.rejection = "over_limit", f"the proposal already has {limit} files"


def _in_order_of_draw(groups: Sequence[Group], taken: frozenset[str]) -> list[Group]:
    """Return the groups of a proposal that have a chosen file, in the order in which they are drawn.

    Groups with an observation in `taken` come first. Next come the groups with the first filter of each pointing,
    then the groups with the second filter, and so on. Groups that repeat a pointing and a filter are last. Ties
    are sorted by `draw`.
    """
    is_new = {group.draw: taken.isdisjoint(item.obs_id for item in group.observations) for group in groups}
    chosen = sorted((group for group in groups if group.product), key=lambda group: (is_new[group.draw], group.draw))
    num_visits: Counter[tuple[int | str, str]] = Counter()
    num_bands: Counter[int | str] = Counter()
    places = {}
    for group, pointing in zip(chosen, pointings_of(group.owner for group in chosen), strict=True):
        visit = num_visits[pointing, group.key[FILTERS]]
        num_visits[pointing, group.key[FILTERS]] += 1
        # `visit` is the number of earlier groups with the same pointing and filter.
        places[group.draw] = (is_new[group.draw], visit, num_bands[pointing] if visit == 0 else 0, group.draw)
        num_bands[pointing] += visit == 0
    return sorted(chosen, key=lambda group: places[group.draw])


def pointings_of(observations: Iterable[Observation]) -> list[int | str]:
    """Label the pointing of each observation of a proposal: a field's number, or the name of a moving target.

    A field's centre is the centre of its first observation, so that later observations do not change earlier labels.
    """
    nearest = math.cos(math.radians(POINTING_ARCSEC / 3600))
    centres = np.empty((0, 3))
    labels: list[int | str] = []
    for item in observations:
        if item.is_moving or item.ra_deg is None or item.dec_deg is None:
            labels.append((item.target_name or "").upper())
            continue
        direction = unit_vectors(item.ra_deg, item.dec_deg)
        cosines = centres @ direction
        if len(cosines) == 0 or cosines.max() < nearest:
            centres, cosines = np.vstack([centres, direction]), np.append(cosines, 1.0)
        labels.append(int(cosines.argmax()))
    return labels


def _by(items: Iterable[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    """Group items by their key. The order of the items is kept."""
    lists: dict[Any, list[Any]] = defaultdict(list)
    for item in items:
        lists[key(item)].append(item)
    return lists
