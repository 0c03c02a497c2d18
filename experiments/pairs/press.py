"""Read what `captions.jsonl` says about press pictures, and link pictures that show or describe the same object.

Pictures are related as proposals are in the splits of the pipeline. Linked pictures are of one press release, name a
common subject, overlap on the sky, or have near-duplicate captions. They form one group, which is never divided between
training and test.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.io import sha256_file
from hubbleclip.core.records import Proposal
from hubbleclip.core.text_cleaning import without_zeros
from hubbleclip.core.vectors import unit_vectors
from hubbleclip.dataset.captions import WORD
from hubbleclip.dataset.splits.continuations import Link
from hubbleclip.dataset.splits.near_duplicates import group_proposals, near_duplicate_links

RELEASE = re.compile(r"(.*\d)[a-z]{1,2}\d?")
"""Matches the id of a picture of a press release with several pictures: `heic0207b`, `heic0917aa`, `opo9545a1`."""
DEFAULT_RADIUS_DEG = 0.05
"""Radius of a picture on the sky whose scale is unknown; about the field of Hubble's widest camera."""
MANY = 3
"""Number of pictures of unrelated subjects that make their common caption uninformative."""
MAX_WORDS = 20
"""Number of words, apart from names and numbers, up to which a common caption is uninformative."""
UNINFORMATIVE = "uninformative_caption"
"""Reason for the rejection of a picture whose caption, apart from the name of its subject, describes several others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PressPicture:
    """What links a picture to others: its press release, the names of its subjects, and its circle on the sky.

    `subjects` are normalised names, and `subject_words` the words of all names in lower case. `circle_deg` is the right
    ascension and declination of the centre, and the radius; None if the position is unknown.
    """

    release: str
    subjects: frozenset[str]
    subject_words: frozenset[str]
    circle_deg: tuple[float, float, float] | None

    def keys(self) -> set[tuple[str, str]]:
        """Return the values that this picture has in common with related pictures."""
        return {("release", self.release)} | {("subject", name) for name in self.subjects}


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """Pictures with captions: paths of the files, proposals whose abstract is the caption, and press facts, by id."""

    files: Mapping[str, Path]
    proposals: Mapping[str, Proposal]
    press: Mapping[str, PressPicture]

    def take(self, picture_ids: set[str]) -> Folder:
        """Select pictures by id."""
        return Folder(
            files={key: self.files[key] for key in self.files if key in picture_ids},
            proposals={key: self.proposals[key] for key in self.proposals if key in picture_ids},
            press={key: self.press[key] for key in self.press if key in picture_ids},
        )


def read_press(path: Path) -> dict[str, PressPicture]:
    """Read the facts that link pictures."""
    rows = [
        json.loads(line) for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
    ]
    return {without_zeros(str(row["id"])): press_picture(row) for row in rows if row.get("id")}


def press_picture(row: Mapping[str, Any]) -> PressPicture:
    """Convert a row of `captions.jsonl` to the facts that link pictures."""
    picture_id, named = str(row["id"]), row.get("subject_name") or []
    names = [named] if isinstance(named, str) else [str(name) for name in named]
    match = RELEASE.fullmatch(picture_id)
    return PressPicture(
        release=match[1] if match else picture_id,
        subjects=frozenset(filter(None, map(normalise_subject, names))),
        subject_words=frozenset(WORD.findall(" ".join(names).lower())),
        circle_deg=_circle(row),
    )


def normalise_subject(name: str) -> str:
    """Normalise the name of a subject, so that `M 42`, `Messier 42` and `messier42` are equal."""
    return re.sub(r"^messier(?=\d)", "m", re.sub(r"[^a-z0-9+.-]", "", name.lower()))


def _circle(row: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Return the circle around a picture on the sky, in degrees; None if its position is unknown or not a number."""
    try:
        ra_deg, dec_deg = (float(value) for value in row.get("ref_value") or ())
        sides_deg = [
            float(a) * float(b) for a, b in zip(row.get("ref_dimension") or (), row.get("scale") or (), strict=True)
        ]
    except (TypeError, ValueError):
        return None
    radius_deg = math.hypot(*sides_deg) / 2 if len(sides_deg) == 2 else DEFAULT_RADIUS_DEG
    return (ra_deg, dec_deg, radius_deg) if np.isfinite([ra_deg, dec_deg, radius_deg]).all() else None


