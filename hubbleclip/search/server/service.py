"""What all routes of the server share: the engine, the queue before it, and the uploads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.datastructures import FormData, QueryParams

from hubbleclip.search.query import Hits, Query, Term, TermKind
from hubbleclip.search.server.params import ParameterError, SearchParams
from hubbleclip.search.server.protocol import Answer, SearchEngine, TileRecord
from hubbleclip.search.server.uploads import UploadStore
from hubbleclip.search.server.work_queue import WorkQueue

Result = TypeVar("Result")
LISTS = {(info.alias or name) for name, info in SearchParams.model_fields.items() if "list" in str(info.annotation)}


def no_lineage(_tile_id: str) -> Mapping[str, Any]:
    """Return an empty lineage, for an engine without a catalog."""
    return {}


@dataclass(slots=True, kw_only=True)
class Service:
    """The engine and what stands before it.

    Attributes
    ----------
    engine
        The engine, which follows the index.
    explain
        Function that returns the lineage of a tile.
    queue
        Queue through which every use of the engine goes.
    uploads
        Uploaded pictures.

    """

    engine: SearchEngine
    explain: Callable[[str], Mapping[str, Any]] = no_lineage
    queue: WorkQueue = field(default_factory=WorkQueue)
    uploads: UploadStore = field(default_factory=UploadStore)

    async def search(self, params: SearchParams) -> Hits:
        """Run the search of a URL."""
        return await self.run(lambda: params.query(self.engine.resolve_target), lambda answer: answer.hits)

    async def run(self, make_query: Callable[[], Query], finish: Callable[[Answer], Result]) -> Result:
        """Run a query, and make what a route returns of its answer."""

        def work() -> Result:
            query = make_query()
            return finish(self.engine.answer(replace(query, terms=tuple(map(self._with_path, query.terms)))))

        return await self.queue.run(work)

    async def tile(self, tile_id: str) -> TileRecord:
        """Return what is known of a tile."""
        return await self.queue.run(self.engine.tile, tile_id)

    def _with_path(self, term: Term) -> Term:
        """Replace the digest of an upload by the path of its file. No other path can reach the engine."""
        return replace(term, value=str(self.uploads.path(term.value))) if term.kind is TermKind.IMAGE else term

    def close(self) -> None:
        """Stop the queue and delete the uploads."""
        self.queue.close()
        self.uploads.close()


def params_of(values: QueryParams | FormData) -> SearchParams:
    """Validate the parameters of a URL or a form."""
    known = {name: values.getlist(name) if name in LISTS else values[name] for name in values}
    try:
        return SearchParams.model_validate(known)
    except ValidationError as error:
        raise ParameterError(first_fault(error)) from error


def first_fault(error: ValidationError) -> str:
    """Describe the first fault of a validation in one line."""
    fault = error.errors()[0]
    name = ".".join(map(str, fault["loc"]))
    message = fault["msg"].removeprefix("Value error, ")
    return f"{name}: {message}" if name else message
