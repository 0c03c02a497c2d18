"""Recognise programmes, names, places, filters, dates and exclusions in the text that a user types into one field.

A recognised part becomes a parameter of the search; the rest stays text. A part in double quotes and a long text stay
unchanged.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from itertools import product
from typing import Any

from hubbleclip.catalog.tile_filters import FILTER_OF
from hubbleclip.core.errors import SearchError
from hubbleclip.evaluation.metrics.vocabulary import read_vocabulary
from hubbleclip.fits.instruments import CAMERAS, FILTER_NAME, camera_of
from hubbleclip.missions.base import RAMP
from hubbleclip.search.params import LISTS, ParameterError, SearchParams, as_written, checked, split_weight
from hubbleclip.search.records import GroupBy
from hubbleclip.search.sky import DECIMAL, FINE, NUMBER, POSITION, SIGNED_PAIR, SIGNS, UNSIGNED_PAIR, find_cone

MAX_WORDS, MAX_LETTERS, MAX_NAME_WORDS = 16, 300, 4
"""Maximum words and characters of a text in which parameters are recognised, and maximum words of a target name."""
TAKEN, QUOTE = "\ue000", "\ue001"
"""`TAKEN` replaces a part of a text that became a parameter.

A part that the rules must not match is stored in `_Reader.hidden`. Its index there, between two `QUOTE` characters,
replaces the part in the text.
"""
Change = dict[str, Any]
"""Search parameters that one part of a typed query sets, as a dict from name to value.