def press_links(press: Mapping[str, PressPicture], *, reasons: tuple[str, ...] = ("release", "subject")) -> list[Link]:
    """Link the pictures of one release, of one subject, or of overlapping fields on the sky."""
    first: dict[tuple[str, str], str] = {}
    links = []
    for picture_id, picture in sorted(press.items()):
        for reason, value in sorted(picture.keys()):
            other = first.setdefault((reason, value), picture_id)
            if other != picture_id and reason in reasons:
                links.append(Link(one=other, other=picture_id, reason=reason, detail=value))
    return [*links, *_sky_links(press, press)]


def _sky_links(press: Mapping[str, PressPicture], others: Mapping[str, PressPicture]) -> Iterator[Link]:
    """Link each picture of `press` to the pictures of `others` whose circles on the sky overlap with its own."""
    (ids, circles), (other_ids, other_circles) = (
        ([key for key in part if part[key].circle_deg], [one.circle_deg for one in part.values() if one.circle_deg])
        for part in (press, others)
    )
    if not ids or not other_ids:
        return
    (ra, dec, radius), (other_ra, other_dec, other_radius) = np.array(circles).T, np.array(other_circles).T
    cosine = np.clip(unit_vectors(ra, dec) @ unit_vectors(other_ra, other_dec).T, -1, 1)
    is_near = np.degrees(np.arccos(cosine)) < radius[:, None] + other_radius[None]
    for row, column in zip(*np.nonzero(is_near), strict=True):
        if ids[row] != other_ids[column]:
            yield Link(one=ids[row], other=other_ids[column], reason="sky", detail="the fields overlap")


def group_of_pictures(folder: Folder, settings: SplitSettings) -> dict[str, str]:
    """Group related pictures."""
    return group_proposals(
        folder.files, [*press_links(folder.press), *near_duplicate_links(folder.proposals, settings.near_duplicate)]
    )


def links_between(train: Folder, test: Folder, settings: SplitSettings) -> list[Link]:
    """Find the pictures of two folders that are related to each other."""
    links = []
    keys_of_test: dict[tuple[str, str], str] = {}
    for key, path in test.files.items():
        for shared in {("picture", sha256_file(path))} | test.press[key].keys():
            keys_of_test.setdefault(shared, key)
    for key, path in train.files.items():
        for reason, value in sorted({("picture", sha256_file(path))} | train.press[key].keys()):
            if (reason, value) in keys_of_test:
                links.append(Link(one=key, other=keys_of_test[reason, value], reason=reason, detail=value))
    sides = {"train ": train.proposals, "test ": test.proposals}  # both folders may have a picture of the same id
    merged = {
        side + key: replace(one, proposal_id=side + key) for side, part in sides.items() for key, one in part.items()
    }
    for link in near_duplicate_links(merged, settings.near_duplicate):
        one, other = sorted((link.one, link.other), reverse=True)  # `train ` comes first
        if one.startswith("train ") and other.startswith("test "):
            pair = one.removeprefix("train "), other.removeprefix("test ")
            links.append(Link(one=pair[0], other=pair[1], reason="text", detail=link.detail))
    sky = _sky_links({f"train {key}": one for key, one in train.press.items()}, test.press)
    return [*links, *(replace(link, one=link.one.removeprefix("train ")) for link in sky)]


def uninformative_pictures(folder: Folder) -> set[str]:
    """Find pictures whose caption says nothing about them, such as "This image is part of the Gallery of nebulae"."""
    subject_of = group_proposals(folder.files, press_links(folder.press, reasons=("subject",)))
    sharing: dict[str, set[str]] = defaultdict(set)
    for key, proposal in folder.proposals.items():
        sharing[_without_names(proposal.abstract or "", folder.press[key])].add(key)
    unknown = {key: f"release {one.release}" for key, one in folder.press.items() if not one.subjects}
    return {
        key
        for words, keys in sharing.items()
        if len(words.split()) <= MAX_WORDS and len({unknown.get(key, subject_of[key]) for key in keys}) >= MANY
        for key in keys
    }


def _without_names(caption: str, picture: PressPicture) -> str:
    """Return the words of a caption that are neither numbers nor part of the name of a subject."""
    words = WORD.findall(caption.lower())
    return " ".join(word for word in words if word.isalpha() and word not in picture.subject_words)
