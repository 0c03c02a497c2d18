import re
from dataclasses import replace

import numpy as np
import pytest
import valid_catalog
from hypothesis import given
from hypothesis import strategies as st

from hubbleclip.core.errors import SettingsError
from hubbleclip.core.records import Proposal
from hubbleclip.dataset.captions import clean, is_placeholder, make_captions, split_sentences, split_to_fit
from hubbleclip.dataset.sampler import CaptionSampler


def proposal(**values):
    texts = {"category": "Stellar Populations", "title": "Old\n  stars", "abstract": " We look.\n\tAt stars. "}
    return valid_catalog.make(Proposal, **texts | values)


def test_captions_come_clean_and_in_the_order_asked_for():
    captions = make_captions(proposal(), ["title", "abstract", "category_title"])
    assert list(captions.items()) == [
        ("title", "Old stars"),
        ("abstract", "We look. At stars."),
        ("category_title", "Stellar Populations: Old stars"),
    ]


@pytest.mark.parametrize("lost", [None, "", " \n ", "Abstract not available.", "---"])
def test_a_kind_without_text_is_skipped_and_a_category_need_not_be_known(lost):
    assert make_captions(proposal(category=None), ["category_title"]) == {"category_title": "Old stars"}
    assert list(make_captions(proposal(abstract=lost), ["abstract", "title"])) == ["title"]


@pytest.mark.parametrize("kind", ["haiku", "title@first"])  # texts of the archive have no writer
def test_an_unknown_kind_names_the_setting(kind):
    with pytest.raises(SettingsError, match=rf"shards\.caption_kinds.*'{kind}'.*abstract"):
        make_captions(proposal(), [kind], {"first": WRITTEN})


@given(st.text(alphabet=st.sampled_from("aB .?!\n(\"')1~")))
def test_sentences_lose_no_character(text):
    assert " ".join(split_sentences(text)) == clean(text)


WRITTEN = valid_catalog.summary(
    "a", objects=["star", "disk"], phenomena=["accretion"], search_phrases=["red star", "blue disk"], summary="A text."
)


@pytest.mark.parametrize("asked", ["", "first", "second", "third"])
def test_a_written_text_is_that_of_the_writer_that_is_asked_for(asked):
    first, other = replace(WRITTEN, writer="first"), replace(WRITTEN, writer="second", summary="Other.")
    other = replace(other, search_phrases=["other"], objects=[], phenomena=["a wind"])
    names, writer = ("summary", "phrases", "objects"), asked or "first"
    kinds = [f"{name}@{asked}" if asked else name for name in names]
    captions = make_captions(proposal(), kinds, {"": first, "first": first, "second": other})
    texts = {
        "first": ("A text.", "red star; blue disk", "star, disk, accretion"),
        "second": ("Other.", "other", "a wind"),
    }
    expected = dict(zip(names, texts[writer], strict=True)) if writer in texts else {}
    assert captions == {f"{name}@{writer}": text for name, text in expected.items()}


def test_pieces_have_as_many_sentences_and_words_as_fit():
    text = "One two. Three four. A b c d e. Late. Seven eight nine ten eleven twelve thirteen. Last one here."
    pieces = split_to_fit(text, lambda piece: len(piece.split()) <= 6)
    words = ["Seven eight nine ten eleven twelve", "thirteen. Last one here."]
    assert pieces == ["One two. Three four.", "A b c d e. Late.", *words]


@pytest.mark.parametrize(
    "text",
    re.findall(
        r"[^;]+",
        "An abstract is given above;Added and announced at the page;To be found below by content;"
        "Currently determined;Description entered in file;Follow, follows: here;"
        "The image has been made for it;Later, missing, n/a, nil, no, none;Null of text on present phase;"
        "A pending program, programme or proposal;Provided public section;Released on request;"
        "See submitted summary;Supplied;TBA, TBC, TBD, TBS: to supply;There was this title;"
        "Unavailable at this time;Undefined, unknown;Will be withheld;Not empty yet",
    ),
)
def test_texts_of_the_words_of_placeholders_are_placeholders_and_one_more_word_makes_a_text(text):
    assert is_placeholder(text)
    assert not is_placeholder(f"{text} dust")


ABBREVIATED = re.findall(
    r"\S+",
    "al approx appl av avg ca cf ch co dept dr e.g eg eq eqs esp est et etc fig figs i.e ie incl jr mr mrs ms no nos obs p pp "
    "para ph.d prof prop ref refs resp sec sect sr st tab vol vols viz vs w.r.t wrt",
)


def test_no_abbreviation_ends_a_sentence():
    for abbreviation in ABBREVIATED:
        for word in (abbreviation, abbreviation.capitalize(), f"({abbreviation}"):
            text = f"This is seen in {word}. Another three words follow."
            assert split_sentences(text) == [text]


@pytest.mark.parametrize("word", ["dust", "alb", "figure", "JR2", "3"])
def test_other_words_end_a_sentence(word):
    assert len(split_sentences(f"This is seen in {word}. Another three words follow.")) == 2


def test_a_text_that_fits_is_one_piece_as_it_is_and_a_word_that_does_not_fit_is_one_too():
    assert split_to_fit(" As  it\nis. ", lambda _: True) == [" As  it\nis. "]
    assert split_to_fit("", lambda _: False) == [""]
    assert split_to_fit("One two.", lambda _: False) == ["One", "two."]


ABSTRACT = "Alpha beta gamma delta. Epsilon zeta eta. Theta iota kappa lambda. Mu nu xi omicron pi."
CAPTIONS = [ABSTRACT, "A title"]


