"""The search engine, the uploads and the work queues that all routes of the server share.

A queue answers a call within a time limit, or refuses the call. The number of waiting calls is limited too.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, TypeVar

from pydantic import ConfigDict, Field
from starlette.datastructures import FormData, QueryParams

from hubbleclip.core.errors import HubbleclipError
from hubbleclip.search.engine import Search
from hubbleclip.search.params import LISTS, SearchParams, TileId, Whole, checked, split_weight
from hubbleclip.search.records import Hits
from hubbleclip.search.server.uploads import UploadStore
from hubbleclip.search.sky import ASKS, UnaskedNameError

log = logging.getLogger(__name__)
Result = TypeVar("Result")
NUM_WORKERS, MAX_WAITING, MAX_S, RETRY_AFTER_S = 2, 64, 20.0, 2
START_S = 85.0
"""Time limit of a call in seconds while the model is loading, which can be slow on a busy machine."""
REMOTE_S = 60.0
"""Time limit of a cut-out in seconds; a cut-out may need 260 requests to the archive, at 10 requests per second."""
OK, LOADING = "ok", "loading the model"
MAX_K, MAX_RECEIVING, MAX_NAMES = 200, 8, 3
"""Maximum numbers: hits per page, uploads received at the same time, and names looked up per call."""


class BusyError(HubbleclipError):
    """The server has more work than it can do in time."""


class WorkQueue:
    """Runs functions in a few threads, and limits the number of calls and the time of each call.

    Parameters
    ----------
    num_workers
        Number of threads.
    max_waiting
        Largest number of calls that wait or run.
    max_s
        Maximum time of a call in seconds, including its wait.

    Attributes
    ----------
    num_open : int
        Number of calls that wait or run now.
    max_s : float
        See `max_s` above.

    """

    def __init__(self, num_workers: int = NUM_WORKERS, max_waiting: int = MAX_WAITING, max_s: float = MAX_S) -> None:
        self.num_open = 0
        self.max_s = max_s
        self._max_waiting, self._lock = max_waiting, threading.Lock()
        self._threads = ThreadPoolExecutor(num_workers, thread_name_prefix="search")

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Run a function in a thread and wait for its result."""
        with self._lock:
            if self.num_open >= self._max_waiting:
                raise BusyError("the server is busy: try again in a few seconds")
            self.num_open += 1
        work = self._threads.submit(function, *arguments)
        work.add_done_callback(self._end)
        result = asyncio.wrap_future(work)
        done, _ = await asyncio.wait({result}, timeout=self.max_s)
        if not done:
            result.cancel()
            raise BusyError(f"the search took longer than {self.max_s:g} s: try again")
        return result.result()

    def _end(self, _: Future[Any]) -> None:
        """Count a call as ended, whether it ran or was cancelled before it began."""
        with self._lock:
            self.num_open -= 1

    def close(self) -> None:
        """Drop the calls that wait, and return without waiting for those that run."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class WebParams(SearchParams):
    """Search parameters from a request; `image` has digests, not paths: a request can use only uploaded files."""

    image: list[TileId] = Field([], description="Digest of an uploaded picture.")
    k: Whole = Field(24, ge=1, le=MAX_K, description="Hits per page.")


class PageParams(WebParams):
    """Parameters of a page URL. Unknown parameters are ignored. Filters in the text override the URL's filters."""

    model_config = ConfigDict(extra="ignore")
    prefers_text = True


@dataclass(slots=True, kw_only=True)
class SearchService:
    """The search engine, work queues and uploads that all routes use.

    Attributes
    ----------
    search
        Search engine, which notices a replaced index and opens it.
    explain
        Function that returns the lineage of a tile.
    queue
        Queue of searches, and of all calls that have no other queue.
    tables
        Queue of searches with long results, such as a cone of the whole sky.
    names
        Queue of requests to the name resolver Sesame.
    cutouts
        Queue of FITS cut-outs.
    model_state
        Text that `health` returns until the model is loaded.
    open_remote
        Function that opens a FITS file in the archive by its URI; None if cut-outs must not use the archive.
    uploads
        Uploaded pictures.
    receiving
        Limits the number of uploads that are being received.

    """

    search: Search
    explain: Callable[[str], Mapping[str, Any]]
    queue: WorkQueue = field(default_factory=WorkQueue)
    tables: WorkQueue = field(default_factory=lambda: WorkQueue(num_workers=1, max_waiting=16))
    names: WorkQueue = field(default_factory=lambda: WorkQueue(max_waiting=8))
    cutouts: WorkQueue = field(default_factory=lambda: WorkQueue(max_waiting=8, max_s=REMOTE_S))
    model_state: str = OK
    open_remote: Callable[[str], BinaryIO] | None = None
    uploads: UploadStore = field(default_factory=UploadStore)
    receiving: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_RECEIVING))

    async def run(self, function: Callable[..., Result], *arguments: Any, queue: WorkQueue | None = None) -> Result:
        """Run a function in a queue; after UnaskedNameError, ask Sesame for the position and run the function again."""
        queue = queue or self.queue
        for _ in range(MAX_NAMES):
            try:
                return await queue.run(function, *arguments)
            except UnaskedNameError as error:
                await self.names.run(self.search.sesame.ask, error.name)
        (unasked := copy_context()).run(ASKS.set, False)
        return await queue.run(unasked.run, function, *arguments)

    def load_model(self) -> None:
        """Load the model; while it is loading, the time limit of the search queue is `START_S` seconds."""
        self.model_state, self.queue.max_s = LOADING, START_S
        try:
            self.search.load_model()
            self.model_state = OK
            log.info("search: the model is loaded")
        except (HubbleclipError, OSError, RuntimeError) as error:
            log.error("search: the model cannot be loaded: %s", error)
        finally:
            self.model_state = OK if self.model_state == OK else "the model cannot be loaded"
            self.queue.max_s = MAX_S

    def health(self) -> str:
        """Return `OK`, `LOADING`, or the reason why searches fail; a damaged index is first opened again."""
        if self.search.is_damaged:
            return "a file of the index is damaged"
        return OK if self.search.has_model else self.model_state

    def answer(self, params: SearchParams, finish: Callable[[Hits], Result]) -> Result:
        """Run a search, and return `finish(hits)`; a route calls this method in a thread of a queue."""
        hits = self.search.run(self.with_paths(params))
        return finish(replace(hits, params=hits.params.model_copy(update={"image": params.image})))

    def with_paths(self, params: SearchParams) -> SearchParams:
        """Replace the digests of uploads by the paths of the uploaded files."""

        def with_path(text: str) -> str:
            digest, _ = split_weight(text)
            return f"{self.uploads.path(digest)}{text.removeprefix(digest)}"

        return params.model_copy(update={"image": list(map(with_path, params.image))})

    def close(self) -> None:
        """Stop the queues and delete the uploads."""
        for queue in (self.queue, self.tables, self.names, self.cutouts):
            queue.close()
        self.uploads.close()


def params_of(values: QueryParams | FormData, kind: type[WebParams] = PageParams) -> WebParams:
    """Check the parameters of a URL or a form."""
    return checked(kind, {n: values.getlist(n) if n in LISTS else values[n] for n in values})
