"""What all routes of the server share: the search, the queue before it, and the uploads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from pydantic import Field
from starlette.datastructures import FormData, QueryParams

from hubbleclip.search.engine import Search
from hubbleclip.search.params import LISTS, SearchParams, TileId, make_params, split_weight
from hubbleclip.search.records import Hits
from hubbleclip.search.server.uploads import UploadStore
from hubbleclip.search.server.work_queue import WorkQueue

Result = TypeVar("Result")
MAX_K = 200


class WebParams(SearchParams):
    """A search in a URL, which has no access to the files of the server."""

    image: list[TileId] = Field([], description="Digest of an uploaded picture.")
    k: int = Field(24, ge=1, le=MAX_K, description="Hits per page.")


@dataclass(slots=True, kw_only=True)
class SearchService:
    """The search and what stands before it.

    Attributes
    ----------
    search
        The search, which follows the index.
    explain
        Function that returns the lineage of a tile.
    queue
        Queue through which every use of the search goes.
    uploads
        Uploaded pictures.

    """

    search: Search
    explain: Callable[[str], Mapping[str, Any]]
    queue: WorkQueue = field(default_factory=WorkQueue)
    uploads: UploadStore = field(default_factory=UploadStore)

    async def run(self, params: SearchParams, finish: Callable[[Hits], Result]) -> Result:
        """Run a search, and make in its thread what a route returns of the hits."""
        return await self.queue.run(lambda: finish(self.search.run(self._with_paths(params))))

    def _with_paths(self, params: SearchParams) -> SearchParams:
        """Replace the digests of uploads by the paths of their files. No other path can reach the search."""
        paths = []
        for text in params.image:
            digest, weight = split_weight(text)
            paths.append(weighted(str(self.uploads.path(digest)), weight))
        return params.model_copy(update={"image": paths})

    def close(self) -> None:
        """Stop the queue and delete the uploads."""
        self.queue.close()
        self.uploads.close()


def params_of(values: QueryParams | FormData) -> WebParams:
    """Check the parameters of a URL or a form."""
    return make_params({n: values.getlist(n) if n in LISTS else values[n] for n in values}, WebParams)


def weighted(text: str, weight: float) -> str:
    """Write a text with its weight, as `split_weight` reads it."""
    return f"{text}^{np.format_float_positional(weight, trim='-')}"
