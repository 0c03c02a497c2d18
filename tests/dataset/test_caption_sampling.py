import numpy as np

from hubbleclip.dataset.caption_sampling import CaptionSampler

ABSTRACT = "Alpha beta gamma delta. Epsilon zeta eta. Theta iota kappa lambda. Mu nu xi omicron pi."
CAPTIONS = [ABSTRACT, "A title"]


def caption_sampler(full: float = 0.0, other: float = 0.0, max_tokens: int = 8) -> CaptionSampler:
    return CaptionSampler(
        full_share=full, other_share=other, max_tokens=max_tokens, count_tokens=lambda t: len(t.split())
    )


def draws(of: CaptionSampler, num: int = 300) -> list[str]:
    rng = np.random.default_rng(0)
    return [of.draw(rng, CAPTIONS) for _ in range(num)]


def test_draws_are_consecutive_sentences_that_fit() -> None:
    texts = draws(caption_sampler())
    assert all(text in ABSTRACT and text.endswith(".") and len(text.split()) <= 8 for text in texts)
    starts = {text.split()[0] for text in texts}
    assert starts == {"Alpha", "Epsilon", "Theta", "Mu"}
    assert {text.count(".") for text in texts} == {1, 2}


def test_a_sentence_longer_than_the_context_is_still_taken() -> None:
    assert all(text.count(".") == 1 for text in draws(caption_sampler(max_tokens=2)))


def test_shares_are_kept() -> None:
    texts = draws(caption_sampler(full=0.5, other=0.25), 2000)
    assert abs(texts.count(ABSTRACT) / 2000 - 0.5) < 0.05
    assert abs(texts.count("A title") / 2000 - 0.25) < 0.05


def test_without_other_captions_sentences_take_their_share() -> None:
    rng = np.random.default_rng(0)
    assert all(caption_sampler(other=1.0).draw(rng, CAPTIONS[:1]) in ABSTRACT for _ in range(50))