def caption_sampler(max_tokens: int = 8, **options) -> CaptionSampler:
    return CaptionSampler(max_tokens=max_tokens, count_tokens=lambda t: len(t.split()), **options)


KINDS = ("abstract", "title", "summary", "phrases")
FOUR = [ABSTRACT, "A title", "One short summary", "red star; blue star; two"]


def test_samples_without_a_kind_do_not_change_its_share() -> None:
    shares = {"abstract_sentences": 2.0, "summary": 1.0}
    without = ([ABSTRACT], KINDS[:1])
    alone, beside = (
        caption_sampler().with_token_shares(shares, some) for some in ([(FOUR, KINDS)], [(FOUR, KINDS), without])
    )
    assert alone.weights["summary"] == beside.weights["summary"] == pytest.approx(1 / 3)


def test_a_kind_that_no_sample_has_is_named() -> None:
    with pytest.raises(SettingsError, match="no sample has the kind 'summary': add it to shards.caption_kinds"):
        caption_sampler().with_token_shares({"summary": 1.0}, [(CAPTIONS, KINDS[:2])])


THREE = [ABSTRACT, "A title", "Another title"]


def test_only_the_tokens_that_the_model_sees_count() -> None:
    main = " ".join(["word"] * 40)
    phrases = f"{main}; one two"
    of = caption_sampler().with_token_shares(
        {"abstract": 1.0, "summary": 1.0, "phrases": 1.0}, [([main, main, phrases], ("abstract", "summary", "phrases"))]
    )
    assert of.weights == pytest.approx({"abstract": 1 / 8, "summary": 1 / 8, "phrases": 1 / 5})


def test_equal_samples_count_once_and_others_by_the_mean_of_their_tokens() -> None:
    kinds = ("abstract", "summary")
    of = caption_sampler().with_token_shares(
        {"summary": 1.0}, [([ABSTRACT, "one two"], kinds)] * 9 + [([ABSTRACT, "one two three four"], kinds)]
    )
    assert of.weights == pytest.approx({"summary": 1 / 3})


def test_without_any_of_its_kinds_a_sample_draws_sentences() -> None:
    of = caption_sampler(4, weights={"summary": 1.0})
    rng = np.random.default_rng(0)
    assert all(of.draw(rng, CAPTIONS, KINDS[:2]) in ABSTRACT.replace(". ", ".|").split("|") for _ in range(20))


SENTENCES = ["Alpha beta gamma delta.", "Epsilon zeta eta.", "Theta iota kappa lambda.", "Mu nu xi omicron pi."]


def slow_draw(numbers, captions, full, other, max_words):
    """The text of four numbers in [0, 1), with sentences as long as their words."""
    kind, first, length, which = numbers
    if kind < full:
        return captions[0]
    if len(captions) > 1 and kind < full + other:
        return captions[1:][int(which * (len(captions) - 1))]
    start = int(first * len(SENTENCES))
    possible = [
        SENTENCES[start:end]
        for end in range(start + 1, len(SENTENCES) + 1)
        if end == start + 1 or len(" ".join(SENTENCES[start:end]).split()) <= max_words
    ]
    return " ".join(possible[int(length * len(possible))])


@pytest.mark.parametrize(("full", "other"), [(0.0, 0.0), (0.2, 0.3), (0.0, 0.5), (0.5, 0.0)])
@pytest.mark.parametrize("max_words", [2, 7, 11, 40])
@pytest.mark.parametrize("captions", [THREE, THREE[:1]])
def test_draws_are_those_of_their_random_numbers(full, other, max_words, captions) -> None:
    rng, beside = np.random.default_rng(5), np.random.default_rng(5)
    of = caption_sampler(max_words, weights={"abstract": full, "others": other, "abstract_sentences": 1 - full - other})
    for _ in range(60):
        assert of.draw(rng, captions) == slow_draw(beside.random(4), captions, full, other, max_words)


def test_weights_are_ranges_of_the_first_number_in_their_order() -> None:
    weights = {"summary": 1.0, "abstract": 2.0, "none": 9.0, "title": 1.0}
    of = caption_sampler(weights=weights)
    rng, beside = np.random.default_rng(5), np.random.default_rng(5)
    for _ in range(60):
        number = beside.random(4)[0]
        expected = "One short summary" if number < 0.25 else ABSTRACT if number < 0.75 else "A title"
        assert of.draw(rng, FOUR, KINDS) == expected


def test_the_tokens_of_sentences_are_the_mean_over_their_draws() -> None:
    of = caption_sampler(11).with_token_shares({"abstract_sentences": 1.0}, [(CAPTIONS, KINDS[:2])])
    lengths = [[4, 7, 11], [3, 7], [4, 9], [5]]
    assert of.weights["abstract_sentences"] == pytest.approx(1 / np.mean([np.mean(one) for one in lengths]))


def test_only_phrases_are_parts_of_a_caption() -> None:
    captions, kinds = [ABSTRACT, "one two; three four"], ("abstract", "summary")
    of = caption_sampler().with_token_shares({"summary": 1.0}, [(captions, kinds)])
    rng = np.random.default_rng(0)
    assert {of.draw(rng, captions, kinds) for _ in range(20)} == {"one two; three four"}
    assert of.weights == pytest.approx({"summary": 1 / 4})


def test_the_main_caption_is_that_of_the_first_kind_even_if_it_is_no_abstract() -> None:
    captions, kinds = ["One short title", "one two"], ("title", "summary")
    of = caption_sampler().with_token_shares({"abstract": 1.0}, [(captions, kinds)])
    assert of.weights == pytest.approx({"abstract": 1 / 3})
    assert of.draw(np.random.default_rng(0), captions, kinds) == "One short title"
