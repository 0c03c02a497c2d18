"""What the server knows: an index of all observations, made when first asked for, and a few rendered files."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any

from hubbleclip.settings import SimulatorSettings
from hubbleclip.simulator import pages, tables
from hubbleclip.simulator.visits import (
    SimObservation,
    SimProduct,
    SimProposal,
    make_proposals,
    observations_of,
    render_product,
)

RENDERERS = 2
KEPT_FILES = 24
KEPT_QUERIES = 8


class Store:
    """The simulated archive's content. Nothing of it stands on a disk; threads may share one object."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self._lock = threading.RLock()
        self._pool = ThreadPoolExecutor(RENDERERS, thread_name_prefix="render")
        self._files: OrderedDict[str, Future[bytes]] = OrderedDict()
        self._queries: OrderedDict[str, list[tables.Row]] = OrderedDict()

    @cached_property
    def proposals(self) -> dict[str, SimProposal]:
        """All proposals by number."""
        with self._lock:
            return {proposal.number: proposal for proposal in make_proposals(self.settings)}

    @cached_property
    def observations(self) -> dict[str, SimObservation]:
        """All observations by their name in lower case, which file names begin with."""
        with self._lock:
            found = (item for proposal in self.proposals.values() for item in observations_of(self.settings, proposal))
            return {item.obs_id.lower(): item for item in found}

    @cached_property
    def by_obsid(self) -> dict[int, SimObservation]:
        """All observations by their number."""
        return {item.obsid: item for item in self.observations.values()}

    @cached_property
    def abstracts_cat(self) -> bytes:
        """The bulk list of proposals."""
        return pages.abstracts_cat(self.proposals.values()).encode()

    def find_observations(self, filters: Sequence[dict[str, Any]]) -> list[tables.Row]:
        """Rows that meet the filters, in the order of `obsid`; the last few answers are kept for their next pages."""
        key = json.dumps(filters, sort_keys=True)
        with self._lock:
            rows = self._queries.get(key)
            if rows is None:
                is_wanted = tables.matcher(filters)
                found = (tables.observation_row(item, self.proposals[item.proposal_number]) for item in self._sorted)
                rows = self._queries[key] = [row for row in found if is_wanted(row)]
                while len(self._queries) > KEPT_QUERIES:
                    self._queries.popitem(last=False)
            return rows

    @cached_property
    def _sorted(self) -> list[SimObservation]:
        return [self.by_obsid[obsid] for obsid in sorted(self.by_obsid)]

    def find_products(self, obsids: Sequence[int]) -> list[tables.Row]:
        """Rows of the files of these observations; unknown numbers have none."""
        found = [self.by_obsid[obsid] for obsid in obsids if obsid in self.by_obsid]
        return [tables.product_row(item, product) for item in found for product in item.products]

    def find_file(self, uri: str) -> tuple[SimObservation, SimProduct] | None:
        """The observation and product of a data URI; None for one that the archive does not have."""
        observation = self.observations.get(uri.rpartition("/")[2].rpartition("_")[0].lower())
        products = observation.products if observation else ()
        product = next((item for item in products if item.uri == uri), None)
        return (observation, product) if observation and product else None

    def etag(self, uri: str) -> str:
        """The file's version, known before it is rendered: the same settings give the same bytes."""
        text = f"{self.settings.seed}:{self.settings.frame_px}:{uri}"
        return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'

    def render(self, observation: SimObservation, product: SimProduct) -> Future[bytes]:
        """The file's bytes, rendered once for all requests that want them at about the same time."""
        with self._lock:
            future = self._files.pop(product.uri, None)
            if future is None or (future.done() and future.exception() is not None):
                future = self._pool.submit(render_product, self.settings, observation, product)
            self._files[product.uri] = future
            while len(self._files) > KEPT_FILES:
                self._files.popitem(last=False)
            return future
