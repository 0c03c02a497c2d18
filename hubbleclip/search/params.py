"""Parameters of a search, also as a URL. Pages, API, command line, agents and Python use the same parameters."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, TypeVar
from urllib.parse import urlencode

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from hubbleclip.catalog.tile_filters import FILTERS, Filter
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.search.records import GroupBy, Mode, Sort, Term, TermKind
from hubbleclip.search.sky import RADIUS_DEG

MAX_DEPTH, MAX_TERMS, MAX_VALUES = 10_000, 16, 100
"""Maximum numbers of hits (on all pages together), of terms, and of values of a filter. They limit time and memory."""
WEIGHTED = re.compile(r"(.*\S)\s*\^\s*(-?\d+(?:\.\d+)?)", re.DOTALL)
"""Matches a text with its weight, such as `spiral galaxy^2` or `bar^-0.5`."""
MAX_WEIGHT = 100.0
RADIUS_ARCMIN = 60 * RADIUS_DEG


def _day(value: Any) -> Any:
    """Refuse a day that is not written as 2009-05-24, because pydantic would read a year as seconds since 1970."""
    if not isinstance(value, date) and not re.fullmatch(r"\d{4}-\d\d-\d\d", value := str(value).strip()):
        raise ValueError("write a day as 2009-05-24")
    return value


def _flag(value: Any, info: ValidationInfo) -> Any:
    """Refuse numbers in place of true and false; in JSON, refuse texts too."""
    if isinstance(value, int | float if info.mode == "python" else int | float | str) and not isinstance(value, bool):
        raise ValueError("write true or false")
    return value


def _number(value: Any, info: ValidationInfo) -> Any:
    """Refuse texts and truth values in place of a number in JSON."""
    if info.mode == "json" and isinstance(value, str | bool):
        raise ValueError("write a number")
    return value


Short = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=4000)]
TileId = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{1,64}(\^-?\d+(\.\d+)?)?$")]
Number = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(_number)]
Whole = Annotated[int, BeforeValidator(_number)]
TYPES: dict[type, Any] = {
    str: Short,
    int: Annotated[Whole, Field(ge=0, le=10_000)],
    float: Number,
    bool: Annotated[bool, BeforeValidator(_flag)],
    date: Annotated[date, BeforeValidator(_day)],
}


class ParameterError(HubbleclipError):
    """A parameter of a search is wrong; the message names the parameter."""


class SearchTerms(BaseModel):
    """What is searched for, and which page is shown. Parameters that can be repeated are lists."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)
    prefers_text: ClassVar[bool] = False
    """Whether a filter typed in a text overrides the parameter of this filter. List parameters are extended."""
    is_strict: ClassVar[bool] = False
    """Whether empty values are errors (except for parameters in `TEXTS`). If false, empty values are ignored."""

    q: list[Text] = Field([], description="Text to look for; `text^2` gives it the weight 2.")
    without: list[Text] = Field([], alias="not", description="Text to avoid.")
    like: list[TileId] = Field([], description="Id of a tile that hits resemble.")
    unlike: list[TileId] = Field([], description="Id of a tile that hits do not resemble.")
    abstract_of: list[Short] = Field([], description="Proposal whose abstract is the query.")
    image: list[str] = Field([], description="PNG, JPEG or FITS file that hits resemble.")
    selection: Short = Field("", description="Name of a selection; only its tiles are found.")
    mode: Mode = Field(Mode.BOTH, description="Rank by the model, by words (BM25), or by both.")
    group: GroupBy = Field(GroupBy.PROPOSAL, description="Show one hit per proposal, or per patch of sky.")
    sort: Sort = Field(Sort.SCORE, description="Order of hits; with a text, picture or tile, only of the best 1,000.")
    seed: Whole = Field(0, ge=0, le=2**31, description="Seed of the order `random`.")
    k: Whole = Field(24, ge=1, le=MAX_DEPTH, description="Hits per page.")
    page: Whole = Field(1, ge=1, description="Number of the page, from 1.")
    radius: Number = Field(
        RADIUS_ARCMIN,
        gt=0,
        le=10_800,
        description="Radius around `place` in arcmin; the default grows with the extent of a target's observations.",
    )


