"""The command `search`: make a query of its options, and print the hits as a table, JSON, CSV or VOTable."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hubbleclip.cli.output import print_json, print_line, print_rows
from hubbleclip.core.errors import SearchError
from hubbleclip.search.query import Cone, Filters, GroupBy, Mode, Query, Term, TermKind, hit_row

if TYPE_CHECKING:
    from hubbleclip.core.layout import Layout
    from hubbleclip.search.engine import Search


class Format(StrEnum):
    """How hits are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    VOTABLE = "votable"


SHOWN = ("tile_id", "instrument", "filter", "target_name", "title")
"""Columns of a printed table after the score."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """What is searched for besides the text, and how hits are shown."""

    like: Annotated[str, Parameter(help="Id of a tile that hits look like.")] = ""
    image: Annotated[Path | None, Parameter(help="PNG, JPEG or FITS file that hits look like.")] = None
    abstract: Annotated[str, Parameter(help="Number of a proposal whose abstract is searched for.")] = ""
    cone: Annotated[str, Parameter(help='Only tiles in a cone, "RA DEC RADIUS" in degrees; or a name or "RA DEC".')] = (
        ""
    )
    instrument: Annotated[str, Parameter(help="Only tiles of an instrument, such as WFC3/UVIS or WFC3.")] = ""
    proposal: Annotated[str, Parameter(help="Only tiles of a proposal.")] = ""
    mode: Annotated[Mode, Parameter(help="Rank by model, words or both.")] = Mode.BOTH
    group: Annotated[GroupBy, Parameter(help="Show one tile per proposal or patch of sky, or all.")] = GroupBy.PROPOSAL
    k: Annotated[int, Parameter(name=("-k", "--k"), help="Maximum number of hits.")] = 10
    format: Annotated[Format, Parameter(help="table, json, csv or votable.")] = Format.TABLE
    json: Annotated[bool, Parameter(negative=(), help="The same as --format json.")] = False

    def require_terms(self, text: str) -> None:
        """Refuse a search without a term and without a filter.

        Parameters
        ----------
        text
            Text of the command.

        Raises
        ------
        SearchError
            If nothing is searched for.

        """
        if not any((text, self.like, self.image, self.abstract, self.cone, self.instrument, self.proposal)):
            raise SearchError('nothing to search for: write `hubbleclip search "spiral galaxy"`, or see --help')

    def query(self, text: str, search: Search) -> Query:
        """Make a query.

        Parameters
        ----------
        text
            Text of the command; may be empty if there is another term or a cone.
        search
            The search, which resolves the names of targets.

        Returns
        -------
        Query
            The query.

        Raises
        ------
        SearchError
            If the cone cannot be read.

        """
        values = (
            (TermKind.TEXT, text), (TermKind.TILE, self.like), (TermKind.PROPOSAL, self.abstract),
            (TermKind.IMAGE, str(self.image) if self.image else ""),
        )  # fmt: skip
        terms = tuple(Term(kind=kind, value=value) for kind, value in values if value)
        filters = Filters(
            instruments=(self.instrument,) if self.instrument else (),
            proposals=(self.proposal,) if self.proposal else (),
            cone=parse_cone(self.cone, search) if self.cone else None,
        )
        return Query(terms=terms, filters=filters, mode=self.mode, group_by=self.group, k=self.k)

    def parameters(self, text: str) -> list[tuple[str, str]]:
        """Make the parameters of the HTTP API for the same search.

        Parameters
        ----------
        text
            Text of the command.

        Returns
        -------
        list of tuple of str
            Names and values; a picture has no parameter, because its file must be uploaded.

        """
        values = {
            "q": text, "like": self.like, "abstract_of": self.abstract, "instrument": self.instrument,
            "proposal": self.proposal, "mode": self.mode, "group": self.group, "k": str(self.k), "place": self.cone,
        }  # fmt: skip
        if self.cone and (cone := parse_numbers(self.cone)):
            values |= {"place": f"{cone.ra_deg} {cone.dec_deg}", "radius": str(60 * cone.radius_deg)}
        return [(name, value) for name, value in values.items() if value]


def parse_cone(text: str, search: Search) -> Cone:
    """Read a cone.

    Parameters
    ----------
    text
        Right ascension, declination and radius in degrees; or a position or target without a radius.
    search
        The search, which resolves the names of targets.

    Returns
    -------
    Cone
        The cone.

    Raises
    ------
    SearchError
        If the text is neither.

    """
    return parse_numbers(text) or search.resolve_target(text)


def parse_numbers(text: str) -> Cone | None:
    """Read a cone of three numbers.

    Parameters
    ----------
    text
        Right ascension, declination and radius in degrees, separated by spaces or commas.

    Returns
    -------
    Cone or None
        The cone; None if the text is something else.

    """
    try:
        ra_deg, dec_deg, radius_deg = map(float, text.replace(",", " ").split())
    except ValueError:  # a name, or a position without a radius
        return None
    return Cone(ra_deg=ra_deg, dec_deg=dec_deg, radius_deg=radius_deg)


def find_rows(layout: Layout, text: str, wanted: SearchOptions) -> list[dict[str, Any]]:
    """Search by the running server of the profile, which has its model loaded; without one, in this process.

    Parameters
    ----------
    layout
        Folders of the profile.
    text
        Text of the command.
    wanted
        What else is searched for. A picture is searched for in this process, because the server has no access to it.

    Returns
    -------
    list of dict
        Rows of `hit_row`, best first.

    Raises
    ------
    SearchError
        If nothing is searched for, or a term is unknown or unreadable.

    """
    wanted.require_terms(text)
    from hubbleclip.search.server.client import ask, find_server

    server = None if wanted.image else find_server(layout.search_server)
    if server:
        rows = ask(server, "/api/v1/search", wanted.parameters(text))["hits"]
        return [{name: value for name, value in row.items() if name not in ("page", "picture")} for row in rows]
    from hubbleclip.search.engine import Search

    engine = Search(layout)
    return [hit_row(hit) for hit in engine.run(wanted.query(text, engine)).hits]


def print_hits(rows: list[dict[str, Any]], shown_as: Format) -> None:
    """Print hits.

    Parameters
    ----------
    rows
        Rows of `hit_row`, best first.
    shown_as
        Format of the output.

    """
    if shown_as is Format.JSON:
        print_json(rows)
    elif shown_as is not Format.TABLE:
        from hubbleclip.search.export import FORMATS

        _, _, write = FORMATS[shown_as]
        sys.stdout.flush()
        sys.stdout.buffer.write(write(rows, {}))
    elif rows:
        print_rows(
            [
                {"score": f"{row['score']:.3f}"} | {name: row.get(name) for name in SHOWN} | {"more": row["num_folded"]}
                for row in rows
            ]
        )
    else:
        print_line("no tile was found")
