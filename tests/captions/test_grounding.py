"""A phrase is grounded if the text has it in another number, spelling or synonym, and in no other case."""

import pytest

from hubbleclip.captions.grounding import ground, is_grounded
from hubbleclip.captions.schema import Answer

TEXT = (
    "We image dusty spiral galaxies and a QSO in the Large Magellanic Cloud; SNe Ia and T-Tauri stars are there, too."
)


@pytest.mark.parametrize(
    "phrase",
    [
        "spiral galaxy",
        "Spiral Galaxies",
        "quasar",
        "quasars",
        "LMC",
        "type Ia supernova",
        "T Tauri star",
        "dusty spiral galaxy",
    ],
)
def test_grounded(phrase: str) -> None:
    assert is_grounded(phrase, TEXT)


@pytest.mark.parametrize("phrase", ["elliptical galaxy", "SMC", "black hole", "galaxies spiral", "pira", "", "!"])
def test_ungrounded(phrase: str) -> None:
    assert not is_grounded(phrase, TEXT)


def test_ungrounded_names_are_dropped_and_counted_and_search_phrases_have_no_names() -> None:
    answer = Answer(
        objects=["spiral galaxy", "pulsar"],
        phenomena=["accretion"],
        science_aims=["see"],
        target_names=["LMC", "M 31"],
        category="Galaxies",
        summary="Galaxies.",
        search_phrases=["spiral galaxy", "galaxies in the LMC", "M 31 halo"],
    )
    grounded = ground(answer, TEXT)
    assert grounded.dropped == ["pulsar", "M 31"]
    assert grounded.num_checked == 4
    assert grounded.answer.objects == ["spiral galaxy"]
    assert grounded.answer.target_names == ["LMC"]
    assert grounded.answer.search_phrases == ["spiral galaxy"]