def _field(one: Filter) -> Any:
    """Return the type of a filter's parameter, and its default."""
    kind: Any = TYPES.get(one.kind, one.kind)
    unset = one.default is None
    return list[kind] if one.is_list else kind | None if unset else kind, Field(one.default, description=one.meaning)


_WithFilters: Any = create_model(
    "_WithFilters",
    __base__=SearchTerms,
    __cls_kwargs__={"extra": "forbid"},
    **{one.name: _field(one) for one in FILTERS},
)


LISTS: set[str] = {
    name
    for field, info in _WithFilters.model_fields.items()
    if info.default == []
    for name in (field, info.alias or field)
}
"""Names of the parameters that can be repeated."""


TEXTS = {"q", "not", "without", "abstract_of", "selection"} | {one.name for one in FILTERS if one.kind is str}
"""Names of the parameters that may be empty even if `is_strict` is true."""
NAMES = sorted({info.alias or field for field, info in _WithFilters.model_fields.items()} | {"format"})
"""Names of all parameters; the error for an unknown name proposes the most similar name."""


class SearchParams(_WithFilters):
    """A search: terms, filters and a page. Without terms, it finds all tiles that the filters admit, in fixed order."""

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, values: Any) -> Any:
        """Remove the empty fields of a form, and put the single value of a repeatable parameter into a list."""
        if not isinstance(values, dict):
            return values

        def is_given(name: str, value: Any) -> bool:
            return value not in ("", None) or (cls.is_strict and (value is None or name not in TEXTS))

        kept = {}
        for name, value in values.items():
            is_list = name in LISTS and (isinstance(value, list | tuple) or not cls.is_strict)
            if is_list:
                several = value if isinstance(value, list | tuple) else [value]
                kept[name] = [one for one in several if is_given(name, one)]
            elif name in LISTS or is_given(name, value):
                kept[name] = value
        return kept

    @field_validator("box")
    @classmethod
    def _is_box(cls, text: str) -> str:
        """Refuse a box that does not consist of four valid numbers."""
        if text:
            _parse_box(text)
        return text

    @model_validator(mode="after")
    def _is_bounded(self) -> SearchParams:
        """Refuse a page beyond `MAX_DEPTH` hits, too many terms or filter values, a wrong weight, or an empty range."""
        if self.page * self.k > MAX_DEPTH:
            raise ValueError(f"only the first {MAX_DEPTH:,} hits can be seen: narrow the search")
        terms = list(self.terms())
        if len(terms) > MAX_TERMS:
            raise ValueError(f"a search has at most {MAX_TERMS} terms")
        if any(abs(term.weight) > MAX_WEIGHT for term in terms):
            raise ValueError(
                f"a weight is from -{MAX_WEIGHT:g} to {MAX_WEIGHT:g}: write text^2, or text^2^1 if the text ends in ^2"
            )
        for lower in ("exposure_s_min", "pixel_scale_arcsec_min", "observed_from"):
            low, high = getattr(self, lower), getattr(self, lower.replace("_min", "_max").replace("_from", "_to"))
            if None not in (low, high) and low > high:
                raise ValueError(f"{lower} {_text(low)} is above the upper limit {_text(high)}: no tile can fit")
        if any(isinstance(values, list) and len(values) > MAX_VALUES for _, values in self):
            raise ValueError(f"a filter has at most {MAX_VALUES} values")
        return self

    @property
    def offset(self) -> int:
        """Number of hits on the previous pages."""
        return int((self.page - 1) * self.k)

    def terms(self) -> Iterator[Term]:
        """List the terms."""
        lists: tuple[tuple[list[str], TermKind, int], ...] = (
            (self.q, "text", 1),
            (self.like, "tile", 1),
            (self.image, "image", 1),
            (self.abstract_of, "proposal", 1),
            (self.without, "text", -1),
            (self.unlike, "tile", -1),
        )
        for texts, kind, sign in lists:
            for text in texts:
                value, weight = split_weight(text)
                yield Term(kind=kind, value=value, weight=sign * weight)

    @property
    def radius_deg(self) -> float | None:
        """Radius (deg) around the place; None for the default radius, which grows with the extent of a target."""
        return None if self.radius == RADIUS_ARCMIN else self.radius / 60

    def filter_values(self) -> dict[str, Any]:
        """Return the filters that are set, as arguments of `TileFacts.admitted`. The place is a text, not a dict."""
        values = {one.name: value for one in FILTERS if (value := getattr(self, one.name)) not in ("", [], None)}
        for one in FILTERS:
            if one.name in values and one.is_list and one.kind is str:
                values[one.name] = [text.upper() for text in values[one.name]]
        if "box" in values:
            values["box"] = _parse_box(values["box"])
        return values

    def pairs(self) -> list[tuple[str, str]]:
        """List name and value of each non-default parameter; the seed is listed only if the order is random."""
        values = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return [
            (name, _text(one))
            for name, value in values.items()
            if name != "seed" or self.sort is Sort.RANDOM
            for one in (value if isinstance(value, list) else [value])
        ]

    def lists(self) -> dict[str, list[str]]:
        """Return the parameters that differ from their defaults, each with its values."""
        found: dict[str, list[str]] = {}
        for name, value in self.pairs():
            found.setdefault(name, []).append(value)
        return found

    def url(self, path: str = "/", /, **changes: Any) -> str:
        """Return the URL of this search with the given changes; the page is 1 unless `page` is given."""
        text = urlencode(self.model_copy(update={"page": 1} | changes).pairs())
        return f"{path}?{text}" if text else path

    def removals(self) -> Iterator[tuple[str, str, str]]:
        """List the terms and filters of this search: name, value, and the URL of the search without this value."""
        for field, info in type(self).model_fields.items():
            value = getattr(self, field)
            if field in ("mode", "group", "sort", "seed", "k", "page", "radius") or value in (info.default, []):
                continue
            name = info.alias or field
            if isinstance(value, list):
                for one in value:
                    yield name, _text(one), self.url(**{field: [other for other in value if other != one]})
            else:
                order = Sort.SCORE if field == "place" and self.sort is Sort.DISTANCE else self.sort
                radius = RADIUS_ARCMIN if field == "place" else self.radius
                yield name, _text(value), self.url(**{field: info.default, "sort": order, "radius": radius})


