"""What the page of the report shows of examples, queries and worst tiles, and the card of an exported model."""

from dataclasses import replace

from evaluation_samples import RUN

from hubbleclip.evaluation.report import model_card

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
        "step 600, 76,800 samples",
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
