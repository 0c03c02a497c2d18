"""Understand what astronomers type into one field: programmes, names, places, filters, dates, and what to avoid.

What is recognised becomes a parameter of the search; the rest stays text. A text in double quotes, or of more than
`MAX_WORDS` words, stays as it is.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Any

from hubbleclip.catalog.tile_filters import FILTER_OF
from hubbleclip.evaluation.metrics.vocabulary import read_vocabulary
from hubbleclip.fits.instruments import CAMERAS, FILTER_NAME, camera_of
from hubbleclip.search.params import LISTS, SearchParams, checked, split_weight
from hubbleclip.search.records import GroupBy
from hubbleclip.search.sky import DECIMAL, NUMBER, POSITION, SIGNS

MAX_WORDS, MAX_NAME_WORDS = 16, 4
"""Maximum numbers of words of a text in which anything is recognised, and of the name of a target."""
TAKEN, QUOTE = "\ue000", "\ue001"
"""Replace in a text what was recognised there, and mark the number of a quoted phrase."""
Change = dict[str, Any]
"""Values of parameters; those of a list are appended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the catalog has, by which names are recognised.

    `words` are those of all abstracts and targets, `targets` are names in lower case without spaces and punctuation,
    and `has_place` tells whether a name has a position.
    """

    words: Collection[str]
    proposals: Collection[str]
    investigators: Collection[str]
    targets: Collection[str]
    instruments: Collection[str]
    has_place: Callable[[str], bool]


def understand(params: SearchParams, known: Known) -> SearchParams:
    """Turn what is recognised in the texts of a search into parameters; understanding the result changes nothing."""
    changes: Change = {"q": [], "not": list(params.without)}
    for written in params.q:
        text, weight = split_weight(written)
        if weight <= 0 or len(text.split()) > MAX_WORDS:
            changes["q"].append(written)
            continue
        rest, avoided = _read(text, known, changes)
        changes["not"] += avoided
        changes["q"] += [rest + written.removeprefix(text)] if rest else []
    if changes == {"q": params.q, "not": params.without}:
        return params
    if "proposal" in changes and params.group is GroupBy.PROPOSAL:
        changes["group"] = GroupBy.NONE  # all tiles of the programme, not its best one
    before = params.model_dump(by_alias=True, exclude_defaults=True)
    for name, value in changes.items():
        is_more = name in LISTS and name not in ("q", "not")
        before[name] = list(dict.fromkeys([*before.get(name, []), *value])) if is_more else value
    return checked(type(params), before)


def _read(text: str, known: Known, changes: Change) -> tuple[str, list[str]]:
    """Add what is recognised in a text to `changes`; return the other words, and the texts to avoid."""
    quoted: list[str] = []
    avoided: list[str] = []

    def hide(match: re.Match[str]) -> str:
        quoted.append(match[0])
        return f"{QUOTE}{len(quoted) - 1}{QUOTE}"

    def avoid(match: re.Match[str]) -> str:
        avoided.append(shown(match["phrase"] or match["word"]).replace('"', ""))
        return TAKEN

    def shown(part: str) -> str:
        part = re.sub(f"{QUOTE}(\\d+){QUOTE}", lambda match: quoted[int(match[1])], part.replace(TAKEN, " "))
        return " ".join(LONELY.sub("", part).split()).strip(",; ")

    rest = re.sub('"[^"]*"', hide, text)
    for pattern, read in RULES:
        start = 0
        while match := pattern.search(rest, start):
            start = match.start() + 1
            change = None if AVOIDING.search(rest, 0, match.start()) else read(match, known)
            if change is None or any(name in changes and name not in LISTS for name in change):
                continue
            rest = rest[: match.start()] + TAKEN + rest[match.end() :]
            for name, value in change.items():
                changes[name] = [*changes.get(name, []), *value] if name in LISTS else value
        if pattern is RADIUS:  # the signs of an angle are also those of a position
            rest = rest.translate(SIGNS)
    rest = AVOIDED.sub(avoid, rest)
    if TAKEN not in rest:
        return text, []
    return shown(BESIDE.sub("", rest)), [one for one in avoided if one]


def _field(match: re.Match[str], _: Known) -> Change | None:
    """Read a filter that is named, such as `filter:F814W`."""
    name = match[1].lower()
    return {name: [match[2]] if name in LISTS else match[2]} if name in FILTER_OF else None


def _radius(match: re.Match[str], _: Known) -> Change:
    arcmin = {"d": 60, "°": 60, '"': 1 / 60, "″": 1 / 60, "arcs": 1 / 60}
    scale = next((value for unit, value in arcmin.items() if match["unit"].startswith(unit)), 1)
    return {"radius": float(match["size"]) * scale}


def _position(match: re.Match[str], _: Known) -> Change:
    return {"place": re.sub(r"\s*,\s*", " ", match[0]).strip()}


def _decimal(match: re.Match[str], known: Known) -> Change | None:
    is_position = abs(float(match[1])) <= 360 and abs(float(match[2])) <= 90
    return _position(match, known) if is_position else None


def _cycles(match: re.Match[str], _: Known) -> Change:
    return {"cycle": list(range(int(match[1]), int(match[2] or match[1]) + 1))}


def _designation(match: re.Match[str], known: Known) -> Change | None:
    return {"place": match[0]} if known.has_place(match[0]) else None


def _target(match: re.Match[str], known: Known) -> Change | None:
    """Read the name of a target, unless all its words are general ones, such as `star cluster`."""
    name = re.sub("[^a-z0-9]", "", match[0].lower())
    if name not in known.targets or _general_words().issuperset(re.findall("[a-z0-9]+", match[0].lower())):
        return None
    return _designation(match, known)


def _band(match: re.Match[str], _: Known) -> Change:
    return {"filter": [match[0].upper()]}


def _camera(match: re.Match[str], _: Known) -> Change:
    name = re.sub(r"[\s/-]", "/", match[0].upper(), count=1)
    return {"instrument": [DETECTORS.get(match[0].upper(), name)]}


def _infrared(_: re.Match[str], known: Known) -> Change | None:
    found = sorted(name for name in known.instruments if camera_of(name).reads_ramps)
    return {"instrument": found} if found else None


def _investigator(match: re.Match[str], known: Known) -> Change | None:
    """Read the name of an investigator; its words are those of one name, and none is a word of an abstract."""
    words = match[0].lower().split()
    if any(word in known.words or len(word) < 3 for word in words):
        return None
    names = {name: re.findall(r"[^\W\d_]+", name.lower()) for name in known.investigators}
    found = next((name for name, parts in names.items() if set(words) <= set(parts)), None)
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
    """Read a day, month or year, or a range of them."""
    try:
        first, last = _days(match["first"])[0], _days(match["last"] or match["first"])[1]
    except ValueError:  # such as 2009-13
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


def _programme(match: re.Match[str], _: Known) -> Change:
    return {"proposal": [match[1]]}


def _bare_programme(match: re.Match[str], known: Known) -> Change | None:
    return {"proposal": [match[0]]} if match[0] in known.proposals else None


@cache
def _general_words() -> frozenset[str]:
    """Return the words of the vocabulary of objects and aims."""
    return frozenset(" ".join(phrase for phrases in read_vocabulary().values() for phrase in phrases).lower().split())


def _pattern(text: str, *, is_exact: bool = False) -> re.Pattern[str]:
    """Compile a pattern that matches whole words."""
    return re.compile(rf"(?<![\w.+-])(?:{text})(?![\w{QUOTE}]|\.\w)", 0 if is_exact else re.IGNORECASE)


DETECTORS = {part: name for name in CAMERAS if len(part := name.partition("/")[2]) > 3}
CAMERA = "|".join(
    [name.replace("/", r"[\s/-]?") for name in sorted(CAMERAS, reverse=True)]
    + [name.split("/")[0] for name in CAMERAS]
    + list(DETECTORS)
)
"""Matches cameras as `WFC3/IR` or `WFC3 IR`, instruments, and the detectors whose names are long enough."""
CATALOGUES = (
    "NGC|IC|UGC|PGC|ESO|Abell|ACO|MACS|SPT-CL|HD|HIP|HR|GJ|Gliese|Mrk|Mkn|Markarian|Arp|VV|PKS|PSR|GRB|HH|LDN|Barnard|"
    "RCW|Palomar|Pal|Terzan|DDO|WASP|HAT-P|Kepler|TOI|TRAPPIST|3C|4C"
)
DESIGNATION = (
    rf"(?:{CATALOGUES})[\s-]?J?\d(?:[\w.+-]*\w)?|SN\s?\d{{4}}[a-z]{{1,4}}|AT\s?20\d\d[a-z]{{2,4}}|"
    r"(?:Messier\s?|M[\s-]?)\d{1,3}(?!\s+(?:dwarf|type|star|giant))"
)
"""Matches designations of catalogues, such as `NGC 1374`; a spectral type, such as `M5 dwarf`, is none."""
NAME_WORD = rf"[^\s,;{TAKEN}{QUOTE}]+"
MONTHS = {name[:size].lower(): number for number, name in enumerate(calendar.month_name) if name for size in (3, 20)}
DAY = rf"(?:(?:19|20)\d\d(?:-\d\d(?:-\d\d)?)?|(?:{'|'.join(sorted(MONTHS, reverse=True))})\s+(?:19|20)\d\d)"
DATES = (
    rf"(?:(?P<side>since|after|before|until|till|up to|from|between|in|[<>]=?)\s*)?(?P<first>{DAY})"
    rf"(?:\s*(?:\.\.|-|to|and|until)\s*(?P<last>{DAY}))?"
)
RADIUS = _pattern(
    rf"(?P<lead>within|r(?:adius)?\s*=?)?\s*(?P<size>{NUMBER})\s*(?P<unit>arcmin\w*|arcsec\w*|deg\w*|['\"′″°])"
    r"(?(lead)(?:\s+(?:of|around|from))?|\s+(?:of|around|from))"
)
RULES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], Known], Change | None]], ...] = (
    (re.compile(r"(?<!\S)(\w+)[:=](\S+)"), _field),
    (RADIUS, _radius),
    (re.compile(rf"\A{DECIMAL.pattern}\Z"), _decimal),
    (POSITION, _position),
    (
        _pattern(r"(?:(?:HST|JWST|GO|GTO|SNAP|DD|AR|ERS|PID|ID|prop(?:osal)?|program(?:me)?)[\s:#/-]*){1,3}(\d{4,5})"),
        _programme,
    ),
    (_pattern(r"cycles?\s*:?\s*(\d{1,2})(?:\s*(?:-|to)\s*(\d{1,2}))?"), _cycles),
    (_pattern(DESIGNATION), _designation),
    *((_pattern(rf"{NAME_WORD}(?:\s+{NAME_WORD}){{{num - 1}}}"), _target) for num in range(MAX_NAME_WORDS, 0, -1)),
    (_pattern(FILTER_NAME.pattern), _band),
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
        _pattern(r"(?:PI|P\.I\.)\s*:?\s+((?:(?:de|van|von|di)\s+)?[\w'-]+)", is_exact=True),
        lambda match, _: {"pi": match[1]},
    ),
    *((_pattern(rf"[^\W\d_]+(?:\s+[^\W\d_]+){{{num}}}"), _investigator) for num in (1, 0)),
    (_pattern(DATES), _dates),
    (_pattern(r"\d{4,5}"), _bare_programme),
)
"""What is recognised, in this order: a pattern, and a function that reads its match."""
AVOIDING = re.compile(r"(?:\bNOT|\b(?i:without)(?:\s+an?)?|(?:^|\s)-)\s*\Z")
"""Matches the end of a text after which something is to be avoided."""
AVOIDED = re.compile(
    rf"(?<!\S)(?:(?:(?i:but\s+)?(?:NOT|(?i:without))|(?i:but\s+not)|(?<=,\ )not)\s+(?:(?i:an?|the|any)\s+)?"
    rf"(?P<phrase>[^{TAKEN},;]+?)(?=\s+(?:NOT|(?i:without))\s|\s+-[^\W\d]|[{TAKEN},;]|\Z)"
    rf"|-(?P<word>{QUOTE}\d+{QUOTE}|[^\W\d_][\w-]*))"
)
BESIDE = re.compile(
    rf"(?:(?<!\S)(?:near|in|at|around|of|by|with|from|taken|observed|images?|proposals?|the|and|or|&|/|using|through|filter|"
    rf"SDSS|2MASS)\s+)+"
    rf"(?={TAKEN})|(?<={TAKEN})\s+(?:filters?|images?|imaging|data|tiles|observations)(?=\s*(?:\Z|{TAKEN}))",
    re.IGNORECASE,
)
"""Matches words that belong to what was recognised, such as `images of` and `in the`."""
LONELY = re.compile(r"\A\s*(?:and|or|&|/)\s*\Z|\s+(?:and|or|but)\s*\Z", re.IGNORECASE)