Model = TypeVar("Model", bound=BaseModel)


def checked(kind: type[Model], values: Mapping[str, Any]) -> Model:
    """Check parameters; raises ParameterError with a one-line message that names the first wrong parameter."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise ParameterError(first_fault(error.errors())) from error


def first_fault(faults: Sequence[Any]) -> str:
    """Describe the first fault of a validation in one line."""
    path = [str(part) for part in faults[0]["loc"] if part not in ("query", "body")]
    name, message = ".".join(path), str(faults[0]["msg"]).removeprefix("Value error, ")
    if faults[0]["type"] == "extra_forbidden":
        message = no_parameter(path[-1])
    return f"{name}: {message}" if name else message


def no_parameter(name: str) -> str:
    """Write the error message for an unknown parameter `name`, which proposes the most similar known name."""
    nearest = [] if name in NAMES else get_close_matches(name, NAMES, n=1, cutoff=0.4)
    return "there is no such parameter" + (f": do you mean `{nearest[0]}`?" if nearest else "")


def split_weight(text: str) -> tuple[str, float]:
    """Split `text^2` into the text and its weight; a text without a weight gets the weight 1."""
    match = WEIGHTED.fullmatch(text)
    return (match[1], float(match[2])) if match else (text, 1.0)


def as_written(text: str) -> str:
    """Write a text as a parameter. The text `10^5` becomes `10^5^1`, so that `^5` is not read as a weight."""
    return f"{text}^1" if isinstance(text, str) and WEIGHTED.fullmatch(text) else text


def _text(value: Any) -> str:
    """Format a value for a URL; a float has up to 15 significant digits, without trailing zeros."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _parse_box(text: str) -> dict[str, float]:
    """Parse a box, which is four numbers, into the values that the SQL of the filter `box` needs."""
    try:
        parts = [float(part) for part in text.split(",")]
    except ValueError:
        parts = []
    if len(parts) != 4 or not all(map(math.isfinite, parts)) or not (-90 <= parts[2] <= parts[3] <= 90):
        raise ValueError("a box is ra_min,ra_max,dec_min,dec_max in degrees")
    west, east = (0.0, 360.0) if parts[1] - parts[0] >= 360 else (parts[0] % 360, parts[1])
    east = east if east == 360 else east % 360
    return {"ra_min": west, "ra_max": east, "dec_min": parts[2], "dec_max": parts[3]}
