"""What the page of the report shows of examples, queries and worst tiles, and the card of an exported model."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation_samples import RUN, sample
from PIL import Image

from hubbleclip.core.vectors import unit
from hubbleclip.evaluation.embed import ModelFeatures
from hubbleclip.evaluation.names import SCORERS
from hubbleclip.evaluation.report import model_card, page
from hubbleclip.evaluation.report.tile_cards import Thumbnail, jpeg_uri
from hubbleclip.evaluation.test_set import make_test_set, pair_similarities

NUM_GROUPS = 30
TEST_SET = make_test_set(
    [
        sample(
            number,
            number // 2,
            title=f"Title {number // 2}",
            target_name=f"T{number}",
            target_class="COMET" if number < 6 else "SPIRAL GALAXY",
        )
        for number in range(2 * NUM_GROUPS)
    ]
)
VOCABULARY = {
    "object_classes": tuple(f"class {number}" for number in range(8)),
    "queries": ("a spiral galaxy seen face-on", "a comet with its coma and tail"),
}


def made_features(seed: int) -> ModelFeatures:
    rng = np.random.default_rng(seed)
    captions_cd = unit(rng.normal(size=(NUM_GROUPS, 5)))
    tiles_td = unit(captions_cd[TEST_SET.caption_t] + 0.8 * rng.normal(size=(2 * NUM_GROUPS, 5)))
    return ModelFeatures(tiles_td=tiles_td, captions_cd=captions_cd, labels_kd={}, logit_scale=1.0)


@pytest.fixture(scope="module")
def results() -> page.Results:
    features = {name: made_features(number) for number, name in enumerate(("fine_tuned", "base"))}
    rng = np.random.default_rng(7)
    phrases = {
        name: {group: unit(rng.normal(size=(len(texts), 5))) for group, texts in VOCABULARY.items()}
        for name in features
    }
    return page.Results(
        test_set=TEST_SET,
        features=features,
        vocabulary=VOCABULARY,
        phrases=phrases,
        metrics=[],
        facts={},
        occlusions={tile: np.eye(2) for tile in range(2 * NUM_GROUPS)},
    )


@pytest.fixture(scope="module")
def pictures() -> dict[str, Thumbnail]:
    uri = jpeg_uri(Image.new("L", (8, 8), 90))
    return {one.tile_id: Thumbnail(uri, 160) for one in TEST_SET.samples}


def ranks_of(results: page.Results, name: str) -> list[int]:
    features = results.features[name]
    scores_tc = features.tiles_td @ features.captions_cd.T
    return [1 + int((row > row[own]).sum()) for row, own in zip(scores_tc, TEST_SET.caption_t, strict=True)]


def test_an_example_has_its_own_abstract_its_rank_by_each_model_and_the_nearest_phrases(results, pictures) -> None:
    ranks = {name: ranks_of(results, name) for name in results.shown}
    marks = set()
    for tile in (3, 11, 40, 52):
        card = page.example_card(results, tile, pictures, {name: np.array(of_one) for name, of_one in ranks.items()})
        assert card["abstract"] == TEST_SET.samples[tile].captions[0]
        for name in results.shown:
            is_right = ranks[name][tile] <= 3  # the top 10 % of 30 captions
            assert card["own"][name] == {"rank": str(ranks[name][tile]), "mark": "right" if is_right else "wrong"}
            marks.add(card["own"][name]["mark"])
            scores_p = results.phrases[name]["object_classes"] @ results.features[name].tiles_td[tile]
            expected = [
                {"text": f"class {phrase}", "score": f"{scores_p[phrase]:.2f}"} for phrase in np.argsort(-scores_p)[:5]
            ]
            assert card["phrases"][name]["object_classes"] == expected
    assert marks == {"right", "wrong"}


def test_a_tile_of_exactly_the_last_rank_of_the_top_is_right(results, pictures) -> None:
    cards = [page.example_card(results, 0, pictures, {"base": np.full(60, rank)}) for rank in (3.0, 3.5)]
    assert [card["own"]["base"]["mark"] for card in cards] == ["right", "wrong"]


def test_queries_show_the_nearest_fields_of_each_model_and_count_the_tiles_of_the_class(results, pictures) -> None:
    answers = {name: page.nearest_fields(results, name) for name in results.shown}
    rows = page.query_rows(results, answers, pictures)
    assert [(row["text"], row["num_right"]) for row in rows] == [
        ("a spiral galaxy seen face-on", 54),
        ("a comet with its coma and tail", 6),
    ]
    for name in results.shown:
        for number, row in enumerate(rows):
            scores_t = results.features[name].tiles_td @ results.phrases[name]["queries"][number]
            best = [TEST_SET.samples[tile].tile_id for tile in np.argsort(-scores_t)[:4]]
            assert [card["sample"].tile_id for card in row["tiles"][name]] == best


def test_a_failure_shows_the_title_of_the_proposal_that_came_first_and_the_rank_of_its_own(pictures) -> None:
    own = int(TEST_SET.caption_t[8])
    first = (own + 4) % NUM_GROUPS
    card = page.failure_card(TEST_SET, 8, first, 17.0, pictures)
    titles = {one.title for one, index in zip(TEST_SET.samples, TEST_SET.caption_t, strict=True) if index == first}
    assert {card["first"]} == titles
    assert (card["rank"], card["mark"], card["sample"]) == ("17", "wrong", TEST_SET.samples[8])


def test_similarities_are_those_of_true_pairs_and_then_of_other_captions_with_this_model_last(results) -> None:
    found = page.similarities(results)
    assert list(found) == ["base", "fine_tuned"]
    for name, (true_t, mismatched_t) in found.items():
        features = results.features[name]
        own_t = (features.tiles_td * features.captions_cd[TEST_SET.caption_t]).sum(axis=1)
        np.testing.assert_allclose(true_t, own_t, atol=1e-6)
        assert true_t.mean() > 0.4 > 0.2 > abs(mismatched_t.mean())
    scores_tc = np.arange(60)[:, None] + np.arange(NUM_GROUPS) / 100
    wrong_t = pair_similarities(scores_tc, TEST_SET.caption_t)[1]
    assert np.floor(wrong_t).tolist() == list(range(60))
    assert (np.rint(100 * (wrong_t - np.floor(wrong_t))) != TEST_SET.caption_t).all()


FACTS = model_card.CardFacts(
    run=RUN,
    code_version="9.9",
    image_size=224,
    context_length=77,
    formats=("onnx",),
    report=None,
    description={
        "notices": {"hst": {"attribution": "Thanks to HST.", "licence": "public domain"}},
        "counts": {"train": {"samples": 12345}, "test": {"samples": 678}},
    },
)


def row(protocol: str, model: str, name: str, value: float, low: float, high: float) -> dict:
    return {"protocol": protocol, "model": model, "name": name, "value": value, "low": low, "high": high}


REPORT = {
    "dataset_digest": "e" * 32,
    "num_tiles": 1234,
    "num_captions": 321,
    "num_groups": 54,
    "metrics": [
        row("fair", "fine_tuned", "i2t_accuracy_at_10pct", 0.7564, 0.7, 0.8),
        row("fair", "fine_tuned", "t2i_accuracy_at_10pct", 0.8512, 0.801, 0.9),
        row("fair", "fine_tuned", "i2t_recall_at_1", 0.111, 0.09, 0.13),
        row("fair", "fine_tuned", "i2t_median_rank", 7.5, 5, 9),
        row("fair", "base", "i2t_accuracy_at_10pct", 0.31, 0.25, 0.375),
        row("views", "fine_tuned", "i2t_accuracy_at_10pct", 0.99, 0.98, 1.0),
        row("forgetting", "fine_tuned", "photographs_top1", 0.8, 0.7, 0.9),
        row("forgetting", "base", "photographs_top1", 0.9, 0.8, 0.95),
        row("forgetting", "fine_tuned", "digits_top1", 0.5, 0.45, 0.55),
        row("forgetting", "base", "digits_top1", 0.6, 0.55, 0.65),
    ],
}


def test_the_card_of_a_model_has_its_metrics_per_cent_with_intervals_beside_the_base_model() -> None:
    lines = model_card.results(REPORT).splitlines()
    assert "1,234 tiles and 321 captions of 54 groups of proposals" in lines[0] and "`" + "e" * 32 in lines[0]
    assert "95 % intervals over the groups" in lines[0]
    table = [line for line in lines if line.startswith("|")]
    assert table[0].split(" | ")[1:] == [
        "image to text, top 10 %",
        "the same, mean over proposals",
        "text to image, top 10 %",
        "image to text, R@1",
        "median rank |",
    ]
    assert table[2] == (
        "| this model | 75.6 % (70.0-80.0) |  | 85.1 % (80.1-90.0) | 11.1 % (9.0-13.0) | 7.5 (5.0-9.0) |"
    )
    assert table[3] == "| base model | 31.0 % (25.0-37.5) |  |  |  |  |"
    assert len(table) == 4
    assert (
        "photographs of things on Earth: 80.0 % (70.0-90.0); the base model reaches 90.0 % (80.0-95.0). handwritten digits"
        " of 8 x 8 pixels: 50.0 % (45.0-55.0); the base model reaches 60.0 % (55.0-65.0)."
    ) in lines[-1]
    scratch = REPORT | {"metrics": REPORT["metrics"][:6]}
    assert "Forgetting was not measured" in model_card.results(scratch)


def test_the_card_names_start_step_mode_data_and_licences() -> None:
    text = model_card.model_card(FACTS)
    for said in (
        "`openai`",
        "600",
        "lora",
        "12,345 tiles in train, 678 tiles in test",
        "image_tower.onnx",
        "`hst`: Thanks to HST. Licence: public domain.",
        "was not evaluated",
        "d" * 32,
        "224",
        "77",
        "9.9",
    ):
        assert said in text, said
    assert "subject to its licence" in text
    scratch = replace(FACTS, run=replace(RUN, pretrained=""), report=REPORT, description=None, formats=())
    text = model_card.model_card(scratch)
    assert "trained from scratch" in text and "subject to its licence" not in text
    assert "75.6 %" in text and "was not evaluated" not in text and "onnx" not in text


def test_a_model_of_the_simulated_sky_says_so() -> None:
    notices = {"simulated": {"attribution": "Simulated.", "licence": "none"}}
    simulated = replace(FACTS, description={"notices": notices, "counts": {}})
    warning = model_card.SIMULATED
    assert warning in model_card.model_card(simulated)
    assert warning not in model_card.model_card(FACTS)


def test_scorers_of_a_card_have_the_order_of_all_tables() -> None:
    metrics = [
        row("fair", model, "i2t_recall_at_1", 0.1, 0.0, 0.2) for model in ("oracle", "base", "fine_tuned", "bm25")
    ]
    lines = model_card.results(REPORT | {"metrics": metrics}).splitlines()
    names = [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("|")][2:]
    assert names == [SCORERS[name].name for name in ("fine_tuned", "base", "bm25", "oracle")]
