"""Every figure of an evaluation and every word of its report, for features that are drawn and not computed by a model.

No model is involved, so that the figures are the same on every machine.
"""

import json
import re
from base64 import b64decode
from datetime import UTC, date, datetime
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
import small_dataset
from bs4 import BeautifulSoup
from evaluation_samples import CLASSES, estimate, sample
from PIL import Image
from valid_catalog import make

from hubbleclip.config.settings import EvaluationSettings, ShardSettings
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.records import Run
from hubbleclip.core.vectors import unit
from hubbleclip.dataset.build import build_dataset, read_dataset
from hubbleclip.evaluation.benchmarks.leaderboard import append_result
from hubbleclip.evaluation.compare import decide
from hubbleclip.evaluation.embed import ModelFeatures
from hubbleclip.evaluation.estimates import all_estimates, as_metric
from hubbleclip.evaluation.forgetting import DIGITS, FORGETTING, PHOTOGRAPHS
from hubbleclip.evaluation.metrics.protocols import Estimate
from hubbleclip.evaluation.metrics.vocabulary import read_vocabulary
from hubbleclip.evaluation.metrics.zeroshot import make_labels
from hubbleclip.evaluation.report import page
from hubbleclip.evaluation.report.write import metrics_json, report_facts, run_facts
from hubbleclip.evaluation.test_set import example_tiles, make_test_set

SETTINGS = EvaluationSettings(bootstrap=200)
MODELS = ("fine_tuned", "shuffled", "other", "base")
DIMENSION = 8
GROUP_T = np.repeat(np.arange(14), [1, 4, 2, 3, 1, 2, 5, 2, 1, 3, 2, 2, 4, 2])
CATEGORIES = ("Galaxies", "Stars", "Solar System", None)


def drawn_sample(tile: int, group: int):
    """A row of the manifest; a group has up to two proposals, and its tiles share fields, filters and some captions."""
    rng = np.random.default_rng(tile)
    proposal = f"{group}-{tile % 2}" if group % 3 == 0 else f"{group}"
    return sample(
        tile,
        group,
        proposal_id=f"simulated:{proposal}",
        category=CATEGORIES[group % 4],
        title=f"Study {proposal}",
        obs_id=f"obs{tile // 2}",
        target_name=f"{CLASSES[group % 4]} {group}",
        filter=("F606W", "F814W")[tile % 2],
        target_class=None if group == 5 else f"SIMULATED;{CLASSES[group % 4]}",
        ra_deg=10 + group + 0.01 * (tile % 3),
        corners_deg=rng.uniform(10, 11, 8).round(3).tolist(),
        png_sha256=sha256_bytes(small_dataset.make_png(tile, group)),
        captions=[f"We observe {CLASSES[group % 4].lower()} {proposal}. It is deep.", f"Study {proposal}"],
    )


SAMPLES = [drawn_sample(tile, group) for tile, group in enumerate(GROUP_T.tolist())]
TEST_SET = make_test_set(SAMPLES)
LABELS = make_labels(TEST_SET.samples, TEST_SET.group_t)


def drawn_features(seed: int, noise: float) -> ModelFeatures:
    rng = np.random.default_rng(seed)
    captions_cd = unit(rng.normal(size=(len(TEST_SET.captions_c), DIMENSION)))
    tiles_td = captions_cd[TEST_SET.caption_t] + noise * rng.normal(size=(len(SAMPLES), DIMENSION))
    labels_kd = {task: unit(rng.normal(size=(len(one.phrases), DIMENSION))) for task, one in LABELS.items()}
    return ModelFeatures(
        tiles_td=unit(tiles_td), captions_cd=captions_cd, labels_kd=labels_kd, logit_scale=4.0 + 3 * seed
    )


def forgetting() -> list[Estimate]:
    """Figures on photographs and digits, as the models that an evaluation loads would give them."""
    rng = np.random.default_rng(9)
    return [
        estimate(
            value, protocol=FORGETTING, scorer=scorer, name=name, draws_b=rng.normal(value, 0.1, 200), num_groups=20
        )
        for scorer, value in (("fine_tuned", 0.6), ("base", 0.8))
        for name in (PHOTOGRAPHS, DIGITS)
    ]


FEATURES = {name: drawn_features(number, 0.4 + 0.2 * number) for number, name in enumerate(MODELS)}
ESTIMATES = all_estimates(TEST_SET, FEATURES, LABELS, SETTINGS.bootstrap, forgetting())
METRICS = [as_metric(one, "run-a") for one in ESTIMATES]


