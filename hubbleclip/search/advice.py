"""Remarks on a search: no tile at the place, a word that no abstract has, or a text that fits no tile."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import numpy as np

from hubbleclip.core.vectors import unit_vectors
from hubbleclip.evaluation.metrics.baselines import WORD
from hubbleclip.search.open_index import OpenIndex
from hubbleclip.search.params import split_weight
from hubbleclip.search.ranking import Query
from hubbleclip.search.records import Cone, Mode, Note
from hubbleclip.search.typed_queries import DESIGNATION, stays_text

NUM_SHUFFLED, CHANCE_PERCENTILE = 64, 5
"""Number of random texts, and a percentile of their best scores. A text with a lower best score fits no tile.

The best score of a text is the highest word score of a tile for this text. The percentile is low, because most words
are rare, and a single rare word gives a tile a high score.
"""
MIN_LETTERS = 5
"""Minimum number of letters of an unknown word for which a similar known word is proposed."""
MAX_PROPOSED = 3
"""Maximum number of unknown words in a text for which similar words are proposed; finding a similar word is slow."""
FOREIGN = re.compile(
    r"der|das|und|mit|ohne|eine|les|des|une|avec|sans|dans|los|las|gli|senza|uma|het|een|zonder|och"
    r"|.*[\u0400-\u1dff\u3040-\ud7ff].*"
)
"""Matches frequent words of languages other than English, and words in scripts other than Latin and Greek."""
ACCENTED = re.compile(r".*[\u00c0-\u024f].*")
"""Matches words with accented letters. One such word may be a name; a text with several counts as not English."""


def notes_on(query: Query) -> Iterator[Note]:
    """Make the remarks on a search."""
    opened, params = query.opened, query.params
    if query.cone and not query.mask_n.any():
        yield from _on_place(opened, params.filter_values()["place"], query.cone)
    for written in params.q:
        text, weight = split_weight(written)
        if weight > 0 and not stays_text(text):
            notes = list(_on_text(opened, text))
            if not notes and params.mode is not Mode.MODEL and _is_chance(opened, text):
                order = "; the model mainly decides the order" if params.mode is Mode.BOTH else ""
                notes = [Note(text=f"No tile fits well by words{order}.")]
            yield from notes


def _on_place(opened: OpenIndex, place: str, cone: Cone) -> Iterator[Note]:
    """Give the name of the tile nearest to a cone without tiles, and its distance from the centre of the cone."""
    away_n = np.linalg.norm(opened.xyz_n3 - unit_vectors(cone.ra_deg, cone.dec_deg), axis=1)
    if not np.isfinite(away_n).any():
        return
    row = int(np.nanargmin(away_n))
    away_deg = math.degrees(2 * math.asin(min(1.0, away_n[row] / 2)))
    if away_deg > cone.radius_deg:
        name = opened.facts.facts([row])[0]["target_name"] or "a tile without a name"
        text = f"No tile within {angle(cone.radius_deg)} of {place}; the nearest, {name}, is {angle(away_deg)} away."
        yield Note(text=text)


def _on_text(opened: OpenIndex, text: str) -> Iterator[Note]:
    """Remark on words that the abstracts do not have, and on texts that are not English."""
    if '"' not in text:
        for match in re.finditer(rf"(?<![\w.+-])(?:{DESIGNATION})(?!\w|\.\w)", text, re.IGNORECASE):
            yield Note(text=f"No position of {match[0]} is known, so its name is searched for as a text.")
    known, changes = opened.facts.words.words, {}
    unknown = [word for word in dict.fromkeys(re.findall(r"[^\W\d_]+", text.lower())) if word not in known]
    if any(map(FOREIGN.fullmatch, unknown)) or len(list(filter(ACCENTED.fullmatch, unknown))) > 1:
        yield Note(text="The texts of the archive and the model are English; other languages find little.")
        return
    for word in [one for one in unknown if len(one) >= MIN_LETTERS and one.isascii()][:MAX_PROPOSED]:
        if nearest := opened.facts.nearest_word(word):
            changes[word] = nearest
    if changes:
        meant = re.sub(r"[^\W\d_]+", lambda match: changes.get(match[0].lower(), match[0]), text)
        yield Note(text=f"No abstract has {', '.join(map(repr, changes))}.", asked=text, meant=meant)


def _is_chance(opened: OpenIndex, text: str) -> bool:
    """Return whether a text fits no tile: its best score is lower than the best scores of nearly all random texts."""
    num = len(WORD.findall(text.lower()))
    if num not in opened.chance:
        rng, words = np.random.default_rng(num), sorted(opened.facts.words.words)
        texts = [dict.fromkeys(rng.choice(words, num), 1.0) for _ in range(NUM_SHUFFLED)]
        best = [opened.facts.scores_of_words(one.items()).max(initial=0) for one in texts]
        opened.chance[num] = float(np.percentile(best, CHANCE_PERCENTILE))
    return bool(opened.facts.word_scores([(text, 1.0)]).max(initial=0) < opened.chance[num])


def angle(degrees: float) -> str:
    """Format an angle."""
    return f"{degrees:.1f}°" if degrees >= 1 else f"{degrees * 60:.2g}′"
