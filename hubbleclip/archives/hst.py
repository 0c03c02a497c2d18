"""The Hubble archive: observations and files from MAST, proposals from STScI. The simulated archive speaks the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from hubbleclip.archives.base import NO_PROPOSAL, draw_key, now_utc, proposal_id_of, reject
from hubbleclip.archives.caom import (
    REPROCESSED,
    Candidate,
    candidate_from_row,
    choice_of,
    criteria_of,
    group_candidates,
    observation_from_row,
    unique_rows,
)
from hubbleclip.archives.mast import MastClient
from hubbleclip.archives.sources import FileSources
from hubbleclip.archives.stsci import ProposalSource
from hubbleclip.archives.transport import Transport
from hubbleclip.errors import ArchiveError
from hubbleclip.paths import Layout
from hubbleclip.records import Observation, Product, Proposal, Rejection
from hubbleclip.settings import ArchiveSettings, FetchSettings

MJD_OF_UNIX_EPOCH = 40587.0
SECONDS_A_DAY = 86400.0
BYTES_A_MB = 1_000_000


class HstArchive:
    """MAST and STScI behind the Archive protocol. Threads may share one object."""

    def __init__(self, settings: ArchiveSettings, fetch: FetchSettings, layout: Layout) -> None:
        self.settings = settings
        self.layout = layout
        self.transport = Transport(fetch)
        self.mast = MastClient(settings.mast_url, self.transport)
        self.proposals = ProposalSource(settings, self.transport, layout)
        max_bytes = settings.max_product_mb * BYTES_A_MB
        self.files = FileSources(fetch, layout, self.transport, self.mast, max_bytes)

    @property
    def name(self) -> str:
        """`hst` or `simulated`, as the settings say."""
        return self.settings.name

    def query_observations(self, since_mjd: float) -> Iterator[list[Observation]]:
        """Pages of what was released since, up to now. Raises ArchiveError when pages and count disagree.

        MAST answers each page by a query of its own, so a page lost or cut would go unseen without the count.
        """
        until_mjd = datetime.now(UTC).timestamp() / SECONDS_A_DAY + MJD_OF_UNIX_EPOCH
        seen: set[str] = set()
        for criteria in criteria_of(self.settings, since_mjd, until_mjd):
            count = self.mast.count(criteria)
            num_rows = 0
            for page in range(1, math.ceil(count / self.settings.page_size) + 1):
                rows = self.mast.page(criteria, page, self.settings.page_size)
                num_rows += len(rows)
                fetched_at = now_utc()
                found = (observation_from_row(row, self.name, fetched_at) for row in unique_rows(rows, seen))
                yield [observation for observation in found if observation is not None]
            if num_rows != count:
                raise ArchiveError(f"{self.mast.url} gave {num_rows} of {count} observations: run the query again")

    def list_products(
        self, observations: Sequence[Observation], taken: Mapping[str, frozenset[str]] | None = None
    ) -> tuple[list[Product], list[Rejection]]:
        """One file an observation; see Archive.list_products. Raises ArchiveError."""
        asked = [item for item in observations if self._refusal(item) is None and item.obsid is not None]
        rows = self.mast.products([item.obsid for item in asked if item.obsid is not None])
        found = (candidate_from_row(row) for row in rows)
        groups = group_candidates(asked, (candidate for candidate in found if candidate is not None))
        products: list[Product] = []
        rejections: list[Rejection] = []
        used = {key: len(names) for key, names in (taken or {}).items()}
        uris: set[str] = set()
        for observation in sorted(observations, key=draw_key):
            choice = self._choose(observation, groups.get(observation.obs_id, []), uris, used)
            if isinstance(choice, Rejection):
                rejections.append(choice)
            else:
                products.append(choice)
                uris.add(choice.uri)
                used[choice.proposal_id] = used.get(choice.proposal_id, 0) + 1
        return products, rejections

    def _refusal(self, observation: Observation) -> tuple[str, str] | None:
        """Why an observation is left out before its products are asked for: reason and detail."""
        if observation.proposal_id == proposal_id_of(self.name, NO_PROPOSAL):
            return "no_proposal", "the observation names no proposal, so it has no caption"
        if observation.obs_id.lower().startswith(REPROCESSED):
            return "reprocessed", "an advanced product repeats exposures that stand under their own names"
        if observation.obsid is None:
            return "no_obsid", "the archive gave no number to ask for its products by"
        return None

    def _choose(
        self, observation: Observation, candidates: Sequence[Candidate], uris: set[str], used: Mapping[str, int]
    ) -> Product | Rejection:
        """The observation's file, or why it has none. `uris` are chosen already; `used` counts files a proposal."""

        def no(reason: str, detail: str) -> Rejection:
            digest = self.settings.digest()
            name = observation.obs_id
            return reject("observation", name, "products", reason=reason, detail=detail, settings_digest=digest)

        refusal = self._refusal(observation)
        if refusal is not None:
            return no(*refusal)
        free = [item for item in candidates if item.uri not in uris]
        if not candidates:
            return no("no_science_image", "no calibrated FITS image is listed")
        if not free:
            return no("repeated", "its science images are taken as those of other observations")
        best = free[0]
        if best.size_bytes is not None and best.size_bytes > self.settings.max_product_mb * BYTES_A_MB:
            return no("too_large", f"{best.file_name} has {best.size_bytes} bytes; see archive.max_product_mb")
        if used.get(observation.proposal_id, 0) >= self.settings.max_products_per_proposal:
            return no("over_limit", f"the proposal has its {self.settings.max_products_per_proposal} files already")
        return Product(
            uri=best.uri,
            obs_id=observation.obs_id,
            proposal_id=observation.proposal_id,
            file_name=best.file_name,
            kind=best.kind,
            size_bytes=best.size_bytes,
            choice=choice_of(candidates),
        )

    def fetch_proposals(self, numbers: Sequence[str]) -> tuple[list[Proposal], list[Rejection]]:
        """Proposals from the bulk list, else one by one; see Archive.fetch_proposals. Raises ArchiveError."""
        return self.proposals.fetch(numbers)

    def fetch_product(self, product: Product) -> Product:
        """The product on disk, checked; see Archive.fetch_product. Raises DownloadError, ArchiveDownError."""
        return self.files.fetch(product)
