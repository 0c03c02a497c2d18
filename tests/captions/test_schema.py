"""Answers outside the bounds of the schema are refused, from each backend."""

import json
import re
from typing import Any

import pytest

from hubbleclip.captions.schema import Answer, parse_answer
from hubbleclip.core.errors import AnswerError

GOOD = {
    "objects": ["spiral galaxy"],
    "phenomena": [],
    "science_aims": ["map the dust"],
    "target_names": ["NGC 1300"],
    "category": "Galaxies",
    "summary": "A barred spiral galaxy.",
    "search_phrases": ["barred spiral", "dust lanes", "spiral arms"],
}


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"objects": []}, "objects"),
        ({"objects": ["galaxy"] * 7}, "objects"),
        ({"phenomena": ["wind"] * 6}, "phenomena"),
        ({"science_aims": []}, "science_aims"),
        ({"target_names": ["M1"] * 6}, "target_names"),
        ({"category": "Astrology"}, "category"),
        ({"summary": "word " * 41}, "summary"),
        ({"search_phrases": ["one", "two"]}, "search_phrases"),
        ({"search_phrases": ["one", "two", "many words " * 6]}, "search_phrases.2"),
        ({"objects": [" "]}, "objects.0"),
        ({"mood": "good"}, "mood"),
    ],
    ids=str,
)
def test_an_answer_outside_a_bound_is_refused_with_the_place(change: dict[str, Any], place: str) -> None:
    with pytest.raises(AnswerError, match=f"invalid_answer: the answer breaks the schema at {place}"):
        parse_answer(json.dumps(GOOD | change))


@pytest.mark.parametrize("text", ["", "Sure! Here is", json.dumps(GOOD)[:-5], "[" * 100_000])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(AnswerError, match="invalid_json"):
        parse_answer(text)


def test_the_schema_bounds_the_words_of_each_text() -> None:
    fields = Answer.model_json_schema()["properties"]
    for name, most in {"objects": 10, "science_aims": 20, "summary": 40, "search_phrases": 10}.items():
        text = fields[name].get("items", fields[name])
        assert "maxLength" not in text, "llama.cpp would ignore the pattern"
        assert re.match(text["pattern"], " ".join(["é,"] * most))
        assert not re.match(text["pattern"], " ".join(["word"] * (most + 1)))
        assert not re.match(text["pattern"], "1-" * 13)


def test_control_characters_markup_and_addresses_are_taken_out_of_an_answer() -> None:
    said = "A \x1b[31mspiral</b> <script src=x>galaxy at z < 1 and > 0.5, see https://evil.example/a or me@evil.example"
    assert parse_answer(json.dumps(GOOD | {"summary": said})).summary == (
        "A [31mspiral galaxy at z < 1 and > 0.5, see or"
    )