def run_of(name: str, **train) -> Run:
    return make(
        Run,
        run_id=name,
        dataset_digest="d" * 64,
        model="ViT-B-16",
        pretrained="openai",
        loss=train.get("loss", "multi_positive"),
        samples_seen=28_800,
        best_step=250,
        settings=json.dumps({"model": {"name": "ViT-B-16"}, "train": train}),
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("recorded")
    pngs = {
        one.tile_id: small_dataset.make_png(tile, group)
        for tile, (one, group) in enumerate(zip(SAMPLES, GROUP_T.tolist(), strict=True))
    }
    built = build_dataset(
        SAMPLES, pngs.__getitem__, folder, ShardSettings(), contract_version="1.0.0", code_version="test"
    )
    info = read_dataset(folder / built.dataset.digest)
    run, other = run_of("run-a", learning_rate=0.001, steps=300), run_of("run-b", learning_rate=0.002, loss="siglip")
    facts = report_facts(info, run, TEST_SET, SETTINGS, "1.2.3") | {
        "other_run": run_facts(other),
        "other_run_id": other.run_id,
    }
    vocabulary, rng = read_vocabulary(), np.random.default_rng(3)
    phrases = {
        name: {kind: unit(rng.normal(size=(len(of_kind), DIMENSION))) for kind, of_kind in vocabulary.items()}
        for name in ("fine_tuned", "other")
    }
    maps = {tile: rng.normal(size=(7, 7)) for tile in example_tiles(TEST_SET)}
    found = page.Results(
        test_set=TEST_SET,
        features=FEATURES,
        vocabulary=vocabulary,
        phrases=phrases,
        metrics=METRICS,
        facts=facts,
        occlusions=maps,
    )
    return SimpleNamespace(html=page.render(info, found), json=metrics_json(METRICS, facts))


def test_figures_are_those_recorded(compare_recorded):
    rows = {f"{one.protocol} {one.model} {one.name}": [one.value, one.low, one.high] for one in METRICS}
    assert len(rows) == len(METRICS)
    compare_recorded("evaluation.json", rows, tolerance=3e-6)


def test_labels_and_captions_of_a_test_set_are_those_recorded(compare_recorded):
    found = {f"labels {task}": [one.phrases, one.prompts] for task, one in LABELS.items()}
    found |= {
        "captions": TEST_SET.captions_c,
        "caption of each tile": TEST_SET.caption_t.tolist(),
        "group of each caption": TEST_SET.group_c.tolist(),
    }
    compare_recorded("test_set.json", found)


def test_decisions_are_those_recorded(compare_recorded):
    headline = {one.scorer: one for one in ESTIMATES if (one.protocol, one.name) == ("fair", "i2t_accuracy_at_10pct")}
    at, found = datetime(2026, 1, 2, tzinfo=UTC), {}
    for candidate, promoted in (("fine_tuned", "base"), ("base", "fine_tuned"), ("fine_tuned", None)):
        one = decide(headline[candidate], headline.get(promoted), at)
        figures = (one.value, one.difference, one.low, one.high)
        found[f"{candidate} after {promoted}"] = [
            one.is_promoted,
            one.run_id,
            one.previous_run_id,
            one.metric,
            *(f and round(f, 4) for f in figures),
        ]
    compare_recorded("decisions.json", found)


def test_words_and_links_of_the_report_are_those_recorded(results, compare_recorded):
    soup = BeautifulSoup(results.html, "html.parser")
    for tag in soup(["script", "style", "svg"]):
        tag.decompose()
    sections = re.split(
        r"\n(?=## )",
        "\n".join(
            f"{'## ' if tag.name == 'h2' else ''}{' '.join(tag.get_text(' ').split())}"
            for tag in soup.find_all(["h1", "h2", "h3", "p", "td", "th", "li", "dt", "dd", "figure", "pre", "summary"])
        ),
    )
    found = {f"section {number}": text.split("\n") for number, text in enumerate(sections)}
    found["links"] = [link["href"] for link in soup.find_all("a", href=True)]
    found["alternative texts"] = [image.get("alt", "") for image in soup.find_all("img")]
    compare_recorded("report.json", found)


def embedded(html: str, media_type: str) -> list[bytes]:
    return [b64decode(text) for text in re.findall(rf'data:image/{re.escape(media_type)};base64,([^"]+)', html)]


def test_pictures_and_figures_of_the_report_are_those_recorded(results, compare_recorded):
    """The size and the mean colour of each picture, and the words of each figure."""
    found = {}
    for number, content in enumerate(embedded(results.html, "jpeg")):
        with Image.open(BytesIO(content)) as picture:
            colours = np.asarray(picture.convert("RGB")).mean(axis=(0, 1))
            found[f"{number:03}"] = [picture.width, *colours.round(1).tolist()]
    compare_recorded("report_pictures.json", found, tolerance=0.05)
    figures = [re.findall("<!-- (.*[a-z].*) -->", one.decode()) for one in embedded(results.html, "svg+xml")]
    marks = re.findall(r'class="\w+ (right|wrong)"', results.html)
    compare_recorded("report_figures.json", {"words": figures, "marks": marks})


def test_the_page_of_a_leaderboard_is_that_recorded(tmp_path, compare_recorded):
    facts = {"benchmark": "objects", "dataset_digest": "d" * 32, "num_tiles": 1234}
    for day, (model, items, seen, values) in enumerate(
        [
            ("<old>", "a", None, {"i2t_accuracy_at_10pct": 0.5, "t2i_recall_at_1": 0.25}),
            ("objects", "b", 0, {"ap": 0.75, "ndcg_at_10": 1.0, "precision_at_1": 1.0}),
            ("new", "a", 7, {"i2t_accuracy_at_10pct": 0.625, "i2t_recall_at_1": 0.125, "t2i_recall_at_1": 0.5}),
        ],
        1,
    ):
        rows = [{"model": "model", "name": name, "value": v, "low": v / 2, "high": 1} for name, v in values.items()]
        result = facts | {"model": model, "items_sha256": items * 64, "num_programs_in_train": seen, "metrics": rows}
        path = append_result(tmp_path / "board.jsonl", result, date(2026, 1, day))
    page = BeautifulSoup(path.read_text(), "html.parser").body
    compare_recorded("leaderboard.json", {"page": [" ".join(text.split()) for text in page.strings if text.strip()]})


def test_facts_beside_the_metrics_are_those_recorded(results, compare_recorded):
    facts = {
        name: value for name, value in json.loads(results.json).items() if name not in {"metrics", "dataset_digest"}
    }
    compare_recorded("facts.json", facts)
