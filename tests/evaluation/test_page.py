import pytest
from evaluation_samples import metric

from hubbleclip.evaluation.report import page, tables


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.01, 0.3, ("better", "better")),
        (-0.01, 0.3, ("not shown to differ", "open")),
        (0.0, 0.3, ("not shown to differ", "open")),
        (-0.3, -0.1, ("worse", "worse")),
    ],
)
def test_a_model_is_called_better_only_if_the_interval_excludes_zero(low, high, words):
    (verdict,) = tables.verdicts(
        [metric("i2t_accuracy_at_10pct_minus_base", 0.1, low, high), metric("i2t_recall_at_1", 1)]
    )
    assert (verdict["word"], verdict["state"]) == words
    assert (verdict["rival"], verdict["task"], verdict["difference"]) == ("base model", "image to text", "+10.0")


@pytest.mark.parametrize(("num_items", "recall"), [(57, 5), (10, 1), (109, 10), (60, None), (200, None)])
def test_the_page_says_which_recall_is_the_headline_once_more(num_items, recall):
    text = tables.equal_rows(num_items)
    assert (f"recall at {recall} once more" in text) if recall else text == ""


def test_texts_of_the_archive_are_no_markup():
    shown = page.environment().from_string("{{ title }}").render(title="<b>M 31</b> & M 32")
    assert shown == "&lt;b&gt;M 31&lt;/b&gt; &amp; M 32"


@pytest.mark.parametrize(
    ("target_class", "label"),
    [
        ("SIMULATED;SPIRAL GALAXY", "spiral galaxy (simulated)"),
        ("GALAXY;SPIRAL", "galaxy, spiral"),
        ("SIMULATED", "simulated"),
        (None, ""),
    ],
)
def test_target_classes_are_written_for_people(target_class, label):
    assert page.class_label(target_class) == label
