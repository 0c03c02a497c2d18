"""Query the archive for new observations, and check whether a full ingest has work to do.

This module does not use Prefect: a command that has nothing to do must end quickly, without starting a Prefect server.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from itertools import chain

from hubbleclip.archives import Archive, open_archive
from hubbleclip.archives.base import ObservationPage
from hubbleclip.archives.mast.criteria import mjd_of
from hubbleclip.catalog.pending import pending_fetch, pending_products, pending_proposals
from hubbleclip.config.settings import Settings
from hubbleclip.core.records import Observation, Watermark
from hubbleclip.pipeline.engine.boundaries import checked
from hubbleclip.pipeline.engine.services import archive_service
from hubbleclip.pipeline.engine.stage import Stage, bounded_catalog, layout_of
from hubbleclip.pipeline.remote_store import synchronised_catalog

log = logging.getLogger("hubbleclip.pipeline")


def poll(settings: Settings) -> bool:
    """Write new and changed observations to the catalog, and return whether the stage `ingest` has further work to do.

    Parameters
    ----------
    settings
        All settings of the profile.

    Returns
    -------
    bool
        True when products, proposals or files are pending, and always for a local archive.

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
    """Query the observations that were released since the watermark, page by page, and write the new and changed ones.

    The watermark is the release date up to which all observations are in the catalog. It is raised only after these
    observations have been written, so that an interrupted query resumes at the watermark. When stored responses are
    read (`archive.from_raw`), all of them are read and the watermark is not changed.

    Parameters
    ----------
    stage
        The running stage, whose catalog is open for writing.
    archive
        Client of the archive.

    """
    settings = stage.settings.archive
    sql = "SELECT released_mjd FROM watermark WHERE archive = ? AND query_digest = ?"
    known = [row["released_mjd"] for row in stage.catalog.rows(sql, [archive.name, settings.digest()])]
    first_mjd = mjd_of(settings.since)
    since_mjd = first_mjd if settings.from_raw else max([first_mjd, *(mark - settings.overlap_days for mark in known)])
    newest_mjd = max([first_mjd, *known])
    num_new = num = 0
    for answered in chain(archive.query_observations(since_mjd), [ObservationPage()]):
        if answered.is_checkpoint:
            known = move_watermark(stage, archive, known, newest_mjd)
            continue
        page, new = write_page(stage, answered)
        newest_mjd = max([newest_mjd, *(o.released_mjd for o in page if o.released_mjd is not None)])
        num, num_new = num + len(page), num_new + new
    log.info("ingest: %d observations since MJD %.2f, %d of them new or changed", num, since_mjd, num_new)


def write_page(stage: Stage, page: ObservationPage) -> tuple[list[Observation], int]:
    """Write the new and changed observations of a page, and the rejections of its other rows.

    Parameters
    ----------
    stage
        The running stage, whose catalog is open for writing.
    page
        One page of the archive's answer.

    Returns
    -------
    list of Observation
        The observations that keep their data contract.
    int
        Number of new and changed observations.

    """
    batch = checked(stage, {"observation": page.observations}, "query-observations")
    rejections = [*batch.get("rejection", ()), *page.rejections]
    changed = {
        "observation": stage.catalog.changed_rows("observation", batch["observation"]),
        "rejection": stage.catalog.changed_rows("rejection", rejections),
    }
    if any(map(len, changed.values())):
        names = changed["observation"]["obs_id"].to_pylist()
        with stage.catalog.transaction():
            stage.catalog.run("clear_failures", entity="observation", stage="observations", ids=names)
            stage.catalog.run("carry_fingerprints", {"observation": changed["observation"]})
            stage.catalog.upsert(changed)
    return batch["observation"], len(changed["observation"])


def move_watermark(stage: Stage, archive: Archive, known: list[float], newest_mjd: float) -> list[float]:
    """Write the watermark to the catalog if it has changed.

    Parameters
    ----------
    stage
        The running stage, whose catalog is open for writing.
    archive
        Client of the archive; its name is part of the key of the watermark.
    known
        A list with the watermark in the catalog (MJD), or an empty list if the catalog has no watermark.
    newest_mjd
        Latest release date seen so far (MJD).

    Returns
    -------
    list of float
        A list with the watermark in the catalog (MJD) after the call.

    """
    settings = stage.settings.archive
    if known == [newest_mjd] or settings.from_raw:
        return known
    mark = Watermark(
        archive=archive.name, query_digest=settings.digest(), released_mjd=newest_mjd, updated_at=datetime.now(UTC)
    )
    stage.catalog.upsert({"watermark": [mark]})
    return [newest_mjd]
