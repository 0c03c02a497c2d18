"""Poll the archive for new observations, and find out whether a full ingest has anything to do.

No Prefect here: a command that has nothing to do ends before a server would have started.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from itertools import chain

from hubbleclip.archives import Archive, open_archive
from hubbleclip.archives.mast.criteria import mjd_of
from hubbleclip.catalog.pending import pending_fetch, pending_products, pending_proposals
from hubbleclip.config.settings import Settings
from hubbleclip.core.records import Watermark
from hubbleclip.pipeline.engine.boundaries import checked
from hubbleclip.pipeline.engine.services import archive_service
from hubbleclip.pipeline.engine.stage import Stage, bounded_catalog, layout_of
from hubbleclip.pipeline.remote_store import synchronised_catalog

log = logging.getLogger("hubbleclip.pipeline")


def poll(settings: Settings) -> bool:
    """Bring in the current observations, and say whether `ingest` has anything to do after that.

    Parameters
    ----------
    settings
        All settings.

    Returns
    -------
    bool
        Whether products, proposals or files are pending.

    """
    layout = layout_of(settings)
    writer = bounded_catalog(layout, settings.flows)
    with synchronised_catalog(layout), writer as catalog, archive_service(settings) as served:
        stage = Stage(name="ingest", settings=settings, layout=layout, catalog=catalog)
        archive = open_archive(served, settings.fetch, layout)
        query_observations(stage, archive)
        todo = pending_products(catalog, settings.archive) or pending_proposals(catalog, settings.archive)
        return bool(archive.is_local or todo or (settings.fetch.keep_fits and pending_fetch(catalog, settings)))


def query_observations(stage: Stage, archive: Archive) -> None:
    """Page through the observations released since the watermark, and write those that are new or have changed.

    The watermark moves only after everything up to it is written, so an interrupted query resumes there. Stored raw
    answers are read from the first on and move no watermark.

    Parameters
    ----------
    stage
        The stage with the open catalog.
    archive
        The archive to ask.

    """
    settings = stage.settings.archive
    sql = "SELECT released_mjd FROM watermark WHERE archive = ? AND query_digest = ?"
    known = [row["released_mjd"] for row in stage.catalog.rows(sql, [archive.name, settings.digest()])]
    first_mjd = mjd_of(settings.since)
    since_mjd = first_mjd if settings.from_raw else max([first_mjd, *(mark - settings.overlap_days for mark in known)])
    newest_mjd = max([first_mjd, *known])
    num_new = num = 0
    for answered in chain(archive.query_observations(since_mjd), [[]]):
        if not answered:
            known = move_watermark(stage, archive, known, newest_mjd)
            continue
        batch = checked(stage, {"observation": answered}, "query-observations")
        page = batch["observation"]
        new = stage.catalog.changed_rows("observation", page)
        stage.catalog.upsert(batch | {"observation": new})
        newest_mjd = max([newest_mjd, *(o.released_mjd for o in page if o.released_mjd is not None)])
        num, num_new = num + len(page), num_new + len(new)
    log.info("ingest: %d observations since MJD %.2f, %d of them new or changed", num, since_mjd, num_new)


def move_watermark(stage: Stage, archive: Archive, known: list[float], newest_mjd: float) -> list[float]:
    """Write the watermark if it has moved.

    Parameters
    ----------
    stage
        The stage with the open catalog.
    archive
        The archive that was asked.
    known
        The watermark in the catalog (MJD), or an empty list.
    newest_mjd
        Latest release date seen so far (MJD).

    Returns
    -------
    list of float
        The watermark in the catalog after the call.

    """
    settings = stage.settings.archive
    if known == [newest_mjd] or settings.from_raw:
        return known
    mark = Watermark(
        archive=archive.name, query_digest=settings.digest(), released_mjd=newest_mjd, updated_at=datetime.now(UTC)
    )
    stage.catalog.upsert({"watermark": [mark]})
    return [newest_mjd]
