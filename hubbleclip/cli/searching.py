"""The command `search`: search as the options specify, and print the hits as a table, JSON, CSV or VOTable."""

from __future__ import annotations

from dataclasses import asdict, dataclass, make_dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hubbleclip.catalog.tile_filters import FILTERS, Filter
from hubbleclip.cli.output import console, print_bytes, print_cut, print_json, print_line, print_rows, print_wrapped
from hubbleclip.core.errors import SearchError
from hubbleclip.search.records import GroupBy, Mode, Sort

if TYPE_CHECKING:
    from hubbleclip.config.settings import CaptionSettings
    from hubbleclip.core.layout import Layout
    from hubbleclip.search.params import SearchParams
    from hubbleclip.search.server.running_server import RunningServer


class Format(StrEnum):
    """How hits are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    VOTABLE = "votable"


PAGE_HITS = 100
"""Number of hits per request to the server."""
NOT_FACTS = ("page", "picture")
"""Fields of a hit that the server returns but the command does not print."""
SHOWN = ("tile_id", "instrument", "filter", "target_name", "title")
"""Columns of a printed table after the score."""
SHORT_ID = 8
"""Number of characters of a tile's id on a terminal; other commands accept an id shortened to this length."""
MEANING = "score: higher is better, comparable within one search only"
MORE = "; +N: further tiles of the same {}, which --group none shows"
FOLDED = {GroupBy.PROPOSAL: "proposal", GroupBy.SKY: "field"}
"""Noun that replaces `{}` in `MORE`, by the grouping of the hits."""


def _option(one: Filter) -> tuple[str, Any, Any]:
    """Make the option of a filter: its name, type and default."""
    name = ("--cone", "--place") if one.name == "place" else f"--{one.name.replace('_', '-')}"
    kind: Any = one.kind if one.is_list or one.kind is str else one.kind | None
    kind = tuple[kind, ...] if one.is_list else kind
    negative = f"--no-{one.name}" if one.kind is bool else ()
    shown = Parameter(name, help=one.meaning, negative=negative, consume_multiple=False, show_default=False)
    return one.name, Annotated[kind, shown], () if one.is_list else one.default


FilterOptions: Any = make_dataclass("FilterOptions", map(_option, FILTERS), frozen=True, kw_only=True)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SearchOptions(FilterOptions):  # type: ignore[misc]
    """What is searched for besides the text, and how hits are shown."""

    like: str = ""
    """Find tiles that look like this tile, given by its id or the first characters of its id, such as 13c199."""
    image: Path | None = None
    """Find tiles that look like this PNG, JPEG or FITS file, such as image.fits."""
    abstract_of: Annotated[str, Parameter("--abstract")] = ""
    """Find tiles that match the abstract of this proposal, such as hst:12345."""
    without: Annotated[str, Parameter("--not")] = ""
    """Text to avoid, such as 'dust lane'."""
    radius: float = 6.0
    """Radius of --cone in arcmin, such as 30; by default 6, or larger if the target's observations extend farther."""
    selection: str = ""
    """Find only tiles of the selection with this name, such as arcs."""
    sort: Sort = Sort.SCORE
    """Order of the hits; with a text, tile or picture, only the best 1,000 tiles are sorted."""
    seed: int = 0
    """Seed of --sort random, such as 7."""
    mode: Mode = Mode.BOTH
    """Rank by model, words or both."""
    group: GroupBy = GroupBy.PROPOSAL
    """Show one tile per proposal, one per patch of sky, or all tiles."""
    rerank: bool = False
    """Re-rank the best 50 hits with captions.model, which must accept images."""
    k: Annotated[int, Parameter(("-k", "--k"))] = 10
    """Maximum number of hits, such as 10."""
    format: Format = Format.TABLE
    """How the hits are printed."""
    json: bool = False
    """The same as --format json."""

    def params(self, text: str) -> SearchParams:
        """Make the parameters of the search from the options; SearchError if neither a term nor a filter is given."""
        from hubbleclip.search.params import SearchParams, as_written, checked

        own = {"q": as_written(text.strip()), "image": as_written(str(self.image or ""))}
        params = checked(SearchParams, {n: v for n, v in asdict(self).items() if n in SearchParams.model_fields} | own)
        if not params.model_copy(update={"k": 24, "mode": Mode.BOTH, "group": GroupBy.PROPOSAL}).pairs():
            raise SearchError('nothing to search for: write `hubbleclip search "spiral galaxy"`, or see --help')
        return params