The values of a list parameter are appended to the values that other parts of the query have set.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Words and names from the catalog that help to recognise names in a typed text.

    `words` are all words of abstracts and target names. `targets` are target names in lower case without spaces and
    punctuation. `has_place` returns whether a name has a position.
    """

    words: Collection[str]
    proposals: Collection[str]
    investigators: Collection[str]
    targets: Collection[str]
    instruments: Collection[str]
    has_place: Callable[[str], bool]


def understand(params: SearchParams, known: Known) -> SearchParams:
    """Turn everything that is recognised in the texts of a search into parameters; a second call changes nothing."""
    values = params.model_dump(by_alias=True, exclude_defaults=True, include=set(SearchParams.model_fields))
    reader = _Reader(known=known, values=values, kept=set() if params.prefers_text else set(values))
    before, texts = None, params.q
    while texts != before:  # more may be recognised in the remaining text
        before, texts = texts, [rest for text in texts if (rest := reader.read(text))]
    if texts == params.q:
        return params
    if reader.values.get("proposal") != values.get("proposal") and params.group is GroupBy.PROPOSAL:
        reader.values["group"] = GroupBy.NONE  # show all tiles of the programme, not only its best one
    found = checked(SearchParams, reader.values | {"q": texts})
    return params.model_copy(update={name: getattr(found, name) for name in SearchParams.model_fields})


def stays_text(text: str) -> bool:
    """Return whether a text must stay unchanged, because it is too long or contains `TAKEN` or `QUOTE`."""
    return len(text) > MAX_LETTERS or len(text.split()) > MAX_WORDS or TAKEN in text or QUOTE in text


@dataclass(slots=True, kw_only=True)
class _Reader:
    """Reads parameters out of texts; parameters in `kept` were set before, and their values are not replaced."""

    known: Known
    values: Change
    kept: set[str]
    hidden: list[str] = field(default_factory=list)

    def read(self, written: str) -> str:
        """Read parameters out of a text, and return the rest of the text, followed by its weight, such as `^2`."""
        text, weight = split_weight(written)
        if weight <= 0 or stays_text(text):
            return written
        rest = NUMBER_SIGN.sub(r"\1 ", re.sub('"[^"]*"', lambda match: self._hide(match[0]), text))
        # Names to avoid are hidden in a first pass. In `not A and B`, `AVOIDING` matches before B only if A is hidden.
        for is_first, (pattern, read) in product((True, False), RULES):
            start = 0
            while match := pattern.search(rest if pattern is RADIUS else rest.translate(SIGNS), start):
                start, end = match.span()
                change, is_avoided = read(match, self.known), bool(AVOIDING.search(rest, 0, start))
                if change is None or (is_first and not is_avoided):
                    start = start + 1 if change is None else end
                    continue
                part = rest[start:end]
                mark = self._take(change, part) if change and not is_avoided else self._hide(part)
                rest = rest[:start] + mark + rest[end:]
                start += 1
        rest = AVOIDED.sub(self._avoid, rest)
        rest = self._plain(BESIDE.sub("", rest)) if TAKEN in rest else self._shown(rest)
        return rest + written.removeprefix(text) if rest and written != text else as_written(rest)

    def _take(self, change: Change, part: str) -> str:
        """Set parameters, and return a placeholder for `part`; if a value is invalid, set nothing and return `part`."""
        if "radius" in change and "place" not in self.values:
            return part
        if any(name in self.kept - LISTS and self.values[name] != value for name, value in change.items()):
            return self._hide('"{}"'.format(part.strip().replace('"', "″")))
        stale = set() if {"observed_from", "observed_to"}.isdisjoint(change) else {"observed_from", "observed_to"}
        if "place" in change and self.values.get("place", change["place"]) != change["place"]:
            stale = {"radius"}
        values = {name: value for name, value in self.values.items() if name not in stale - self.kept} | change
        for name in LISTS.intersection(change):
            values[name] = list(dict.fromkeys([*self.values.get(name, []), *change[name]]))
        try:
            checked(SearchParams, values)
        except ParameterError:
            return part
        self.values, self.kept = values, self.kept | set(change)
        return TAKEN

    def _avoid(self, match: re.Match[str]) -> str:
        phrase = self._plain(match["phrase"] or match["word"]).replace('"', "")
        return self._take({"not": [as_written(phrase)]}, match[0]) if phrase else match[0]

    def _hide(self, part: str) -> str:
        """Store a part that the rules must not match, and return its placeholder."""
        self.hidden.append(part)
        return f"{QUOTE}{len(self.hidden) - 1}{QUOTE}"

    def _shown(self, part: str) -> str:
        return re.sub(f"{QUOTE}(\\d+){QUOTE}", lambda match: self.hidden[int(match[1])], part)

    def _plain(self, part: str) -> str:
        return self._shown(" ".join(LONELY.sub("", part.replace(TAKEN, " ")).split()).strip(",; "))


def _named(match: re.Match[str], _: Known) -> Change | None:
    """Read a search filter written as name and value, such as `filter:F814W`; None if no filter has this name."""
    name = match[1].lower()
    return {name: match[2].split(",") if name in LISTS else match[2]} if name in FILTER_OF else None


def _radius(match: re.Match[str], _: Known) -> Change:
    unit = match["unit"].lower()
    is_arcsec = unit.startswith(("arcs", '"', "″"))
    return {"radius": float(match["size"]) * (60 if unit.startswith(("d", "°")) else 1 / 60 if is_arcsec else 1)}


def _position(match: re.Match[str], _: Known) -> Change | None:
    place = re.sub(r"\s*,\s*", " ", match[0]).strip()
    try:
        find_cone(place, None, lambda _: None)
    except SearchError:
        return None
    return None if UNIT.match(match.string, match.end()) else {"place": place}


def _cycles(match: re.Match[str], _: Known) -> Change | None:
    found = list(range(int(match[1]), int(match[2] or match[1]) + 1))
    return {"cycle": found} if found else None


def _designation(match: re.Match[str], known: Known) -> Change:
    return {"place": match[0]} if known.has_place(match[0]) else {}


def _target(match: re.Match[str], known: Known) -> Change | None:
    """Read a target name, except general words such as `star cluster`; a single word of letters must be in capitals."""
    text = match[0].lower()
    if re.sub("[^a-z0-9]", "", text) not in known.targets or (text.isalpha() and not match[0].isupper()):
        return None
    return None if _general_words().issuperset(re.findall("[a-z0-9]+", text)) else _designation(match, known) or None


def _camera(match: re.Match[str], _: Known) -> Change:
    name = re.sub(r"[\s/-]", "/", match[0].upper(), count=1)
    return {"instrument": [DETECTORS.get(match[0].upper(), name)]}


def _infrared(_: re.Match[str], known: Known) -> Change | None:
    found = sorted(name for name in known.instruments if camera_of(name).kind == RAMP)
    return {"instrument": found} if found else None


def _investigator(match: re.Match[str], known: Known) -> Change | None:
    """Read an investigator's name: its words must occur in one known name, but in no abstract and no target name."""
    words = match[0].lower().split()
    if any(word in known.words or len(word) < 3 for word in words):
        return None
    names = {name: re.findall(PERSON_WORD, name.lower()) for name in known.investigators}
    parts_of = {name: {*whole, *re.findall(r"[^\W\d_]+", name.lower())} for name, whole in names.items()}
    found = next((name for name, parts in parts_of.items() if parts.issuperset(words)), None)
    if found is None:
        return None
    family = names[found][: found.split(",")[0].count(" ") + 1] if "," in found else names[found][-1:]
    return {"pi": next((word for word in match[0].split() if word.lower() in family), match[0].split()[-1])}


