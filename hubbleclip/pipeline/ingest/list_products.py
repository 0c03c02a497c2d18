"""List the products of observations that are new or have changed, whole proposals at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from hubbleclip.archives import Archive
from hubbleclip.catalog.catalog import Catalog
from hubbleclip.catalog.pending import pending_products, to_records
from hubbleclip.core.records import Listing, Observation, Rejection
from hubbleclip.pipeline.engine.attempts import attempt, write_with_retries
from hubbleclip.pipeline.engine.batches import run_batches
from hubbleclip.pipeline.engine.connections import Batch, merged
from hubbleclip.pipeline.engine.stage import Stage

OBSERVATIONS_PER_BATCH = 4
"""Batches of observations are larger than those of files by this factor, since the archive answers many at once."""


def list_products(
    observations: Sequence[Observation], archive: Archive, taken: Mapping[str, frozenset[str]], digest: str
) -> Batch:
    """Choose the files of whole proposals.

    Where the archive fails for several proposals, each is requested alone, so that one never delays the others.

    Parameters
    ----------
    observations
        All known observations of one or more proposals, sorted by proposal.
    archive
        The archive to ask.
    taken
        Observations that have a file in use, by proposal.
    digest
        Digest of the section `archive`.

    Returns
    -------
    dict
        Rows for `product`, `rejection` and `listing`, or for `failure`.

    """
    listed = attempt(
        lambda: archive.list_products(observations, taken),
        entity="proposal", entity_id=observations[0].proposal_id, stage="products", digest=digest,
    )  # fmt: skip
    if isinstance(listed, Rejection):
        groups = [list(group) for _, group in groupby(observations, key=lambda o: o.proposal_id)]
        if len(groups) == 1:
            return {"failure": [listed]}
        return merged(list_products(group, archive, taken, digest) for group in groups)
    now = datetime.now(UTC)
    listings = [
        Listing(obs_id=o.obs_id, settings_digest=digest, fingerprint=o.fingerprint, listed_at=now) for o in observations
    ]
    return {"product": listed[0], "rejection": listed[1], "listing": listings}


@dataclass(frozen=True, slots=True)
class Known:
    """All known observations of some proposals, and which of them have a file in use, by proposal."""

    observations: list[Observation]
    taken: dict[str, frozenset[str]]

    def __len__(self) -> int:
        """How many observations."""
        return len(self.observations)


def list_known(known: Known, archive: Archive, digest: str) -> Batch:
    """Choose the files of whole proposals.

    Parameters
    ----------
    known
        Their observations.
    archive
        The archive to ask.
    digest
        Digest of the section `archive`.

    Returns
    -------
    dict
        See `list_products`.

    """
    return list_products(known.observations, archive, known.taken, digest)


def list_pending(stage: Stage, archive: Archive) -> None:
    """List products of all proposals with observations that are new or have changed.

    Parameters
    ----------
    stage
        The stage with the open catalog.
    archive
        The archive to ask.

    """
    pending = pending_products(stage.catalog, stage.settings.archive)
    run_batches(
        stage, "list-products", list_known, proposal_batches(stage, pending),
        archive, stage.settings.archive.digest(),
        total=sum(row["num_known"] for row in pending), write=write_listing, in_process=True,
    )  # fmt: skip


def proposal_batches(stage: Stage, pending: Sequence[Mapping[str, Any]]) -> Iterator[Known]:
    """All known observations of pending proposals, read one batch at a time; a proposal is never divided.

    Parameters
    ----------
    stage
        The stage with the open catalog.
    pending
        Rows with `proposal_id` and `num_known`.

    Yields
    ------
    Known
        One batch of whole proposals.

    """
    most = stage.settings.flows.batch_size * OBSERVATIONS_PER_BATCH
    proposal_ids: list[str] = []
    num = 0
    for place, row in enumerate(pending, 1):
        proposal_ids.append(row["proposal_id"])
        num += row["num_known"]
        if num >= most or place == len(pending):
            rows = stage.catalog.named_query("known_observations", proposal_ids=proposal_ids)
            yield Known(to_records(Observation, rows), obs_ids_in_use(stage.catalog, proposal_ids))
            proposal_ids, num = [], 0


def obs_ids_in_use(catalog: Catalog, proposal_ids: Sequence[str]) -> dict[str, frozenset[str]]:
    """Observations of some proposals that have a file in use.

    Parameters
    ----------
    catalog
        The open catalog.
    proposal_ids
        The proposals.

    Returns
    -------
    dict of frozenset
        Observation ids by proposal.

    """
    sql = (
        "SELECT proposal_id, list(obs_id) AS names FROM product "
        "WHERE superseded_at IS NULL AND list_contains(?, proposal_id) GROUP BY proposal_id"
    )
    return {row["proposal_id"]: frozenset(row["names"]) for row in catalog.rows(sql, [proposal_ids])}


def write_listing(stage: Stage, batch: Batch) -> None:
    """Write the product lists of whole proposals in one transaction.

    A file that is no longer chosen is superseded; one that was fetched keeps its content.

    Parameters
    ----------
    stage
        The stage with the open catalog.
    batch
        Rows of `list_products`.

    """
    products = batch.pop("product", [])
    if stage.settings.archive.from_raw:
        batch["listing"] = with_known_dates(stage.catalog, batch.get("listing", []))
    with stage.catalog.transaction():
        incoming = {"product": products, "listing": batch.get("listing", []), "rejection": batch.get("rejection", [])}
        stage.catalog.run("write_listing", incoming, now=datetime.now(UTC))
        write_with_retries(stage, batch, entity="proposal", work="products", done=[])


def with_known_dates(catalog: Catalog, listings: Sequence[Listing]) -> list[Listing]:
    """Listings made from stored raw answers, with the dates of the original requests where the catalog has them.

    Parameters
    ----------
    catalog
        The open catalog.
    listings
        Listings dated now.

    Returns
    -------
    list of Listing
        The same listings with their known dates.

    """
    sql = "SELECT obs_id, listed_at FROM listing WHERE list_contains(?, obs_id)"
    rows = catalog.rows(sql, [[item.obs_id for item in listings]])
    known = {row["obs_id"]: row["listed_at"] for row in rows}
    return [replace(item, listed_at=known.get(item.obs_id, item.listed_at)) for item in listings]
