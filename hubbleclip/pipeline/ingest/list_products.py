"""Ask for the products of observations that are new or have changed, whole proposals at a time."""

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

OBSERVATIONS_A_BATCH = 4
"""Batches of observations are larger than those of files by this factor, since the archive answers many at once."""


def list_products(
    observations: Sequence[Observation], archive: Archive, taken: Mapping[str, frozenset[str]], digest: str
) -> Batch:
    """Choose the files of whole proposals. Where the archive fails for several, each is asked for by itself, so that
    one never holds up the others.
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
    """All known observations of some proposals, and by proposal which of them have a file in use."""

    observations: list[Observation]
    taken: dict[str, frozenset[str]]

    def __len__(self) -> int:
        """How many observations."""
        return len(self.observations)


def list_known(known: Known, archive: Archive, digest: str) -> Batch:
    """Choose the files of whole proposals."""
    return list_products(known.observations, archive, known.taken, digest)


def list_pending(stage: Stage, archive: Archive) -> None:
    """List products wherever that is due."""
    pending = pending_products(stage.catalog, stage.settings.archive)
    run_batches(
        stage, "list-products", list_known, proposal_batches(stage, pending),
        archive, stage.settings.archive.digest(),
        total=sum(row["num_known"] for row in pending), write=write_listing, in_process=True,
    )  # fmt: skip


def proposal_batches(stage: Stage, pending: Sequence[Mapping[str, Any]]) -> Iterator[Known]:
    """All known observations of these proposals, read a batch at a time; no proposal is torn apart."""
    most = stage.settings.flows.batch_size * OBSERVATIONS_A_BATCH
    proposal_ids: list[str] = []
    num = 0
    for place, row in enumerate(pending, 1):
        proposal_ids.append(row["proposal_id"])
        num += row["num_known"]
        if num >= most or place == len(pending):
            rows = stage.catalog.named_query("known_observations", proposal_ids=proposal_ids)
            yield Known(to_records(Observation, rows), taken_names(stage.catalog, proposal_ids))
            proposal_ids, num = [], 0


def taken_names(catalog: Catalog, proposal_ids: Sequence[str]) -> dict[str, frozenset[str]]:
    """Observations of these proposals that have a file in use, by proposal."""
    sql = (
        "SELECT proposal_id, list(obs_id) AS names FROM product "
        "WHERE superseded_at IS NULL AND list_contains(?, proposal_id) GROUP BY proposal_id"
    )
    return {row["proposal_id"]: frozenset(row["names"]) for row in catalog.rows(sql, [proposal_ids])}


def write_listing(stage: Stage, batch: Batch) -> None:
    """Write the lists of whole proposals in one transaction: a file that is chosen no more is superseded, one that was
    fetched keeps its content.
    """
    products = batch.pop("product", [])
    if stage.settings.archive.from_raw:
        batch["listing"] = dated_as_known(stage.catalog, batch.get("listing", []))
    with stage.catalog.transaction():
        incoming = {"product": products, "listing": batch.get("listing", []), "rejection": batch.get("rejection", [])}
        stage.catalog.run("write_listing", incoming, now=datetime.now(UTC))
        write_with_retries(stage, batch, entity="proposal", work="products", done=[])


def dated_as_known(catalog: Catalog, listings: Sequence[Listing]) -> list[Listing]:
    """Listings made of landed answers, with the dates at which the archive was asked where the catalog knows them."""
    sql = "SELECT obs_id, listed_at FROM listing WHERE list_contains(?, obs_id)"
    rows = catalog.rows(sql, [[item.obs_id for item in listings]])
    known = {row["obs_id"]: row["listed_at"] for row in rows}
    return [replace(item, listed_at=known.get(item.obs_id, item.listed_at)) for item in listings]
