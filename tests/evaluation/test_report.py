import base64
import io
import json
import math
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import small_dataset
from evaluation_samples import estimate
from PIL import Image

from hubbleclip.config.settings import EvaluationSettings
from hubbleclip.core.errors import EvaluationError, TrainingError
from hubbleclip.dataset.manifest import read_dataset, samples_of
from hubbleclip.dataset.reader import open_split
from hubbleclip.evaluation import forgetting
from hubbleclip.evaluation.compare import val_estimate
from hubbleclip.evaluation.embed import ModelSource, embed_test_set, embed_tiles, embed_vocabulary
from hubbleclip.evaluation.estimates import all_estimates, as_metric
from hubbleclip.evaluation.metrics.zeroshot import make_labels
from hubbleclip.evaluation.report import diagnostics, page
from hubbleclip.evaluation.report import write as report
from hubbleclip.evaluation.report.tile_cards import make_thumbnail
from hubbleclip.evaluation.test_set import make_test_set
from hubbleclip.training.checkpoints import load_run_model
from hubbleclip.training.embeddings import embed_texts, prepare_for_embedding, resolve_precision
from hubbleclip.training.runs import read_facts, write_facts

SETTINGS = EvaluationSettings(bootstrap=100)


@pytest.fixture(scope="module", autouse=True)
def small_parts():
    """Few forward passes for occlusion maps and digits, which `test_diagnostics` tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagnostics, "NUM_SQUARES", 2)
        patch.setattr(forgetting, "NUM_DIGITS", 40)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("evaluated")
    dataset_dir = small_dataset.build(root / "datasets", num_groups=24, tiles_per_group=2, num_test_groups=10)
    run_dir = small_dataset.train_small_run(dataset_dir, root / "runs", steps=12, model=small_dataset.SMALL_MODEL)
    shuffled_dir = small_dataset.train_small_run(
        dataset_dir, root / "runs", steps=1, shuffled=True, model=small_dataset.SMALL_MODEL
    )
    return root, dataset_dir, run_dir, shuffled_dir


@pytest.fixture(scope="module")
def evaluation(trained):
    root, dataset_dir, run_dir, shuffled_dir = trained
    path, drawn, pictures_of = root / "reports/a", {}, page.pictures_of

    def record(info, results):
        drawn.update(results=results, pictures=pictures_of(info, results))
        return drawn["pictures"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "pictures_of", record)
        metrics = report.evaluate(
            dataset_dir, run_dir, {"shuffled": shuffled_dir}, path, SETTINGS, code_version="1.2.3+gabc"
        )
    return SimpleNamespace(path=path, metrics=metrics, **drawn)


@pytest.fixture(scope="module")
def embedded(trained):
    """The test set, the model and its features of the test set."""
    info, loaded = read_dataset(trained[1]), load_run_model(trained[2])
    test_set = make_test_set(samples_of(info.manifest))
    return test_set, loaded, embed_test_set(loaded, embed_tiles(loaded, info, "test", 8), test_set, {}, 8)


@pytest.mark.nightly
def test_a_phone_shows_the_titles_of_the_sections_and_a_link_opens_one(evaluation):
    webdriver = pytest.importorskip("selenium.webdriver")
    if not shutil.which("chromedriver"):
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox"):
        options.add_argument(argument)
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))) as browser:
        size = {"width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get((evaluation.path / "index.html").as_uri())
        assert browser.execute_script("return document.documentElement.scrollHeight") < 4000
        assert browser.execute_script("return document.documentElement.scrollWidth") == 400
        browser.execute_script("document.querySelector('nav a[href=\"#accuracy\"]').click()")
        (opened,) = browser.find_elements("css selector", "details[open]")
        assert "Recall at 5" in opened.text


def test_the_scale_of_the_logits_is_the_exponential_of_the_parameter(embedded):
    _, loaded, features = embedded
    assert features.logit_scale == pytest.approx(math.exp(loaded.model.logit_scale.item()))


def test_an_example_is_occluded_for_its_own_caption(trained, embedded):
    (test_set, loaded, features), info = embedded, read_dataset(trained[1])
    test_set = replace(test_set, group_c=test_set.group_c[::-1])  # so that no group has the number of its caption
    tiles = open_split(info, "test")
    for tile, fall_yx in report.occlusions(loaded, info, test_set, features).items():
        expected = diagnostics.occlusion_map(loaded, tiles, tile, features.captions_cd[test_set.caption_t[tile]])
        np.testing.assert_array_equal(fall_yx, expected)


def test_a_promotion_is_decided_on_val(trained):
    (_, dataset_dir, run_dir, _), other = trained, {"fp32": "bf16", "bf16": "fp32"}[resolve_precision("auto")]
    info, parts, changed = read_dataset(dataset_dir), [], SETTINGS.model_copy(update={"precision": other})
    found = val_estimate(info, run_dir, changed, lambda work, given: map(work, parts.extend(given) or given))
    assert (found.num_groups, len(found.draws_b)) == (2, SETTINGS.bootstrap)  # the test split has 10 groups
    assert {(part.split, part.model.precision) for part in parts} == {("val", other)}
    loaded, val = load_run_model(run_dir), make_test_set(samples_of(info.manifest), "val")
    prepare_for_embedding(loaded, other)
    scores_tc = embed_tiles(loaded, info, "val", 8)[1] @ embed_texts(loaded, val.captions_c, 8).T
    is_first_t = scores_tc.argmax(axis=1) == val.caption_t  # of two captions, the top 10 % is the first
    assert (found.scorer, found.name) == (run_dir.name, "i2t_accuracy_at_10pct")
    assert found.value == pytest.approx(is_first_t.mean())


def test_every_scorer_has_every_figure_with_its_interval(evaluation):
    fair = [metric for metric in evaluation.metrics if metric.protocol == "fair" and "_minus_" not in metric.name]
    names = {model: {m.name for m in fair if m.model == model} for model in {m.model for m in fair}}
    assert set(names) == {"fine_tuned", "base", "shuffled", "bm25", "hybrid", "oracle", "random"}
    assert all(of_model == names["fine_tuned"] for of_model in names.values())
    assert len({tuple(m.value for m in fair if m.model == model) for model in names}) == len(names)
    test_set, run_id = evaluation.results.test_set, evaluation.metrics[0].run_id
    labels = make_labels(test_set.samples, test_set.group_t)
    expected = all_estimates(test_set, evaluation.results.features, labels, SETTINGS.bootstrap)
    assert evaluation.metrics == [as_metric(one, run_id) for one in expected]


@pytest.mark.parametrize(("num_groups", "spread", "num_warnings"), [(54, 0.06, 1), (332, 0.025, 0)])
def test_a_headline_with_a_wide_interval_is_warned_of(caplog, num_groups, spread, num_warnings):
    draws_b = np.random.default_rng(0).normal(0.8, spread, 400)
    headline = estimate(0.8, scorer="fine_tuned", draws_b=draws_b, num_groups=num_groups)
    few = replace(headline, sizes_g=headline.sizes_g[:9])
    report.warn_of_wide_interval([replace(few, scorer="base"), replace(few, protocol="views"), headline])
    assert len(caplog.messages) == num_warnings
    assert all("i2t_accuracy_at_10pct is 6" in one and "54 proposal groups" in one for one in caplog.messages)


def test_metrics_json_equals_the_returned_metrics_and_a_repeat_gives_the_same_bytes(trained, evaluation, caplog):
    root, dataset_dir, run_dir, shuffled_dir = trained
    again, parts = root / "reports/b", []
    more = {"code_version": "1.2.3+gabc", "map_fn": lambda work, given: map(work, parts.extend(given) or given)}
    report.evaluate(dataset_dir, run_dir, {"shuffled": shuffled_dir}, again, SETTINGS, **more)
    assert "raise splits.test_share" in caplog.text and {part.split for part in parts} == {"test"}
    names = ("metrics.json", "index.html")
    assert all((evaluation.path / name).read_bytes() == (again / name).read_bytes() for name in names)
    written = json.loads((evaluation.path / "metrics.json").read_text())
    assert [row["value"] for row in written["metrics"]] == [metric.value for metric in evaluation.metrics]
    assert (written["num_tiles"], written["num_groups"], written["is_simulated"]) == (20, 10, True)


def test_the_page_contains_all_that_it_shows(trained, evaluation):
    html = (evaluation.path / "index.html").read_text(encoding="utf-8")
    assert "Simulated sky" in html
    assert trained[1].name in html
    assert "1.2.3+gabc" in html
    assert re.findall(r"src=\"(?!data:)", html) == []
    assert set(re.findall(r'href="(https?://[^/]+/|#)', html)) == {"http://127.0.0.1:8765/", "#"}
    pictures = [base64.b64decode(text) for text in re.findall(r"data:image/jpeg;base64,([^\"]+)", html)]
    sizes = [Image.open(io.BytesIO(picture)).size for picture in pictures]
    num_answers = len(re.findall(r'<figure class="tile (?:right|wrong)">', html))
    assert 12 * 2 < num_answers <= 12 * 2 * 4
    num_large = 2 * 6 + num_answers + 4  # six examples, each with its occlusion map, and four errors
    assert (sizes.count((192, 192)), sizes.count((72, 72)), len(sizes)) == (num_large, 20, num_large + 20)


def test_the_features_are_those_of_each_model(trained, evaluation):
    _, dataset_dir, run_dir, shuffled_dir = trained
    results, info = evaluation.results, read_dataset(dataset_dir)
    wanted = {"fine_tuned": (run_dir, False), "shuffled": (shuffled_dir, False), "base": (run_dir, True)}
    for name, (folder, is_base) in wanted.items():
        loaded = ModelSource(run_dir=folder, is_base=is_base, precision=SETTINGS.precision).load()
        (_, tiles_td), texts = embed_tiles(loaded, info, "test", SETTINGS.batch_size), results.test_set.captions_c
        np.testing.assert_allclose(results.features[name].tiles_td, tiles_td, atol=1e-6)
        captions_cd = embed_texts(loaded, texts, SETTINGS.batch_size)
        np.testing.assert_allclose(results.features[name].captions_cd, captions_cd, atol=1e-6)
        phrases = embed_vocabulary(loaded, results.vocabulary, SETTINGS.batch_size) if name != "shuffled" else {}
        for kind, feat_kd in phrases.items():
            np.testing.assert_allclose(results.phrases[name][kind], feat_kd, atol=1e-6)
        if name == "fine_tuned":
            maps = report.occlusions(loaded, info, results.test_set, results.features[name])
    np.testing.assert_allclose([*results.occlusions.values()], [*maps.values()], atol=1e-6)
    assert (results.features.keys(), results.shown) == (wanted.keys(), ("fine_tuned", "base"))


def test_each_model_s_own_rank_of_an_example_is_shown(trained, evaluation):
    results, ranks = evaluation.results, {}
    for card, tile in zip(evaluation.pictures["examples"], results.occlusions, strict=True):
        (png,) = read_dataset(trained[1]).read_tile_images([results.test_set.samples[tile].tile_id])
        assert card["picture"] == make_thumbnail(png, page.THUMBNAIL_PX).uri
        own = results.test_set.caption_t[tile]
        for name, shown in card["own"].items():
            score_c = results.features[name].tiles_td[tile] @ results.features[name].captions_cd.T
            ranks[tile, name] = 1 + int(sum(score_c > score_c[own]))
            assert shown["rank"] == str(ranks[tile, name])
    assert any(rank != ranks[tile, "fine_tuned"] for (tile, name), rank in ranks.items())


def test_a_report_of_two_runs_replaces_an_older_one_and_has_their_difference(trained):
    root, dataset_dir, run_dir, shuffled_dir = trained
    out_dir = root / "alone/pair"
    out_dir.mkdir(parents=True)
    (out_dir / "stale.txt").write_text("old")
    run_dir = shutil.copytree(run_dir, root / "pretrained")
    write_facts(run_dir, read_facts(run_dir) | {"pretrained": "made"})
    rounded, parts = SETTINGS.model_copy(update={"precision": "bf16"}), []
    more = {"code_version": "1", "map_fn": lambda work, given: map(work, parts.extend(given) or given)}
    done = report.evaluate(dataset_dir, run_dir, {"other": shuffled_dir}, out_dir, rounded, **more)
    assert {part.model.precision for part in parts} == {"bf16"}
    assert {one.model for one in done if one.name == "digits_top1"} == {"fine_tuned", "other", "base"}
    assert {path.name for path in out_dir.iterdir()} == {"index.html", "metrics.json"}
    assert [path.name for path in out_dir.parent.iterdir()] == ["pair"]
    assert "shuffled" not in {metric.model for metric in done}
    found = {(m.protocol, m.model, m.name): m for m in done}
    name = "i2t_accuracy_at_10pct"
    minus = found["fair", "fine_tuned", f"{name}_minus_other"]
    assert minus.value == pytest.approx(
        found["fair", "fine_tuned", name].value - found["fair", "other", name].value, abs=2e-6
    )
    page = (out_dir / "index.html").read_text(encoding="utf-8")
    assert f'beside the other run <span class="mono">{shuffled_dir.name}' in page
    assert "Object, other run" in page and "shuffled pairs" not in page


def test_a_test_split_of_one_group_and_a_missing_run_are_refused(trained, tmp_path):
    _, dataset_dir, run_dir, _ = trained
    lonely = small_dataset.build(tmp_path / "datasets", num_groups=5, tiles_per_group=2, num_test_groups=1)
    with pytest.raises(EvaluationError, match="has 1 proposal groups"):
        report.evaluate(lonely, run_dir, {}, tmp_path / "out", SETTINGS, code_version="1")
    with pytest.raises(TrainingError, match="is damaged"):
        report.evaluate(dataset_dir, tmp_path, {}, tmp_path / "out", SETTINGS, code_version="1")
    assert not (tmp_path / "out").exists()


def test_a_model_from_scratch_has_nothing_to_forget(evaluation):
    protocols = {metric.protocol for metric in evaluation.metrics}
    assert protocols == {"fair", "paperclip", "paperclip_equation", "zero_shot", "image_to_image"}
    facts = json.loads((evaluation.path / "metrics.json").read_text())
    assert facts["other_run"] is None and facts["other_run_id"] is None
