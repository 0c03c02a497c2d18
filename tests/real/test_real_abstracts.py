import json
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import pytest

from hubbleclip.config.settings import SplitSettings
from hubbleclip.core.records import Proposal
from hubbleclip.dataset.captions import clean, split_sentences
from hubbleclip.dataset.splits.near_duplicates import group_proposals, text_links

ABSTRACTS = Path(__file__).parents[2].parent / "shared/data/proposals/abstracts.jsonl"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not ABSTRACTS.is_file(), reason=f"no real abstracts at {ABSTRACTS}"),
]


def read_texts():
    return [json.loads(line)["abstract"] for line in ABSTRACTS.read_text(encoding="utf-8").splitlines()]


def test_real_abstracts_split_into_sentences_of_a_plausible_length():
    for text in read_texts():
        assert " ".join(split_sentences(text)) == clean(text)
    lengths = [len(sentence.split()) for text in read_texts() for sentence in split_sentences(text)]
    assert 18 <= median(lengths) <= 30
    assert sum(length < 4 for length in lengths) < 0.01 * len(lengths)


def test_real_abstracts_tie_only_where_their_words_are_the_same():
    texts = read_texts()
    made_at = datetime(2024, 1, 1, tzinfo=UTC)
    proposals = {
        f"r:{i:04d}": Proposal(
            proposal_id=f"r:{i:04d}", archive="r", number=str(i), cycle=None, proposal_type=None, category=None, title="t",
            pi=None, abstract=text, source="made", fetched_at=made_at,
        )
        for i, text in enumerate([*texts, texts[5] + " One more sentence."])
    }  # fmt: skip
    roots = group_proposals(proposals, text_links(proposals, SplitSettings()))
    assert roots[f"r:{len(texts):04d}"] == roots["r:0005"]
    assert len(set(roots.values())) > 0.9 * len(texts)
