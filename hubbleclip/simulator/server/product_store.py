"""Contents of the simulated archive: an index of all observations and a cache of rendered files."""

from __future__ import annotations

import hashlib
import json
import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from operator import attrgetter
from typing import Any

from hubbleclip.simulator.observations import (
    SimObservation,
    SimProduct,
    SimProposal,
    SkySettings,
    make_proposals,
    observations_of,
    render_product,
)
from hubbleclip.simulator.random_draws import SEED
from hubbleclip.simulator.server import mast_tables as tables
from hubbleclip.simulator.server import pages

RENDER_THREADS = 2
MAX_CACHED_FILES = 24
MAX_CACHED_QUERIES = 8


class ArchiveStore:
    """Contents of the simulated archive, held in memory and built on first use. All methods are thread-safe."""

    def __init__(self, settings: SkySettings) -> None:
        self.settings = settings
        # The lock is reentrant, because one cached property uses another.
        self._lock = threading.RLock()
        self._pool = ThreadPoolExecutor(RENDER_THREADS, thread_name_prefix="render")
        self._files: OrderedDict[str, Future[bytes]] = OrderedDict()
        self._queries: OrderedDict[str, list[SimObservation]] = OrderedDict()

    @cached_property
    def proposals(self) -> dict[str, SimProposal]:
        """All proposals by number."""
        with self._lock:
            return {proposal.number: proposal for proposal in make_proposals(self.settings)}

    @cached_property
    def observations(self) -> dict[str, SimObservation]:
        """All observations by lower-case name, which is the beginning of their file names."""
        with self._lock:
            found = (item for proposal in self.proposals.values() for item in self.listed_observations(proposal))
            return {item.obs_id.lower(): item for item in found}

    def listed_observations(self, proposal: SimProposal) -> Iterable[SimObservation]:
        """List the observations that the archive has for a proposal on the last simulated night."""
        return observations_of(self.settings, proposal)

    def observation_rows(self) -> Iterable[SimObservation]:
        """Return one item per row of the observation table; each plane of an observation has a row."""
        return self.observations.values()

    @cached_property
    def by_obsid(self) -> dict[int, SimObservation]:
        """All observations by number (`obsid`)."""
        return {item.obsid: item for item in self.observations.values()}

    @cached_property
    def abstracts_cat(self) -> bytes:
        """Bulk list of proposals, encoded as UTF-8."""
        return pages.abstracts_cat(self.proposals.values()).encode()

    def row(self, observation: SimObservation) -> tables.Row:
        """Make the row of an observation in MAST's observation table (CAOM)."""
        return tables.observation_row(observation, self.proposals.get(observation.proposal_number))

    def find_observations(self, filters: Sequence[dict[str, Any]]) -> list[SimObservation]:
        """Find the items of `observation_rows` that match filters, in ascending order of `obsid`."""
        # The requests for all pages of one query have equal filters, and therefore the same key.
        key = json.dumps(filters, sort_keys=True)
        with self._lock:
            matching = self._queries.get(key)
            if matching is None:
                matches = tables.row_filter(filters)
                # Clients always query a range of release dates, so the index of release dates makes the search faster.
                matching = [
                    item for item in self._released_between(*tables.release_range(filters)) if matches(self.row(item))
                ]
                matching.sort(key=attrgetter("obsid"))
                self._queries[key] = matching
                while len(self._queries) > MAX_CACHED_QUERIES:
                    self._queries.popitem(last=False)
            return matching

    def _released_between(self, first_mjd: float, last_mjd: float) -> list[SimObservation]:
        """Return the observations that were released between two dates (MJD), both inclusive."""
        released = attrgetter("released_mjd")
        start = bisect_left(self._by_release, first_mjd, key=released)
        return self._by_release[start : bisect_right(self._by_release, last_mjd, key=released)]

    @cached_property
    def _by_release(self) -> list[SimObservation]:
        return sorted(self.observation_rows(), key=attrgetter("released_mjd"))

    def product_rows(self, obsids: Sequence[int]) -> list[tables.Row]:
        """List the files of observations."""
        found = [self.by_obsid[obsid] for obsid in obsids if obsid in self.by_obsid]
        return [tables.product_row(item, product) for item in found for product in item.products]

    def find_file(self, uri: str) -> tuple[SimObservation, SimProduct] | None:
        """Find the file that has the MAST data URI `uri`; None if there is none."""
        observation = self.observations.get(uri.rpartition("/")[2].rpartition("_")[0].lower())
        products = observation.products if observation else ()
        product = next((item for item in products if item.uri == uri), None)
        return (observation, product) if observation and product else None

    def is_public_folder(self, folder: str, file_name: str) -> bool:
        """Decide whether MAST's public S3 bucket (simulated) has a file in this folder."""
        observation = self.observations.get(file_name.rpartition("_")[0].lower())
        if observation is None:
            return False
        name = observation.obs_id.lower()
        return folder == f"{name[:4]}/{name}" or folder.startswith(name.split("-")[0][:7] + "/")

    def etag(self, observation: SimObservation, product: SimProduct) -> str:
        """Compute the ETag, in double quotes, of a file without rendering it."""
        text = f"{SEED}:{self.settings.frame_px}:{product.uri}"
        # Version 0 is not a part of the hashed text, so that a file that was never reprocessed keeps its ETag.
        if observation.version:
            text += f":{observation.version}"
        return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'

    def render(self, observation: SimObservation, product: SimProduct) -> Future[bytes]:
        """Render a file in a thread. Simultaneous requests for the same file share one rendering."""
        with self._lock:
            # The entry is removed and inserted again, so that the entries are in the order of their last use.
            future = self._files.pop(product.uri, None)
            # If an earlier rendering failed, the file is rendered again.
            if future is None or (future.done() and future.exception() is not None):
                future = self._pool.submit(render_product, self.settings, observation, product)
            self._files[product.uri] = future
            while len(self._files) > MAX_CACHED_FILES:
                self._files.popitem(last=False)
            return future
