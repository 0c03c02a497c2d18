"""The prompt that asks a language model about one abstract."""

from __future__ import annotations

from hubbleclip.captions.backends.base import SourceText

PROMPT_VERSION = 3
"""Version of the prompt and of the schema that is sent with it. A test holds their digest. There is no example,
because small models copy the objects of an example into their answers.
"""

INSTRUCTIONS = """\
You read a proposal for observing time on a space telescope and describe what its images show, as one JSON object:
objects: 1 to 6 kinds of astronomical objects in the images, as short noun phrases, the most important first
phenomena: 0 to 5 physical phenomena that are studied, as short noun phrases
science_aims: 1 to 4 things that the proposal wants to measure or to find out, at most 20 words each
target_names: 0 to 5 proper names or catalogue designations of the targets, exactly as in the text
category: the science category
summary: what is observed and why, at most 40 words
search_phrases: 3 to 8 queries of at most 10 words that a person could type to find these images, without names
Use only what the text says. Name no object and no target that it does not name."""


def messages(source: SourceText) -> list[dict[str, str]]:
    """Compose the messages of a chat: instructions and the abstract."""
    title = f"Title: {source.title}\n" if source.title else ""
    return [
        {"role": "system", "content": INSTRUCTIONS},
        {"role": "user", "content": f"{title}Abstract: {source.abstract}"},
    ]
