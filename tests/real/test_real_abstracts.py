import json
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
from synthetic_samples import make_samples_with_pngs
from valid_catalog import make

from hubbleclip.config.settings import SplitSettings
from hubbleclip.contracts.schema import cast_rows
from hubbleclip.core.records import Proposal
from hubbleclip.dataset import verify
from hubbleclip.dataset.captions import clean, is_placeholder, split_sentences
from hubbleclip.dataset.splits.near_duplicates import group_proposals, near_duplicate_links, text_links

ABSTRACTS = Path(__file__).parents[2].parent / "shared/data/proposals/abstracts.jsonl"

pytestmark = [pytest.mark.real, pytest.mark.skipif(not ABSTRACTS.is_file(), reason=f"no real abstracts at {ABSTRACTS}")]


def read_texts():
    return [json.loads(line)["abstract"] for line in ABSTRACTS.read_text(encoding="utf-8").splitlines()]


def test_real_abstracts_split_into_sentences_of_a_plausible_length():
    for text in read_texts():
        assert " ".join(split_sentences(text)) == clean(text)
    lengths = [len(sentence.split()) for text in read_texts() for sentence in split_sentences(text)]
    assert 18 <= median(lengths) <= 30
    assert sum(length < 4 for length in lengths) < 0.01 * len(lengths)


def proposals_of(texts):
    names = [f"r:{i:04d}" for i in range(len(texts))]
    return {
        name: make(Proposal, proposal_id=name, archive="r", number=name[2:], title="t", abstract=text)
        for name, text in zip(names, texts, strict=True)
    }


def test_real_abstracts_tie_only_where_their_words_are_the_same():
    texts = read_texts()
    proposals = proposals_of([*texts, texts[5] + " One more sentence."])
    roots = group_proposals(proposals, text_links(proposals, SplitSettings()))
    assert roots[f"r:{len(texts):04d}"] == roots["r:0005"]
    assert len(set(roots.values())) > 0.9 * len(texts)


def test_changed_and_extended_real_abstracts_are_near_duplicates():
    texts = [text for text in read_texts() if len(text.split()) >= 150][:150]
    words = [text.split() for text in texts]
    changed = [" ".join(f"other{i}" if i % 25 == 12 else word for i, word in enumerate(part)) for part in words]
    extended = [" ".join(part + words[i - 1][: len(part) * 6 // 10]) for i, part in enumerate(words)]
    links = near_duplicate_links(proposals_of([*texts, *changed, *extended]), 0.7)
    found = {frozenset((int(link.one[2:]), int(link.other[2:]))) for link in links}
    num = len(texts)
    assert all({frozenset((i, num + i)), frozenset((i, 2 * num + i))} <= found for i in range(num))


def test_one_real_abstract_is_a_placeholder():
    (text,) = filter(is_placeholder, read_texts())
    assert "not present" in text


def test_the_real_near_duplicates_of_other_splits_are_leaks(monkeypatch):
    monkeypatch.setattr(verify, "MAX_NAMED", 10_000)
    texts = [text for text in read_texts() if not is_placeholder(text)]
    samples, _ = make_samples_with_pngs(len(texts), len(texts))
    rows = [replace(one, captions=[text]) for one, text in zip(samples, texts, strict=True)]
    lines = list(verify.find_leaks(cast_rows("sample", rows), SplitSettings(near_duplicate=0.7)))
    for link in near_duplicate_links(proposals_of(texts), 0.7):
        one, other = rows[int(link.one[2:])], rows[int(link.other[2:])]
        is_named = any(one.tile_id in line and other.tile_id in line for line in lines)
        assert is_named == (one.split != other.split)
    assert lines
