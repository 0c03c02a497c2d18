from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubbleclip.core.errors import SettingsError
from hubbleclip.core.records import Proposal
from hubbleclip.dataset.captions import CAPTION_KINDS, clean, make_captions, split_sentences


def proposal(**values):
    base = {
        "proposal_id": "hst:1", "archive": "hst", "number": "1", "cycle": 1, "proposal_type": "GO",
        "category": "Stellar Populations", "title": "Old\n  stars", "pi": "A", "abstract": " We look.\n\tAt stars. ",
        "source": "made", "fetched_at": datetime(2024, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    return Proposal(**base | values)


def test_captions_come_clean_and_in_the_order_asked_for():
    captions = make_captions(proposal(), ["title", "abstract", "category_title"])
    assert [(c.kind, c.text) for c in captions] == [
        ("title", "Old stars"),
        ("abstract", "We look. At stars."),
        ("category_title", "Stellar Populations: Old stars"),
    ]


@pytest.mark.parametrize("lost", [None, "", " \n "])
def test_a_kind_without_text_is_skipped(lost):
    assert [c.kind for c in make_captions(proposal(abstract=lost), ["abstract", "title"])] == ["title"]


def test_category_title_without_category_is_the_title():
    assert make_captions(proposal(category=None), ["category_title"])[0].text == "Old stars"


def test_an_unknown_kind_names_the_setting():
    with pytest.raises(SettingsError, match=r"shards\.caption_kinds.*'haiku'.*abstract"):
        make_captions(proposal(), ["haiku"])


@pytest.mark.parametrize("kind", sorted(CAPTION_KINDS))
def test_every_kind_gives_a_text_for_a_full_proposal(kind):
    assert len(make_captions(proposal(), [kind])) == 1


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One galaxy is seen. Two stars are near.", ["One galaxy is seen.", "Two stars are near."]),
        ("As Smith et al. 2003 found it. It is so.", ["As Smith et al. 2003 found it.", "It is so."]),
        ("Seen by J. R. Smith and co. The star is old.", ["Seen by J. R. Smith and co. The star is old."]),
        ("See e.g. Fig. 3 and Sect. 4.2 for it. Then we stop.", ["See e.g. Fig. 3 and Sect. 4.2 for it.", "Then we stop."]),
        ("They lie at z~2. Their light is red.", ["They lie at z~2.", "Their light is red."]),
        ("Is it a planet? It is a star! We will see.", ["Is it a planet?", "It is a star!", "We will see."]),
        ('He wrote "it is a star." Then he left.', ['He wrote "it is a star."', "Then he left."]),
        ("The flux is 3.5 mJy at 1.6 micron.", ["The flux is 3.5 mJy at 1.6 micron."]),
        ("Dust. We look for dust in galaxies.", ["Dust. We look for dust in galaxies."]),
        ("", []),
        ("no stop at all", ["no stop at all"]),
    ],
)  # fmt: skip
def test_sentences(text, sentences):
    assert split_sentences(text) == sentences


@given(st.text(alphabet=st.sampled_from("aB .?!\n(\"')1~")))
def test_sentences_lose_no_character(text):
    assert " ".join(split_sentences(text)) == clean(text)