def find_rows(layout: Layout, text: str, wanted: SearchOptions) -> list[dict[str, Any]]:
    """Search with the profile's running server, which has already loaded the model, or else in this process.

    A search with --image runs in this process, because the server has no access to the file.
    """
    from hubbleclip.search.server.running_server import find_server

    if not wanted.image and (server := find_server(layout.search_server)):
        return ask_for_rows(server, wanted.params(text))
    from hubbleclip.search.embedding_process import embed_ahead

    is_embedded = wanted.mode is not Mode.WORDS and not wanted.image
    ahead = embed_ahead(layout, [one for one in (text.strip(), wanted.without) if one and is_embedded])
    from hubbleclip.search.engine import Search

    search = Search(layout)
    if ahead:
        search.expect(ahead)
    return [hit.row() for hit in search.run(wanted.params(text)).hits]


def reranked_rows(layout: Layout, text: str, wanted: SearchOptions, settings: CaptionSettings) -> list[dict[str, Any]]:
    """Search, and rank the best hits again by a model that reads pictures."""
    from hubbleclip.captions.backends.openai_compatible import NUM_RANKED, OpenAICompatible

    if not text.strip():
        raise SearchError("--rerank needs a text, with which the pictures are compared")
    client = OpenAICompatible(settings)
    rows = find_rows(layout, text, replace(wanted, k=max(wanted.k, NUM_RANKED)))
    pictures = [layout.existing_tile(row["tile_id"]).read_bytes() for row in rows[:NUM_RANKED]]
    best = [rows[position] for position in client.rank(text, pictures)]
    return [*best, *rows[NUM_RANKED:]][: wanted.k]


def ask_for_rows(server: RunningServer, params: SearchParams) -> list[dict[str, Any]]:
    """Ask a server for the hits, page by page."""
    from hubbleclip.search.server.running_server import ask

    rows: list[dict[str, Any]] = []
    has_more = True
    while has_more and len(rows) < params.k:
        page = params.model_copy(update={"k": min(params.k, PAGE_HITS), "page": 1 + len(rows) // PAGE_HITS})
        answer = ask(server, page.url("/api/v1/search", page=page.page))
        rows += answer["hits"]
        has_more = answer["has_more"]
    return [{name: value for name, value in row.items() if name not in NOT_FACTS} for row in rows[: params.k]]


def print_hits(rows: list[dict[str, Any]], shown_as: Format, group: GroupBy) -> None:
    """Print the hits of a search as a table, or in another format."""
    if shown_as is Format.JSON:
        print_json(rows)
    elif shown_as is not Format.TABLE:
        from hubbleclip.search.export import FORMATS

        _, _, write = FORMATS[shown_as]
        print_bytes(write(rows, {}))
    elif not rows:
        print_line("no tile was found")
    elif console.is_terminal:
        for row in rows:
            facts = (row.get(name) for name in ("instrument", "filter", "target_name"))
            more = f"+{row['num_folded']}" if row["num_folded"] else ""
            print_cut("  ".join(filter(None, (f"{row['score']:.3f}", row["tile_id"][:SHORT_ID], *facts, more))))
            print_cut(f"       {row.get('title') or ''}")
        print_wrapped(MEANING + (MORE.format(FOLDED[group]) if group in FOLDED else ""))
    else:
        table = [
            {"score": f"{row['score']:.3f}"} | {name: row.get(name) for name in SHOWN} | {"more": row["num_folded"]}
            for row in rows
        ]
        print_rows(table)
