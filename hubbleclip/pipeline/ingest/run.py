"""The stage `ingest`: query the observations, list their products, fetch their proposals, then fetch the files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

from hubbleclip.archives import Archive, open_archive
from hubbleclip.archives.base import proposal_id_of
from hubbleclip.catalog.pending import pending_fetch, pending_products, pending_proposals
from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import ArchiveDownError
from hubbleclip.core.records import Rejection
from hubbleclip.pipeline.check_archive import check_before_first
from hubbleclip.pipeline.engine.attempts import UNANSWERED, Batch, Step, archive_step, attempt, write_with_retries
from hubbleclip.pipeline.engine.batches import batches, run_batches
from hubbleclip.pipeline.engine.runners import fetch_share
from hubbleclip.pipeline.engine.stage import Stage, log, open_stage, served_archive
from hubbleclip.pipeline.ingest.fetch import fetch_pending
from hubbleclip.pipeline.ingest.list_products import list_pending
from hubbleclip.pipeline.ingest.query_observations import query_observations, verify_counts


def fetch_proposals(numbers: Sequence[str], archive: Archive, step: Step) -> Batch:
    """Fetch proposals; a proposal that fails is retried by a later run."""
    found = attempt(step, "", lambda: archive.fetch_proposals(numbers))
    if isinstance(found, Rejection):
        names = (proposal_id_of(archive.name, number) for number in numbers)
        return {"failure": [replace(found, entity_id=name, reason=UNANSWERED) for name in names]}
    return {"proposal": found[0], "failure": found[1]}


def ingest(settings: Settings, *, retry: bool = False) -> None:
    """Update the catalog from the archive; only observations released since the last complete query are requested.

    With `archive.from_raw` nothing is requested from the archive; the stored responses are read again.
    """
    with open_stage("ingest", settings) as stage, served_archive(settings) as served:
        archive = open_archive(served, fetch_share(settings), stage.layout)
        if retry:
            stage.catalog.run("clear_all_failures")
        check_before_first(stage)
        update_observations(stage, archive)
        list_pending(stage, archive)
        fetch_pending_proposals(stage, archive)
        if settings.fetch.keep_fits:
            fetch_pending(stage, archive)


def poll(settings: Settings) -> bool:
    """Write new and changed observations to the catalog, and return whether the ingest has further work to do."""
    with open_stage("poll", settings) as stage, served_archive(settings) as served:
        archive = open_archive(served, settings.fetch, stage.layout)
        check_before_first(stage)
        update_observations(stage, archive)
        todo = pending_products(stage.catalog, settings.archive) or pending_proposals(stage.catalog, settings.archive)
        return bool(archive.is_local or todo or (settings.fetch.keep_fits and pending_fetch(stage.catalog, settings)))


def update_observations(stage: Stage, archive: Archive) -> None:
    """Query recent releases, then older releases that the archive has changed."""
    verify_counts(stage, archive, end_day=query_observations(stage, archive))


def fetch_pending_proposals(stage: Stage, archive: Archive) -> None:
    """Fetch the pending proposals.

    A proposal is pending if it is not in the catalog. A proposal without an abstract becomes pending again about every
    `archive.relist_days` days.
    """
    settings = stage.settings
    pending = pending_proposals(stage.catalog, settings.archive, again=archive.is_local)
    step = archive_step(settings, "fetch-proposals", "proposals", "proposal", is_local=True)
    work = partial(fetch_proposals, archive=archive, step=step)
    numbers = batches((proposal_id.split(":", 1)[1] for proposal_id in pending), settings.flows.batch_size * 2)
    write = partial(write_proposals, dated={name for name, is_stale in pending.items() if is_stale})
    try:
        run_batches(stage, step, work, numbers, total=len(pending), write=write, weigh=len)
    except ArchiveDownError as error:  # the ingest continues, because files come from another server
        log.warning("ingest: the remaining proposals wait for the next run: %s", error)


def write_proposals(stage: Stage, batch: Batch, dated: Collection[str] = ()) -> None:
    """Write new and changed proposals, renew the fetch dates of the proposals in `dated`, and schedule retries."""
    found = batch.get("proposal", [])
    changed = {*stage.catalog.changed_rows("proposal", found)["proposal_id"].to_pylist(), *dated}
    rows = [proposal for proposal in found if proposal.proposal_id in changed]
    done = [proposal.proposal_id for proposal in found]
    with stage.catalog.transaction():
        stage.catalog.run("clear_failures", entity="proposal", stage="proposals", ids=done)
        write_with_retries(stage, batch | {"proposal": rows})
