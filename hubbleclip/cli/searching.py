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
from hubbleclip.search.query import Cone, Filters, GroupBy, Hit, Hits, Mode, Query, Term, TermKind

if TYPE_CHECKING:
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
            If nothing is searched for, or the cone cannot be read.

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
        if not terms and filters == Filters():
            raise SearchError('nothing to search for: write `hubbleclip search "spiral galaxy"`, or see --help')
        return Query(terms=terms, filters=filters, mode=self.mode, group_by=self.group, k=self.k)


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
    parts = text.replace(",", " ").split()
    if len(parts) == 3:
        try:
            ra_deg, dec_deg, radius_deg = map(float, parts)
        except ValueError:
            pass  # a name of three words
        else:
            return Cone(ra_deg=ra_deg, dec_deg=dec_deg, radius_deg=radius_deg)
    return search.resolve_target(text)


def print_hits(hits: Hits, root: Path, shown_as: Format) -> None:
    """Print hits.

    Parameters
    ----------
    hits
        Hits, best first.
    root
        Folder of the profile, for the paths of the pictures.
    shown_as
        Format of the output.

    """
    if shown_as is Format.JSON:
        print_json([hit_row(hit) for hit in hits.hits])
    elif shown_as is Format.TABLE:
        if not hits.hits:
            print_line("no tile was found")
            return
        print_rows(
            [
                {"score": f"{hit.score:.3f}"} | {name: hit_row(hit)[name] for name in SHOWN} | {"more": hit.num_folded}
                for hit in hits.hits
            ]
        )
    else:
        from hubbleclip.core.layout import Layout
        from hubbleclip.search.tables import hit_table

        astropy_format = {Format.CSV: "ascii.csv", Format.VOTABLE: "votable"}[shown_as]
        out: Any = sys.stdout if shown_as is Format.CSV else sys.stdout.buffer
        hit_table(hits, Layout(root)).write(out, format=astropy_format)


def hit_row(hit: Hit) -> dict[str, Any]:
    """Make one flat row of a hit.

    Parameters
    ----------
    hit
        A hit.

    Returns
    -------
    dict
        Id, score, ranks, number of folded tiles, and the facts.

    """
    names = ("tile_id", "score", "model_rank", "words_rank", "num_folded")
    return {name: getattr(hit, name) for name in names} | hit.facts
