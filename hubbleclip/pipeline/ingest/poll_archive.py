"""Query the archive for new observations, and check whether a full ingest has work to do.

This module does not use Prefect: a command that has nothing to do must end quickly, without starting a Prefect server.
"""

from __future__ import annotations

import logging
import math
from datetime import UTC, datetime
from itertools import chain

from hubbleclip.archives import Archive, open_archive
from hubbleclip.archives.base import ObservationPage
from hubbleclip.archives.mast.criteria import mjd_now, mjd_of
from hubbleclip.catalog.pending import pending_fetch, pending_products, pending_proposals
from hubbleclip.config.settings import Settings
from hubbleclip.core.records import Watermark
from hubbleclip.pipeline.check_archive import check_before_first
from hubbleclip.pipeline.engine.stage import Stage, bounded_catalog, layout_of, served_archive
from hubbleclip.pipeline.ingest.receive import Reception
from hubbleclip.pipeline.ingest.recount import Days, recount
from hubbleclip.pipeline.remote_store import synchronised_catalog

log = logging.getLogger("hubbleclip.pipeline")


def poll(settings: Settings) -> bool:
    """Write new and changed observations to the catalog, and return whether the stage `ingest` has
    further work to do.
    """
    layout = layout_of(settings)
    writer = bounded_catalog(layout, settings.flows)
    with synchronised_catalog(layout), writer as catalog, served_archive(settings) as served:
        stage = Stage(name="ingest", settings=settings, layout=layout, catalog=catalog)
        archive = open_archive(served, settings.fetch, layout)
        check_before_first(stage, served)
        query_observations(stage, archive)
        todo = pending_products(catalog, settings.archive) or pending_proposals(catalog, settings.archive)
        return bool(archive.is_local or todo or (settings.fetch.keep_fits and pending_fetch(catalog, settings)))


def query_observations(stage: Stage, archive: Archive) -> None:
    """Query the observations that were released since the watermark, and older ones that the archive has changed.

    The watermark is the release date up to which all observations are in the catalog. It is raised only after these
    observations have been written, so that an interrupted query resumes at the watermark. When stored responses are
    read (`archive.from_raw`), all of them are read, and the watermark is not changed.
    """
    settings = stage.settings.archive
    sql = "SELECT released_mjd FROM watermark WHERE archive = ? AND query_digest = ?"
    known = [row["released_mjd"] for row in stage.catalog.rows(sql, [archive.name, settings.digest()])]
    first_mjd = mjd_of(settings.since)
    since_mjd = first_mjd if settings.from_raw else max([first_mjd, *(mark - settings.overlap_days for mark in known)])
    # Days are queried as a whole, because their rows are counted.
    days = Days(math.floor(since_mjd), math.floor(mjd_now()) + 1)
    reception, is_counted = Reception(stage, archive.name, days.first), not (settings.from_raw or archive.is_local)
    for page in chain(archive.query_observations(days.first), [ObservationPage()]):
        if not page.is_checkpoint:
            reception.write(page)
        elif not settings.from_raw:
            newest_mjd = max([first_mjd, *known, reception.newest_mjd])
            if is_counted:
                reception.complete(math.floor(newest_mjd))
            known = move_watermark(stage, archive, known, newest_mjd)
    num_new = reception.num_new
    if is_counted:
        reception.complete(days.end)
        num_new += recount(stage, archive, Days(math.floor(first_mjd), days.first))
    log.info("ingest: %d observations since MJD %d, %d new or changed", reception.num, days.first, num_new)


def move_watermark(stage: Stage, archive: Archive, known: list[float], newest_mjd: float) -> list[float]:
    """Write the watermark to the catalog if it has changed."""
    settings = stage.settings.archive
    if known == [newest_mjd]:
        return known
    mark = Watermark(
        archive=archive.name, query_digest=settings.digest(), released_mjd=newest_mjd, updated_at=datetime.now(UTC)
    )
    stage.catalog.upsert({"watermark": [mark]})
    return [newest_mjd]