def _days(text: str) -> tuple[date, date]:
    """Return the first and the last day of a year, month or day."""
    words = text.lower().split()
    parts = [words[1], MONTHS[words[0]]] if len(words) == 2 else text.split("-")
    year, month, day = (int(part) for part in [*parts, 0, 0][:3])
    last = calendar.monthrange(year, month)[1] if month else 31
    return date(year, month or 1, day or 1), date(year, month or 12, day or last)


def _dates(match: re.Match[str], _: Known) -> Change | None:
    """Read a date (day, month or year) or a range of dates. Two dates that are only joined by `and` stay text."""
    if match["and"]:
        return {}
    try:
        first, last = _days(match["first"])[0], _days(match["last"] or match["first"])[1]
    except (KeyError, ValueError):  # not a date, such as 2009-13
        return None
    change = {"observed_from": first, "observed_to": last}
    side = (match["side"] or "").lower()
    if side in ("before", "<"):
        return {"observed_to": first - timedelta(1)}
    if side in ("after", ">"):
        return {"observed_from": last + timedelta(1)}
    if side in ("until", "till", "up to", "<="):
        change.pop("observed_from")
    if side in ("since", ">=") or (side == "from" and not match["last"]):
        change.pop("observed_to")
    return change


def _programme(match: re.Match[str], known: Known) -> Change | None:
    """Read a programme number; in ambiguous forms (`AR 12345`, `HST 1234`), the number must be in the catalog."""
    words, number = set(re.findall("[a-z]+", match[0].lower())), match[1]
    is_sure = not words <= {"hst", "jwst", "ar", "id"} or (len(number) == 5 and words <= {"hst", "jwst"})
    is_known = number in known.proposals and not 1990 <= int(number) < 2040
    return {"proposal": [number]} if is_sure or is_known else None


@cache
def _general_words() -> frozenset[str]:
    """Return all words of the vocabulary of object classes, science hypotheses and example queries."""
    return frozenset(" ".join(phrase for phrases in read_vocabulary().values() for phrase in phrases).lower().split())


def _pattern(text: str, *, is_exact: bool = False) -> re.Pattern[str]:
    """Compile a pattern that matches whole words; a minus (which means `not`) may precede a word, but not a number."""
    before = r"(?<![\w.+])(?<!\S-)(?!(?<=-)\d[\d.]*(?!\w))"
    return re.compile(rf"{before}(?:{text})(?![\w{QUOTE}]|\.\w)", 0 if is_exact else re.IGNORECASE)


