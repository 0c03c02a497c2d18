"""The rules find objects, targets and aims, always within the schema and grounded in the text."""

import json
import tomllib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from hubbleclip.captions.backends.base import SourceText
from hubbleclip.captions.backends.rules import AIM_VERBS, RULES_VERSION, Rules
from hubbleclip.captions.schema import Answer
from hubbleclip.captions.vocabulary import VOCABULARY_FILE, find_targets, read_vocabulary
from hubbleclip.captions.write import ground
from hubbleclip.core.errors import AnswerError

REAL = Path(__file__).parents[3] / "shared" / "data" / "proposals" / "abstracts.jsonl"
DWARFS = SourceText(
    abstract_sha256="0" * 64,
    title="HII regions of NGC 3664",
    abstract="Star formation in dwarf irregular galaxies is not understood. NGC 3664 has bright H II regions. We will "
    "measure the ages of the stellar populations in its shells, which will be compared with models.",
)


def answer_of(source: SourceText) -> Answer:
    return Rules().ask(source, lambda: 0).answer


def test_an_abstract_becomes_objects_phenomena_targets_and_aims() -> None:
    answer = answer_of(DWARFS)
    assert answer.objects[0] == "HII region"
    assert {"dwarf irregular galaxy", "stellar population"} <= set(answer.objects)
    assert answer.phenomena == ["star formation"]
    assert answer.target_names == ["NGC 3664"]
    assert answer.science_aims == ["measure the ages of the stellar populations in its shells"]
    assert answer.category == "Stellar Populations and the Interstellar Medium"
    assert answer.summary.startswith("HII region, ")
    assert not any("3664" in phrase for phrase in answer.search_phrases)


@pytest.mark.parametrize(
    ("title", "abstract", "given", "category"),
    [
        ("", "We observe a binary.", "SOLAR SYSTEM", "Solar System"),
        ("Calibration of colours", "A spiral galaxy beside dwarf galaxies.", None, "Calibration"),
        ("Calibration of galaxy colours", "A spiral galaxy beside dwarf galaxies.", None, "Galaxies"),
        ("Calibration of galaxy colours", "A spiral galaxy beside dwarf galaxies.", "STARS", "Stars"),
    ],
)
def test_the_archives_category_or_the_title_outweighs_few_terms_but_less_so_for_calibration(
    title: str, abstract: str, given: str | None, category: str
) -> None:
    text = SourceText(abstract_sha256="0" * 64, title=title, abstract=abstract, category=given)
    assert answer_of(text).category == category


@pytest.mark.parametrize("abstract", ["x", "We ask for time.", "???", "A" * 5000, "Ünïcödé λ ∼ 10−3 µm"])
def test_a_text_without_objects_still_gives_a_valid_answer(abstract: str) -> None:
    source = SourceText(abstract_sha256="0" * 64, title="Deep imaging, again", abstract=abstract)
    grounded = ground(answer_of(source), source.text)
    assert (grounded.answer.objects, grounded.dropped) == (["Deep imaging"], [])
    assert grounded.answer.science_aims == ["study Deep imaging"]


def test_a_text_that_names_nothing_has_no_answer() -> None:
    with pytest.raises(AnswerError, match="no_object: the text names no object"):
        answer_of(SourceText(abstract_sha256="0" * 64, abstract="??? ...", title="?"))


def test_an_answer_has_five_targets_at_most_the_most_frequent_first() -> None:
    text = "We image NGC 1, NGC 2, NGC 3, NGC 4, NGC 5 and NGC 9. NGC 9 is old."
    names = answer_of(SourceText(abstract_sha256="0" * 64, abstract=text)).target_names
    assert names == ["NGC 9", "NGC 1", "NGC 2", "NGC 3", "NGC 4"]


def test_each_name_and_designation_of_the_vocabulary_is_found_whole() -> None:
    known = read_vocabulary()
    prefixes = [prefix for prefix in known.target_prefixes if prefix not in known.target_names]
    names = [*known.target_names, *(f"{prefix} 1234" for prefix in prefixes)]
    assert {name: find_targets(f"We image {name} again") for name in names} == {name: [name] for name in names}


def made_sources() -> Iterator[SourceText]:
    """Texts of the terms of the vocabulary, with modifiers, names and clauses that state an aim or none."""
    found = tomllib.loads(VOCABULARY_FILE.read_text(encoding="utf-8"))
    words, names, verbs = found["modifiers"]["words"], found["targets"]["names"], AIM_VERBS.split("|")
    for table, step in (("objects", 5), ("phenomena", 3)):
        for category, terms in found[table].items():
            for i, term in enumerate(terms[::step]):
                title = f"{words[i]} {term}s of {names[i % len(names)]}: a survey" if i % 3 else ""
                text = (
                    f"We will {verbs[i % len(verbs)]} the {words[-i]} {words[i]} {term}s and {terms[i - 3]} in NGC {i}, which"
                    f" are old. It is hard to resolve a {term}. To {verbs[-i - 1]} {terms[-1]} and type {words[i]} {term} of the"
                    f" (a few) and, with {names[-1 - i % 9]}, to probe {'the ' * i}{terms[i - 2]} by them."
                )
                given = (None, category, category.upper(), "AGN/QUASARS", "COOL STARS")[i % 5]
                yield SourceText(abstract_sha256="0" * 64, title=title, abstract=text, category=given)


def test_changed_rules_have_a_new_version() -> None:
    """If this fails, raise RULES_VERSION, so that new texts are another caption kind, and write the new digest here."""
    digest = sha256(Rules().prompt().encode())
    for source in (DWARFS, *made_sources()):
        digest.update(answer_of(source).model_dump_json().encode())
    assert (RULES_VERSION, digest.hexdigest()[:16]) == (1, "6424325e655996eb")


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.skipif(not REAL.exists(), reason="needs the real abstracts")
def test_real_abstracts_give_valid_and_grounded_answers() -> None:
    num_named = num_dropped = 0
    for row in map(json.loads, REAL.read_text(encoding="utf-8").splitlines()):
        source = SourceText(abstract_sha256="0" * 64, abstract=row["abstract"], title=row["title"] or "")
        grounded = ground(answer_of(source), source.text)
        num_named, num_dropped = num_named + grounded.num_checked, num_dropped + len(grounded.dropped)
    assert num_named > 3000
    assert num_dropped / num_named < 0.01
