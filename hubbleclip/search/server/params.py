"""The parameters of a search in a URL, and the URL of a search: the same state for pages, API and exports."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from hubbleclip.core.errors import HubbleclipError
from hubbleclip.search.query import Box, Cone, Filters, GroupBy, Mode, Query, Term, TermKind
from hubbleclip.search.sky import RADIUS_DEG

MAX_K, MAX_DEPTH, MAX_TERMS, MAX_VALUES = 200, 10_000, 16, 100
WEIGHTED = re.compile(r"(.*\S)\s*\^\s*(\d+(?:\.\d+)?)", re.DOTALL)
"""Matches a text with its weight, such as `spiral galaxy^2`."""
RADIUS_ARCMIN = 60 * RADIUS_DEG
Short = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=4000)]
TileId = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{1,64}(\^\d+(\.\d+)?)?$")]
Number = Annotated[float, Field(allow_inf_nan=False)]
FindCone = Callable[[str, float | None], Cone]
"""Function that turns a place and a radius in degrees, or None, into a cone, as `Search.resolve_target` does."""


class ParameterError(HubbleclipError):
    """A parameter of a search is wrong; the message says which."""


class SearchParams(BaseModel):
    """Parameters of a search. Those that can be repeated are lists."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    q: list[Text] = Field([], description="Text to look for; `text^2` gives it the weight 2.")
    without: list[Text] = Field([], alias="not", description="Text to avoid.")
    like: list[TileId] = Field([], description="Id of a tile that hits resemble.")
    unlike: list[TileId] = Field([], description="Id of a tile that hits do not resemble.")
    abstract_of: list[Short] = Field([], description="Proposal whose abstract is the query.")
    image: list[TileId] = Field([], description="Digest of an uploaded picture.")
    mode: Mode = Field(Mode.BOTH, description="Rank by the model, by words (BM25), or by both.")
    group: GroupBy = Field(GroupBy.PROPOSAL, description="Fold hits of one proposal, or of one patch of sky.")
    k: int = Field(24, ge=1, le=MAX_K, description="Hits per page.")
    page: int = Field(1, ge=1, description="Number of the page, from 1.")
    instrument: list[Short] = Field([], description="Instrument and channel, such as WFC3/UVIS.")
    detector: list[Short] = Field([], description="Detector.")
    band: list[Short] = Field([], description="Band of wavelength.")
    proposal: list[Short] = Field([], description="Proposal, as `hst:10003` or by number.")
    split: list[Short] = Field([], description="Split of the dataset.")
    category: list[Short] = Field([], description="Science category.")
    pi: Short = Field("", description="Part of the investigator's name.")
    cycle: list[Annotated[int, Field(ge=0, le=10_000)]] = Field([], description="Observing cycle.")
    observed_from: date | None = Field(None, description="First day, as 2009-05-24.")
    observed_to: date | None = Field(None, description="Last day.")
    exposure_min: Number | None = Field(None, ge=0, description="Shortest exposure time in seconds.")
    exposure_max: Number | None = Field(None, ge=0, description="Longest exposure time in seconds.")
    scale_min: Number | None = Field(None, ge=0, description="Smallest pixel scale in arcsec.")
    scale_max: Number | None = Field(None, ge=0, description="Largest pixel scale in arcsec.")
    moving: bool | None = Field(None, description="Whether the target moves: one of the solar system.")
    place: Short = Field("", description="Position (degrees, or hours and degrees), or the name of a target.")
    radius: Number = Field(
        RADIUS_ARCMIN,
        gt=0,
        le=10_800,
        description="Radius around `place` in arcmin; the default grows with the extent of a target's observations.",
    )
    box: Short = Field("", description="ra_min,ra_max,dec_min,dec_max in degrees; ra_min > ra_max crosses RA 0.")

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, values: Any) -> Any:
        """Drop what a form sends for a field that nobody filled in."""
        if not isinstance(values, dict):
            return values
        kept = {
            name: [v for v in value if v != ""] if isinstance(value, list) else value for name, value in values.items()
        }
        return {name: value for name, value in kept.items() if value not in ("", [])}

    @field_validator("box")
    @classmethod
    def _is_box(cls, text: str) -> str:
        """Refuse a box that has not four numbers."""
        _parse_box(text)
        return text

    @model_validator(mode="after")
    def _is_bounded(self) -> SearchParams:
        """Refuse a page too deep, too many terms, and too many values of one filter."""
        if self.page * self.k > MAX_DEPTH:
            raise ValueError(f"only the first {MAX_DEPTH:,} hits can be seen: narrow the search")
        if len(list(self.terms())) > MAX_TERMS:
            raise ValueError(f"a search has at most {MAX_TERMS} terms")
        if any(isinstance(values, list) and len(values) > MAX_VALUES for _, values in self):
            raise ValueError(f"a filter has at most {MAX_VALUES} values")
        return self

    def terms(self) -> Iterator[Term]:
        """List the terms of the query."""
        lists = (
            (self.q, TermKind.TEXT, 1),
            (self.like, TermKind.TILE, 1),
            (self.image, TermKind.IMAGE, 1),
            (self.abstract_of, TermKind.PROPOSAL, 1),
            (self.without, TermKind.TEXT, -1),
            (self.unlike, TermKind.TILE, -1),
        )
        for texts, kind, sign in lists:
            for text in texts:
                match = WEIGHTED.fullmatch(text)
                value, weight = (match[1], float(match[2])) if match else (text, 1.0)
                yield Term(kind=kind, value=value, weight=sign * weight)

    def query(self, find_cone: FindCone) -> Query:
        """Return the query."""
        radius_deg = None if self.radius == RADIUS_ARCMIN else self.radius / 60
        filters = Filters(
            instruments=tuple(self.instrument),
            detectors=tuple(self.detector),
            bands=tuple(self.band),
            proposals=tuple(self.proposal),
            splits=tuple(self.split),
            categories=tuple(self.category),
            pi=self.pi or None,
            cycles=tuple(self.cycle),
            observed_from=self.observed_from,
            observed_to=self.observed_to,
            exposure_min_s=self.exposure_min,
            exposure_max_s=self.exposure_max,
            pixel_scale_min_arcsec=self.scale_min,
            pixel_scale_max_arcsec=self.scale_max,
            moving_target=self.moving,
            cone=find_cone(self.place, radius_deg) if self.place else None,
            box=_parse_box(self.box),
        )
        return Query(
            terms=tuple(self.terms()),
            filters=filters,
            mode=self.mode,
            group_by=self.group,
            k=self.k,
            offset=(self.page - 1) * self.k,
        )

    def pairs(self) -> list[tuple[str, str]]:
        """List the parameters that differ from their defaults."""
        values = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return [
            (name, _text(one))
            for name, value in values.items()
            for one in (value if isinstance(value, list) else [value])
        ]

    def url(self, path: str = "/", /, **changes: Any) -> str:
        """Return the URL of this search, or of one that differs from it."""
        text = urlencode(self.model_copy(update={"page": 1} | changes).pairs())
        return f"{path}?{text}" if text else path

    def removals(self) -> Iterator[tuple[str, str, str]]:
        """List what the search is made of, and what the search without each part would be."""
        for field, info in type(self).model_fields.items():
            value = getattr(self, field)
            if field in ("mode", "group", "k", "page", "radius") or value in (info.default, []):
                continue
            name = info.alias or field
            if isinstance(value, list):
                for one in value:
                    yield name, _text(one), self.url(**{field: [other for other in value if other != one]})
            else:
                yield name, _text(value), self.url(**{field: info.default})


def _text(value: Any) -> str:
    """Format a value for a URL: numbers in full, without trailing zeros."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _parse_box(text: str) -> Box | None:
    """Parse four numbers; None for an empty text."""
    if not text:
        return None
    parts = [float(part) for part in text.split(",")]
    if len(parts) != 4 or not (-90 <= parts[2] <= parts[3] <= 90):
        raise ValueError("a box is ra_min,ra_max,dec_min,dec_max in degrees")
    return Box(
        ra_min_deg=parts[0] % 360,
        ra_max_deg=parts[1] if parts[1] == 360 else parts[1] % 360,
        dec_min_deg=parts[2],
        dec_max_deg=parts[3],
    )
