"""Rank the best pictures of a search again, by the grades that a model which reads pictures gives them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from hubbleclip.captions.backends.openai_compatible import OpenAICompatible
from hubbleclip.config.settings import CaptionSettings

NUM_RANKED = 50
"""Number of best pictures that are ranked again."""


def reranked(text: str, pictures: Sequence[bytes], settings: CaptionSettings) -> list[int]:
    """Return the positions of pictures, given best first, by falling grade; equal grades keep their order."""
    client = OpenAICompatible(settings)
    with ThreadPoolExecutor(settings.connections) as pool:
        grades = list(pool.map(partial(client.judge, text), pictures))
    return sorted(range(len(pictures)), key=lambda position: -grades[position])
