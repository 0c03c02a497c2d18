"""What of an answer is kept: names that the text has."""

import pytest

from hubbleclip.captions.schema import Answer
from hubbleclip.captions.write import ground
from hubbleclip.core.errors import AnswerError

TEXT = (
    "We image dusty spiral galaxies and a QSO in the Large Magellanic Cloud; SNe Ia and T-Tauri stars are there, too."
)
ANSWER = {
    "objects": ["spiral galaxy", "pulsar"],
    "phenomena": ["accretion", "wind of a pulsar"],
    "science_aims": ["see"],
    "target_names": ["LMC", "M 31"],
    "category": "Galaxies",
    "summary": "Dusty galaxies in the LMC.",
    "search_phrases": ["spiral galaxy", "galaxies in the LMC", "M 31 halo", "globular cluster"],
}


def test_ungrounded_names_are_dropped_and_counted_and_search_phrases_have_no_names() -> None:
    grounded = ground(Answer(**ANSWER), TEXT)
    assert (grounded.dropped, grounded.num_checked) == (["pulsar", "M 31"], 4)
    kept = {"objects": ["spiral galaxy"], "target_names": ["LMC"], "phenomena": ["accretion"]}
    assert grounded.answer.model_dump() == ANSWER | kept | {"search_phrases": ["spiral galaxy"]}
    kept |= {"phenomena": ANSWER["phenomena"], "search_phrases": ["spiral galaxy", "globular cluster"]}
    assert ground(Answer(**ANSWER), TEXT, is_model=False).answer.model_dump() == ANSWER | kept


@pytest.mark.parametrize("summary", ["A black hole in a spiral galaxy.", "Galaxies near NGC 1300."])
def test_a_summary_of_a_model_that_names_what_the_text_lacks_is_replaced(summary: str) -> None:
    answer = Answer(**ANSWER | {"summary": summary})
    assert ground(answer, TEXT).answer.summary == "spiral galaxy, LMC"
    assert ground(answer, TEXT, is_model=False).answer.summary == summary
    with pytest.raises(AnswerError, match="names nothing that is in the title or the abstract"):
        ground(answer, "We ask for time.")
