"""What the server knows: an index of all observations, made when first asked for, and a few rendered files."""

from __future__ import annotations

import hashlib
import json
import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from operator import attrgetter
from typing import Any

from hubbleclip.config.settings import SimulatorSettings
from hubbleclip.simulator.server import mast_tables as tables
from hubbleclip.simulator.server import pages
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
        self._queries: OrderedDict[str, list[SimObservation]] = OrderedDict()

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

    def row(self, observation: SimObservation) -> tables.Row:
        """The observation in CAOM's columns."""
        return tables.observation_row(observation, self.proposals[observation.proposal_number])

    def find_observations(self, filters: Sequence[dict[str, Any]]) -> list[SimObservation]:
        """What meets the filters, in the order of `obsid`; the last few answers are kept for their next pages."""
        key = json.dumps(filters, sort_keys=True)
        with self._lock:
            found = self._queries.get(key)
            if found is None:
                is_wanted = tables.matcher(filters)
                found = [item for item in self._released(*tables.release_span(filters)) if is_wanted(self.row(item))]
                found.sort(key=attrgetter("obsid"))
                self._queries[key] = found
                while len(self._queries) > KEPT_QUERIES:
                    self._queries.popitem(last=False)
            return found

    def _released(self, first_mjd: float, last_mjd: float) -> list[SimObservation]:
        """Observations released between these two, both counted in."""
        released = attrgetter("released_mjd")
        start = bisect_left(self._by_release, first_mjd, key=released)
        return self._by_release[start : bisect_right(self._by_release, last_mjd, key=released)]

    @cached_property
    def _by_release(self) -> list[SimObservation]:
        return sorted(self.observations.values(), key=attrgetter("released_mjd"))

    def find_products(self, obsids: Sequence[int]) -> list[tuple[SimObservation, SimProduct]]:
        """The files of these observations; unknown numbers have none."""
        found = [self.by_obsid[obsid] for obsid in obsids if obsid in self.by_obsid]
        return [(item, product) for item in found for product in item.products]

    def find_file(self, uri: str) -> tuple[SimObservation, SimProduct] | None:
        """The observation and product of a data URI; None for one that the archive does not have."""
        observation = self.observations.get(uri.rpartition("/")[2].rpartition("_")[0].lower())
        products = observation.products if observation else ()
        product = next((item for item in products if item.uri == uri), None)
        return (observation, product) if observation and product else None

    def etag(self, observation: SimObservation, product: SimProduct) -> str:
        """The file's version, known before it is rendered: the same settings give the same bytes."""
        text = f"{self.settings.seed}:{self.settings.frame_px}:{product.uri}"
        if observation.version:
            text += f":{observation.version}"
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
