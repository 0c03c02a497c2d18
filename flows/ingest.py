"""Ask the archive what is new: observations, their products, the proposals behind them, then the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from astropy.time import Time
from prefect import Task, flow

from flows._run import Batch, Stage, attempt, batches, from_rows, log, open_stage, run_batches
from flows._services import archive_service
from hubbleclip.archives import Archive, open_archive
from hubbleclip.records import Observation, Product, Rejection, Watermark
from hubbleclip.settings import Settings, read_settings


def list_products(observations: Sequence[Observation], archive: Archive, taken: Mapping[str, frozenset[str]]) -> Batch:
    """Choose the files of whole proposals; `taken` counts the files that each proposal has already."""
    products, rejections = archive.list_products(observations, taken)
    return {"product": products, "rejection": rejections}


def fetch_proposals(numbers: Sequence[str], archive: Archive) -> Batch:
    """The proposals with these numbers."""
    proposals, rejections = archive.fetch_proposals(numbers)
    return {"proposal": proposals, "rejection": rejections}


def fetch_products(products: Sequence[Product], archive: Archive, settings: Settings) -> Batch:
    """Fetch files side by side; one that fails is left out and asked for again in the next run."""

    def fetch(product: Product) -> Product | Rejection:
        return attempt(
            lambda: archive.fetch_product(product),
            entity="product", entity_id=product.uri, stage="fetch", digest=settings.archive.digest(),
        )  # fmt: skip

    with ThreadPoolExecutor(max(1, settings.fetch.connections // settings.flows.workers)) as pool:
        results = list(pool.map(fetch, products))
    return {
        "product": [r for r in results if isinstance(r, Product)],
        "rejection": [r for r in results if isinstance(r, Rejection)],
    }


task_list_products = Task(list_products, name="list-products", persist_result=False)
task_fetch_proposals = Task(fetch_proposals, name="fetch-proposals", persist_result=False)
task_fetch_products = Task(fetch_products, name="fetch-products", persist_result=False)


@flow(name="ingest")
def ingest(profile: str = "demo", overrides: dict[str, Any] | None = None) -> None:
    """Bring the catalog up to the archive: only what was released since the last complete answer is asked for."""
    settings = read_settings(profile, overrides or {})
    with open_stage("ingest", settings) as stage, archive_service(settings) as served:
        archive = open_archive(served, settings.fetch, stage.layout)
        query_observations(stage, archive)
        by_proposal = pending_products(stage)
        taken = stage.catalog.rows("SELECT proposal_id, list(obs_id) AS names FROM product GROUP BY proposal_id")
        run_batches(
            stage,
            task_list_products,
            by_proposal,
            archive,
            {row["proposal_id"]: frozenset(row["names"]) for row in taken},
        )
        run_batches(
            stage, task_fetch_proposals, batches(pending_proposals(stage), settings.flows.batch_size * 8), archive
        )
        products = from_rows(Product, stage.catalog.named("pending_fetch", again=True))
        run_batches(stage, task_fetch_products, batches(products, settings.flows.batch_size), archive, settings)
        fetched = stage.catalog.rows("SELECT uri FROM product WHERE sha256 IS NOT NULL")
        stage.catalog.clear_rejections("product", "fetch", [row["uri"] for row in fetched])


def query_observations(stage: Stage, archive: Archive) -> None:
    """Page through what was released since the watermark; move the watermark when every page is written."""
    digest = stage.settings.archive.digest()
    known = stage.catalog.rows(
        "SELECT released_mjd FROM watermark WHERE archive = ? AND query_digest = ?", [archive.name, digest]
    )
    since_mjd = known[0]["released_mjd"] if known else float(Time(stage.settings.archive.since).mjd)
    newest_mjd = since_mjd
    num = 0
    for page in archive.query_observations(since_mjd):
        stage.catalog.upsert({"observation": page})
        newest_mjd = max([newest_mjd, *(o.released_mjd for o in page if o.released_mjd is not None)])
        num += len(page)
    mark = Watermark(archive=archive.name, query_digest=digest, released_mjd=newest_mjd, updated_at=datetime.now(UTC))
    stage.catalog.upsert({"watermark": [mark]})
    log.info("ingest: %d observations released since MJD %.2f", num, since_mjd)


def pending_products(stage: Stage) -> list[list[Observation]]:
    """Observations without a product list, in batches of whole proposals, since the choice is made a proposal at a
    time.
    """
    digest = stage.settings.archive.digest()
    found = from_rows(Observation, stage.catalog.named("pending_products", settings_digest=digest))
    work: list[list[Observation]] = []
    for _, group in groupby(found, key=lambda o: o.proposal_id):
        if not work or len(work[-1]) >= stage.settings.flows.batch_size * 4:
            work.append([])
        work[-1].extend(group)
    return work


def pending_proposals(stage: Stage) -> list[str]:
    """Numbers of proposals that observations name and the catalog lacks."""
    found = stage.catalog.named("pending_proposals", again=True)
    return [row["proposal_id"].split(":", 1)[1] for row in found]