DETECTORS = {part: name for name in CAMERAS if len(part := name.partition("/")[2]) > 3}
CAMERA = "|".join(
    [name.replace("/", r"[\s/-]?") for name in sorted(CAMERAS, reverse=True)]
    + [name.split("/")[0] for name in CAMERAS]
    + list(DETECTORS)
)
"""Matches cameras, such as `WFC3/IR` or `WFC3 IR`, instruments, and detectors whose names have over 3 characters."""
CATALOGUES = (
    "NGC|IC|UGC|PGC|ESO|Abell|ACO|MACS|SPT-CL|HD|HIP|HR|GJ|Gliese|Mrk|Mkn|Markarian|Arp|VV|PKS|PSR|GRB|HH|LDN|Barnard|"
    "RCW|Palomar|Pal|Terzan|DDO|WASP|HAT-P|Kepler|TOI|TRAPPIST|3C|4C"
)
DESIGNATION = (
    rf"(?:{CATALOGUES})[\s-]?J?\d(?:[\w.+-]*\w)?|SN\s?\d{{4}}[a-z]{{1,4}}|AT\s?20\d\d[a-z]{{2,4}}|"
    r"(?:Messier\s?|M[\s-]?)\d{1,3}(?!\s+(?:dwarf|type|star|giant))"
)
"""Matches catalogue designations, such as `NGC 1374`, but not spectral types, such as `M5 dwarf`."""
NAME_WORD = rf"(?!-)[^\s,;{TAKEN}{QUOTE}]+"
PERSON_WORD = r"[^\W\d_]+(?:['’-][^\W\d_]+)*"
"""Matches a word of a person's name, such as `O'Neil`."""
MONTHS = {name[:size].lower(): number for number, name in enumerate(calendar.month_name) if name for size in (3, 20)}
DAY = rf"(?:(?:19|20)\d\d(?:-\d\d(?:-\d\d)?)?|(?:{'|'.join(sorted(MONTHS, reverse=True))})\s+(?:19|20)\d\d)"
DATES = (
    rf"(?:(?P<both>between)\s+|(?P<side>since|after|before|until|till|up to|from|in|[<>]=?)\s*)?(?P<first>{DAY})"
    rf"(?:\s*(?(both)(?:and|to|-)|(?:\.\.|-|to|until|(?P<and>and|&)))\s*(?P<last>{DAY}))?"
)
NUMBER_SIGN = re.compile(r"\b(program(?:me)?|proposal|GO|PID)\s+(?:no\b\.?|number)\s*(?=#?\d{4,5}\b)", re.IGNORECASE)
RADIUS = _pattern(
    rf"(?:(?:\A|(?<={TAKEN}))[\s,]*(?P<lead>within|r(?:adius)?\s*[=:]?)|within)?\s*(?P<size>{NUMBER})\s*"
    rf"(?P<unit>arcmin\w*|arcsec\w*|deg\w*|[°′″'\"])(?(lead)(?!\s+(?:of|around|from)\s)|\s+(?:of|around|from)\s+(?={TAKEN}))"
)
"""Matches a radius next to a place. Do not apply `SIGNS` to the text: `SIGNS` replaces the units °, ′ and ″."""
BARE_POSITION = re.compile(
    rf"(?:(?<=\bnear )|(?:(?<=\bat )|(?<=\baround )){FINE}|\A(?=[^a-z]*(?:within|r(?:adius)?\s*[=:])))"
    rf"(?:{UNSIGNED_PAIR}|{SIGNED_PAIR})(?![\w.])",
    re.IGNORECASE,
)
UNIT = re.compile(r"\s*(?:[cmnuµk]m|microns?|Å|[kMG]?pc|[muµ]?Jy|mag\w*|[kMG]?eV|[kMG]?Hz|%)(?!\w)")
"""Matches a unit, such as `micron`; a pair of numbers before a unit is not a position."""
RULES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], Known], Change | None]], ...] = (
    (re.compile(rf"(?<![^\s-])(?<!\S-)(?!pi=\d)(\w+)[:=](?!,)([^\s{TAKEN}{QUOTE}]+)"), _named),
    (re.compile(rf"\A{DECIMAL.pattern}\Z"), _position),
    (POSITION, _position),
    (BARE_POSITION, _position),
    (
        _pattern(r"(?:(?:HST|JWST|GO|GTO|SNAP|DD|AR|ERS|PID|ID|prop(?:osal)?|program(?:me)?)[\s:#/-]*){1,3}(\d{4,5})"),
        _programme,
    ),
    (_pattern(r"(?<!solar )(?<!duty )cycles?\s*:?\s*(\d{1,2})(?:\s*(?:-|to)\s*(\d{1,2}))?"), _cycles),
    (_pattern(DESIGNATION), _designation),
    *((_pattern(rf"{NAME_WORD}(?:\s+{NAME_WORD}){{{num - 1}}}"), _target) for num in range(MAX_NAME_WORDS, 0, -1)),
    (RADIUS, _radius),
    (_pattern(FILTER_NAME.pattern), lambda match, _: {"filter": [match[0].upper()]}),
    (_pattern(CAMERA), _camera),
    (
        re.compile(
            rf"(?:(?:\A|(?<={TAKEN}))\s*|\b(?:in|at)\s+(?:the\s+)?)(?:near[\s-])?infrared"
            rf"(?:\s+(?:images?|imaging|tiles|data|light))?\s*(?=\Z|[,{TAKEN}])",
            re.IGNORECASE,
        ),
        _infrared,
    ),
    (
        _pattern(r"(?:PI|P\.I\.)\s*:?\s+((?:(?:de|van|von|di)\s+)?(?![a-z])[^\W\d][\w'-]+)", is_exact=True),
        lambda match, _: {"pi": match[1]},
    ),
    *((_pattern(rf"{PERSON_WORD}(?:\s+{PERSON_WORD}){{{num}}}"), _investigator) for num in (1, 0)),
    (_pattern(DATES), _dates),
    (_pattern(r"\d{4,5}"), lambda match, known: {"proposal": [match[0]]} if match[0] in known.proposals else None),
)
"""Rules in the order in which they are applied; each has a pattern, and a function that converts a match to a `Change`.

The function returns None if the match means something else, and an empty dict if the match is a name that stays text.
"""
BEFORE_NAME = r"(?:(?:an?|the|any|for|near|in|at|around|of|by|with|from|within\s+\S+\s+\S+\s+of)\s+)*"
AVOIDING = re.compile(
    rf"(?:\b(?:not|no|without|except|excluding)\s+{BEFORE_NAME}(?:(?:[^\s{TAKEN},;]+\s+){{1,4}}n?or\s+|{QUOTE}\d+{QUOTE}\s+and\s+|"
    r"(?:observations?|images?|data)\s+)?"
    rf"{BEFORE_NAME}|(?<!\S)(?:-\s*|[–−]))\Z",
    re.IGNORECASE,
)
"""Matches words such as `not` at the end of the text that precedes a name to avoid."""
AVOIDED = re.compile(
    rf"(?<!\S)(?:(?:(?i:but\s+)?(?:NOT|(?i:without))|(?i:but\s+not)|(?<=,\ )not)\s+(?i:{BEFORE_NAME})"
    rf"(?P<phrase>[^{TAKEN},;]+?)(?:\s+(?i:but)(?=\s)|(?:\s+(?i:and))?(?=\s+(?:NOT|(?i:without|with|in|that|which))\s)|"
    rf"(?=\s+-[^\W\d]|[{TAKEN},;]|\Z))"
    rf"|-(?P<word>{QUOTE}\d+{QUOTE}|[^\W\d_][\w-]*))"
)
BESIDE = re.compile(
    rf"(?:(?<!\S)(?:near|in|at|around|of|by|with|from|taken|observed|images?|proposals?|the|and|or|&|/|using|through|filter|"
    rf"SDSS|2MASS)\s+)+"
    rf"(?={TAKEN})|(?<={TAKEN})\s+(?:filters?|images?|imaging|data|tiles|observations)(?=\s*(?:\Z|{TAKEN}))",
    re.IGNORECASE,
)
"""Matches words that only introduce or follow a recognised part of a text, such as `images of` and `in the`."""
LONELY = re.compile(r"\A\s*(?:and|or|&|/)(?=\s|\Z)|\s+(?:and|or|but)\s*\Z|,\s*(?=,)", re.IGNORECASE)
