"""The prompt that asks a language model about one abstract."""

from __future__ import annotations

import json

from hubbleclip.captions.backends.base import SourceText

PROMPT_VERSION = 1
"""Version of the prompt. Raise it with any change of the texts below; a test holds their digest."""

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

EXAMPLE_TEXT = """\
Title: Star formation in the shells of NGC 3664
Abstract: Star formation can propagate along expanding shells of gas. We will image the dwarf irregular galaxy NGC 3664
with WFPC2 and measure the ages of the star clusters on the rims of its supershells."""

EXAMPLE_ANSWER = json.dumps({
    "objects": ["dwarf irregular galaxy", "supershells", "star clusters"],
    "phenomena": ["propagating star formation"],
    "science_aims": ["measure the ages of star clusters on the rims of supershells"],
    "target_names": ["NGC 3664"],
    "category": "Galaxies",
    "summary": "Images of a dwarf irregular galaxy, to date the star clusters on the rims of its gas shells and test "
    "whether star formation propagates.",
    "search_phrases": ["dwarf irregular galaxy", "star clusters on a shell", "expanding gas shells in a galaxy"],
})  # fmt: skip


def messages(source: SourceText) -> list[dict[str, str]]:
    """Compose the messages of a chat: instructions, an example, and the abstract.

    Parameters
    ----------
    source
        The abstract.

    Returns
    -------
    list of dict
        Messages with the keys `role` and `content`, as in the OpenAI API.

    """
    title = f"Title: {source.title}\n" if source.title else ""
    return [
        {"role": "system", "content": INSTRUCTIONS},
        {"role": "user", "content": EXAMPLE_TEXT},
        {"role": "assistant", "content": EXAMPLE_ANSWER},
        {"role": "user", "content": f"{title}Abstract: {source.abstract}"},
    ]


def prompt_text() -> str:
    """Return all texts of the prompt that do not depend on the abstract.

    Returns
    -------
    str
        Instructions and example.

    """
    return "\n".join([INSTRUCTIONS, EXAMPLE_TEXT, EXAMPLE_ANSWER])
