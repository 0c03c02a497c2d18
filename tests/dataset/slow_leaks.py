"""A slow, obvious search for leaks: each tile is compared with each, by code that shares nothing with the splits."""

import re
import tomllib
import unicodedata
from importlib.resources import files
from itertools import combinations

from sky_cases import slow_gap_arcsec

BODIES = tomllib.loads((files("hubbleclip.dataset") / "moving_bodies.toml").read_text(encoding="utf-8"))


def runs_of_words(text):
    """All runs of five words; a shorter text is one run."""
    spaced = "".join(char if char.isalnum() else " " for char in unicodedata.normalize("NFC", text).casefold())
    words = spaced.split()
    return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))} if words else set()


def text_similarity(one, other):
    """The larger of the shared part of both texts and, if it has at least ten runs, of the shorter text."""
    a, b = sorted((runs_of_words(one), runs_of_words(other)), key=len)
    if not a:
        return 0.0
    return max(len(a & b) / len(a | b), len(a & b) / len(a) if len(a) >= 10 else 0.0)


def body_of(name):
    """Reduce a target name to one body; equal bodies get equal texts."""
    parts = "".join(char if char.isascii() and char.isalnum() else " " for char in name.upper()).split()
    for part in parts:
        if part in BODIES["major"]:
            return part
    spaced = " ".join(parts)
    code = ""
    if number := re.search(r"(?:^|\s|COMET)0*([1-9]\d{0,2}[PDI])(?!\S)", spaced):
        code = number[1]
    elif year := re.search(
        r"(?:^|\s)[ACDIPX]?\s?(1[6-9]\d\d|20\d\d)\s?([A-Z]\s?\d{1,3}|[A-Z]{2}\s?\d{0,3})(?!\S)", spaced
    ):
        code = (year[1] + year[2]).replace(" ", "")
    aliases = [
        (len(other), body, other) for body, others in BODIES["designations"].items() for other in (body, *others)
    ]
    for _, body, other in sorted(aliases, key=lambda alias: -alias[0]):
        if other == code if code else f" {other} " in f" {spaced} ":
            return body
    return code or unknown_body(parts)


def unknown_body(parts):
    """Join the words of a name that is not in the table, without generic words and without a number before a name."""
    generic = r"\b(COMET|ASTEROID|CENTAUR|TROJAN|DWARF PLANET|MINOR PLANET|NUCLEUS)\b"
    kept = re.sub(generic, " ", " ".join(parts)).split()
    if len(kept) > 1 and kept[0].isdigit() and len(kept[0]) <= 6 and re.match(r"[A-Z]{3}", kept[1]):
        kept = kept[1:]
    return "".join(kept or parts)


def show_the_same(one, other, guard_arcsec):
    """The same moving target, or nearly the same piece of sky."""
    bodies = [body_of(tile.target_name) if tile.is_moving and tile.target_name else "" for tile in (one, other)]
    if any(bodies):
        return bodies[0] == bodies[1]
    gap_arcsec = slow_gap_arcsec(one.corners_deg, other.corners_deg)
    return gap_arcsec == 0 or gap_arcsec < guard_arcsec


def pairs_of_splits(samples):
    return [(one, other) for one, other in combinations(samples, 2) if one.split != other.split]
