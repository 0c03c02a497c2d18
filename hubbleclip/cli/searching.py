"""The command `search`: make a query of its options, and print the hits as a table, JSON, CSV or VOTable."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hubbleclip.cli.output import console, print_bytes, print_json, print_line, print_rows
from hubbleclip.core.errors import SearchError
from hubbleclip.search.query import Filters, GroupBy, Mode, Query, Term, TermKind, hit_row

if TYPE_CHECKING:
    from hubbleclip.core.layout import Layout
    from hubbleclip.search.engine import Search
    from hubbleclip.search.server.registration import Registration


class Format(StrEnum):
    """How hits are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    VOTABLE = "votable"


MAX_HITS, PAGE_HITS = 10_000, 100
"""Largest number of hits, and how many of them the server is asked for at once."""
NOT_FACTS = ("page", "picture")
"""What the server says of a hit beyond the row of `hit_row`."""
SHOWN = ("tile_id", "instrument", "filter", "target_name", "title")
"""Columns of a printed table after the score."""
MEANING = "score: higher is better, comparable within one search only"
MORE = "; more: further tiles of the same {}, which --group none shows"
FOLDED = {GroupBy.PROPOSAL: "proposal", GroupBy.SKY: "field"}
"""What the column `more` counts tiles of."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """What is searched for besides the text, and how hits are shown."""

    like: Annotated[
        str, Parameter(help="Id of a tile that hits look like, or its first characters, such as 13c199.")
    ] = ""
    image: Annotated[Path | None, Parameter(help="PNG, JPEG or FITS file that hits look like, such as image.fits.")] = (
        None
    )
    abstract: Annotated[str, Parameter(help="Proposal whose abstract is searched for, such as hst:12345.")] = ""
    cone: Annotated[
        str, Parameter(help='Only tiles in a cone, such as "10.68 41.27 0.2" (degrees), or near a position or a name.')
    ] = ""
    instrument: Annotated[str, Parameter(help="Only tiles of an instrument, such as WFC3/UVIS or WFC3.")] = ""
    proposal: Annotated[str, Parameter(help="Only tiles of a proposal, such as hst:12345.")] = ""
    mode: Annotated[Mode, Parameter(help="Rank by model, words or both.")] = Mode.BOTH
    group: Annotated[GroupBy, Parameter(help="Show one tile per proposal or patch of sky, or all.")] = GroupBy.PROPOSAL
    k: Annotated[int, Parameter(name=("-k", "--k"), help="Maximum number of hits, such as 10.")] = 10
    format: Annotated[Format, Parameter(help="How the hits are printed.")] = Format.TABLE
    json: Annotated[bool, Parameter(negative=(), help="The same as --format json.")] = False

    def check(self, text: str) -> None:
        """Refuse a search without a term and without a filter, and a number of hits that no search can give."""
        if not any((text, self.like, self.image, self.abstract, self.cone, self.instrument, self.proposal)):
            raise SearchError('nothing to search for: write `hubbleclip search "spiral galaxy"`, or see --help')
        if not 1 <= self.k <= MAX_HITS:
            raise SearchError(f"give -k of at least 1 and at most {MAX_HITS:,}")

    def terms(self, text: str) -> tuple[Term, ...]:
        """List the terms of the query."""
        values = (
            (TermKind.TEXT, text),
            (TermKind.TILE, self.like),
            (TermKind.PROPOSAL, self.abstract),
            (TermKind.IMAGE, str(self.image) if self.image else ""),
        )
        return tuple(Term(kind=kind, value=value) for kind, value in values if value)

    def query(self, text: str, search: Search) -> Query:
        """Make a query for a search in this process."""
        filters = Filters(
            instruments=(self.instrument,) if self.instrument else (),
            proposals=(self.proposal,) if self.proposal else (),
            cone=search.resolve_target(self.cone) if self.cone else None,
        )
        return Query(terms=self.terms(text), filters=filters, mode=self.mode, group_by=self.group, k=self.k)

    def request(self, text: str, page: int) -> dict[str, Any]:
        """Make the body of a request to the HTTP API for one page of the same search."""
        filters = {"instrument": self.instrument, "proposal": self.proposal}
        return {name: [value] for name, value in filters.items() if value} | {
            "terms": [{"kind": term.kind, "value": term.value} for term in self.terms(text)],
            "place": self.cone,
            "mode": self.mode,
            "group": self.group,
            "k": min(self.k, PAGE_HITS),
            "page": page,
        }


def find_rows(layout: Layout, text: str, wanted: SearchOptions) -> list[dict[str, Any]]:
    """Search by the running server of the profile, which has its model loaded; without one, in this process."""
    wanted.check(text)
    from hubbleclip.search.server.client import find_server

    server = None if wanted.image else find_server(layout.search_server)
    if server:
        return ask_for_rows(server, text, wanted)
    from hubbleclip.search.ahead import embed_ahead

    ahead = embed_ahead(layout, [text] if text.strip() and wanted.mode is not Mode.WORDS and not wanted.image else [])
    from hubbleclip.search.engine import Search

    engine = Search(layout)
    if ahead:
        engine.expect(ahead)
    return [hit_row(hit) for hit in engine.run(wanted.query(text, engine)).hits]


def ask_for_rows(server: Registration, text: str, wanted: SearchOptions) -> list[dict[str, Any]]:
    """Ask a server for the hits, page by page."""
    from hubbleclip.search.server.client import ask

    rows: list[dict[str, Any]] = []
    has_more = True
    while has_more and len(rows) < wanted.k:
        answer = ask(server, "/api/v1/search", body=wanted.request(text, 1 + len(rows) // PAGE_HITS))
        rows += answer["hits"]
        has_more = answer["has_more"]
    return [{name: value for name, value in row.items() if name not in NOT_FACTS} for row in rows[: wanted.k]]


def print_hits(rows: list[dict[str, Any]], shown_as: Format, group: GroupBy) -> None:
    """Print hits."""
    if shown_as is Format.JSON:
        print_json(rows)
    elif shown_as is not Format.TABLE:
        from hubbleclip.search.export import FORMATS

        _, _, write = FORMATS[shown_as]
        print_bytes(write(rows, {}))
    elif rows:
        print_rows(
            [
                {"score": f"{row['score']:.3f}"} | {name: row.get(name) for name in SHOWN} | {"more": row["num_folded"]}
                for row in rows
            ]
        )
        if console.is_terminal:
            print_line(MEANING + (MORE.format(FOLDED[group]) if group in FOLDED else ""))
    else:
        print_line("no tile was found")
