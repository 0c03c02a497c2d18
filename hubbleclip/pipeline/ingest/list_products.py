"""List the products of new and changed observations, and select the files to fetch.

All observations of a proposal are listed together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

from hubbleclip.archives import Archive
from hubbleclip.archives.base import STALE_NUMBER
from hubbleclip.catalog.catalog import Catalog
from hubbleclip.catalog.pending import pending_products, to_records
from hubbleclip.core.records import Listing, Observation, Product, Rejection
from hubbleclip.pipeline.engine.attempts import Batch, Step, archive_step, attempt, write_with_retries
from hubbleclip.pipeline.engine.batches import run_batches
from hubbleclip.pipeline.engine.stage import Stage

OBSERVATIONS_PER_BATCH = 4
"""Ratio of the number of observations in a batch to `flows.batch_size`; one request lists many observations."""


UNCHECKED = """
SELECT p.uri FROM product p JOIN listing l USING (obs_id)
WHERE p.superseded_at IS NULL AND list_contains($proposal_ids, p.proposal_id)
  AND slot_of(p.uri, greatest(l.listed_at, p.fetched_at), 365) < slot_of(p.uri, $now::TIMESTAMP, 365)
"""
"""Query for the files whose ETag must be checked when the given proposals are listed.

The ETag of each file is checked once a year, on a day that is derived from the file's URI.
"""


LISTED = "SELECT obs_id, listed_at FROM listing WHERE list_contains(?, obs_id)"


class ProposalGroup(NamedTuple):
    """Observations of some proposals, the products in use (not superseded), and URIs of files due for an ETag check."""

    observations: list[Observation]
    in_use: list[Product]
    unchecked: frozenset[str] = frozenset()

    @property
    def taken(self) -> dict[str, frozenset[str]]:
        """The ids of the observations that have a product in use (not superseded), by proposal id."""
        names: dict[str, set[str]] = {}
        for product in self.in_use:
            names.setdefault(product.proposal_id, set()).add(product.obs_id)
        return {proposal_id: frozenset(found) for proposal_id, found in names.items()}


def list_products(group: ProposalGroup, archive: Archive, digest: str) -> Batch:
    """List the products of all observations of some proposals, and select the files to fetch.

    If a request for several proposals fails, each proposal is requested separately, so that one failing proposal does
    not affect the others.
    """
    observations = group.observations
    step = Step(name="list-products", stage="products", entity="proposal", digest=digest)
    listed = attempt(step, observations[0].proposal_id, lambda: archive.list_products(observations, group.taken))
    if isinstance(listed, Rejection):
        proposals = [list(some) for _, some in groupby(observations, key=lambda one: one.proposal_id)]
        if len(proposals) == 1:
            return {"failure": [listed]}
        return merged(list_products(group._replace(observations=some), archive, digest) for some in proposals)
    products, rejections = listed
    versions = {product.uri: product.archive_version for product in products}
    old = [item for item in group.in_use if item.sha256 and item.uri in group.unchecked]
    same = [item for item in old if versions.get(item.uri) == item.fetched_version]
    compared = attempt(step, observations[0].proposal_id, lambda: archive.renewed_files(same))
    renewed, unknown = ([], [item.uri for item in same]) if isinstance(compared, Rejection) else compared
    # If the ETag of a file is unknown, the listing gets the date of the fetch, so that the check is repeated.
    dates = {item.obs_id: item.fetched_at for item in same if item.fetched_at and item.uri in unknown}
    now = datetime.now(UTC)
    proposal_ids = {item.obs_id: item.proposal_id for item in observations}
    stale = [item for item in rejections if item.reason == STALE_NUMBER]
    failed = {proposal_ids[item.entity_id]: item for item in stale}
    listings = [
        Listing(obs_id=o.obs_id, settings_digest=digest, fingerprint=o.fingerprint, listed_at=dates.get(o.obs_id, now))
        for o in observations
        if o.proposal_id not in failed
    ]
    return {
        "product": products,
        "listing": listings,
        "rejection": [item for item in rejections if item not in stale],
        "failure": [replace(item, entity="proposal", entity_id=name) for name, item in failed.items()],
        "stale": [item.entity_id for item in stale],
        "renewed": renewed,
    }


def list_pending(stage: Stage, archive: Archive) -> None:
    """List the products of all proposals that have new or changed observations."""
    pending = pending_products(stage.catalog, stage.settings.archive)
    step = archive_step(stage.settings, "list-products", "products", "observation", is_local=True)
    work = partial(list_products, archive=archive, digest=step.digest)
    groups = proposal_groups(stage, pending)
    num = sum(row["num_known"] for row in pending)
    run_batches(stage, step, work, groups, total=num, write=write_listing, weigh=lambda one: len(one.observations))


def merged(parts: Iterable[Batch]) -> Batch:
    """Merge several batches into one."""
    whole: Batch = {}
    for part in parts:
        for name, rows in part.items():
            whole.setdefault(name, []).extend(rows)
    return whole


def proposal_groups(stage: Stage, pending: Sequence[Mapping[str, Any]]) -> Iterator[ProposalGroup]:
    """Read all known observations of pending proposals in batches; a proposal is never divided between batches."""
    most = stage.settings.flows.batch_size * OBSERVATIONS_PER_BATCH
    proposal_ids: list[str] = []
    num = 0
    for place, row in enumerate(pending, 1):
        proposal_ids.append(row["proposal_id"])
        num += row["num_known"]
        if num >= most or place == len(pending):
            rows = stage.catalog.named_query("known_observations", proposal_ids=proposal_ids)
            now = {"proposal_ids": proposal_ids, "now": datetime.now(UTC)}
            unchecked = frozenset(row["uri"] for row in stage.catalog.rows(UNCHECKED, now))
            yield ProposalGroup(to_records(Observation, rows), products_in_use(stage.catalog, proposal_ids), unchecked)
            proposal_ids, num = [], 0


def products_in_use(catalog: Catalog, proposal_ids: Sequence[str]) -> list[Product]:
    """Read the products of some proposals, except superseded products."""
    sql = "FROM product WHERE superseded_at IS NULL AND list_contains(?, proposal_id)"
    return to_records(Product, catalog.rows(sql, [proposal_ids]))


def write_listing(stage: Stage, batch: Batch) -> None:
    """Write the product lists of proposals in one transaction. Each list covers all observations of its proposal.

    Products that are no longer selected are marked as superseded. A superseded file that was already fetched is kept.
    """
    products, stale, renewed = (batch.pop(name, []) for name in ("product", "stale", "renewed"))
    if stage.settings.archive.from_raw:  # no request is sent, so listings in the catalog keep their `listed_at`
        listings = batch.get("listing", [])
        rows = stage.catalog.rows(LISTED, [[item.obs_id for item in listings]])
        dates = {row["obs_id"]: row["listed_at"] for row in rows}
        batch["listing"] = [replace(item, listed_at=dates.get(item.obs_id, item.listed_at)) for item in listings]
    with stage.catalog.transaction():
        incoming = {"product": products, "listing": batch.get("listing", []), "rejection": batch.get("rejection", [])}
        stage.catalog.run("write_listing", incoming, now=datetime.now(UTC))
        if renewed:
            stage.catalog.run("forget_versions", uris=renewed)
        if stale:
            stage.catalog.run("forget_days", ids=stale)
        write_with_retries(stage, batch)
