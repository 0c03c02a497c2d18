"""`hubbleclip benchmark`, from a dataset and a model to its figures."""

import json
from dataclasses import replace
from datetime import date, datetime
from importlib.resources import files
from itertools import product
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.wcs import WCS
from finished_runs import made_run, run_command
from squares_dataset import MODEL, PLACES, made_png, made_sample, make_dataset
from stub_server import StubServer

from hubbleclip.cli.app import main
from hubbleclip.config.settings import CaptionSettings, ShardSettings, read_settings
from hubbleclip.core.errors import EvaluationError
from hubbleclip.dataset.build import build_dataset
from hubbleclip.dataset.manifest import read_dataset
from hubbleclip.evaluation.benchmarks.items import write_items
from hubbleclip.evaluation.benchmarks.leaderboard import append_result
from hubbleclip.images.wcs import tile_geometries
from hubbleclip.pipeline.benchmark import Entry, benchmark, open_items, trained_proposals
from hubbleclip.pipeline.export import find_description
from hubbleclip.training.checkpoints import load_base_model, load_run_model
from hubbleclip.training.export.open_clip_folder import merged, write_open_clip
from hubbleclip.training.models.trained_model import load_model

NUM_GROUPS = 60


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    """A dataset whose proposals have the numbers 0 to 59, and a run on it; settings with few resamples."""
    root = tmp_path_factory.mktemp("data") / "demo"
    dataset_dir = make_dataset(root / "datasets", NUM_GROUPS)
    run_dir = made_run(root, digest=dataset_dir.name)
    settings = read_settings("demo", {"data": str(root.parent), "evaluation": {"bootstrap": 100}})
    return settings, dataset_dir, run_dir


def test_a_run_and_features_of_it_in_a_file_have_the_same_score(profile, tmp_path, capsys):
    settings, dataset_dir, run_dir = profile
    common = f"benchmark --frozen --dataset {dataset_dir} --data {settings.data} --set evaluation.bootstrap=100".split()
    run_command(*common, "--freeze", tmp_path / "items.parquet")
    rows = pq.read_table(tmp_path / "items.parquet").to_pylist()
    model, info = load_model(run_dir), read_dataset(dataset_dir)
    names = [row["id"] for row in rows if row["kind"] == "image"]
    for name, content in zip(names, info.read_tile_images(names), strict=True):
        (tmp_path / f"{name}.png").write_bytes(content)
    vectors = model.embed([row["text"] or tmp_path / f"{row['id']}.png" for row in rows])
    table = pa.table({"id": [row["id"] for row in rows], "vector": vectors.tolist()})
    pq.write_table(table, tmp_path / "features.parquet")
    run_command(*common, "--embeddings", tmp_path / "features.parquet", "--out", tmp_path / "scores.json")
    assert "hubble-image-text-1" in capsys.readouterr().out
    ours = benchmark(None, settings, Entry(dataset=str(dataset_dir), model=str(run_dir)))
    theirs = json.loads((tmp_path / "scores.json").read_text())
    assert theirs["metrics"] == ours["metrics"]
    assert {name: theirs[name] for name in ("dataset_digest", "items_sha256", "num_tiles")} == {
        "dataset_digest": info.digest,
        "items_sha256": ours["items_sha256"],
        "num_tiles": len(names),
    }


def test_programmes_in_train_are_those_of_the_scored_run_and_not_of_the_items(profile, tmp_path):
    settings, dataset_dir, run_dir = profile
    items, _ = open_items(None, settings, str(dataset_dir))
    clean = replace(items, samples=tuple(replace(one, split="test") for one in items.samples))
    write_items(tmp_path / "set.parquet", clean)
    entry = Entry(dataset=str(dataset_dir), model=str(run_dir))
    seen = len({one.proposal_id for one in items.samples if one.split == "train"})
    assert benchmark(tmp_path / "set.parquet", settings, entry)["num_programs_in_train"] == seen > 0
    other = made_run(tmp_path, digest="0" * 32)
    assert trained_proposals(other, str(dataset_dir), settings) is None
    assert find_description(other) is None


def test_the_script_of_the_docs_enters_scores_of_a_frozen_file_into_a_leaderboard(profile, tmp_path, monkeypatch):
    settings, dataset_dir, _ = profile
    monkeypatch.chdir(tmp_path)
    common = f"--data {settings.data} --set evaluation.bootstrap=100".split()
    run_command("benchmark", "--frozen", "--freeze", "set.parquet", "--dataset", dataset_dir, *common)
    page = files("hubbleclip.evaluation.benchmarks").joinpath("README.md").read_text()
    script, entering = page.partition("**Entering scores.**")[2].split("```")[1:4:2]
    exec(script.removeprefix("python"), {})
    monkeypatch.setattr("hubbleclip.cli.models.datetime", Mock(now=lambda of=0: datetime(2026, 12, 2 if of else 1)))
    run_command(*entering.split()[1:], *common, "--out", "result.json")
    rows = {(row["model"], row["name"]): row["value"] for row in json.loads(Path("result.json").read_text())["metrics"]}
    texts = [row["text"] for row in pq.read_table("set.parquet").to_pylist() if row["kind"] == "text"]
    tied = sum(len(text) == min(map(len, texts)) for text in texts)
    own = read_dataset(dataset_dir).manifest.to_pylist()
    drawn = [row["captions"][0] for row in own if row["captions"][0] in texts]
    expected = sum((len(text) == min(map(len, texts))) / tied for text in drawn) / len(drawn)
    assert rows["model", "i2t_recall_at_1"] == pytest.approx(expected, abs=1e-5)
    (line,) = map(json.loads, Path("board.jsonl").read_text().splitlines())
    assert line["model"].startswith("shortest-text (") and line["date"] == "2026-12-02"
    assert line["metrics"]["i2t_recall_at_1"][0] == rows["model", "i2t_recall_at_1"]
    table = pq.read_table("scores.parquet")
    infinite = table.set_column(2, "score", [[-np.inf] * len(table)])
    for changed, message in (
        (table.slice(1), f"lacks 1 of {len(table)} finite scores"),
        (infinite, f"lacks {len(table)} of {len(table)} finite scores"),
        (pa.concat_tables([table, table.slice(0, 1)]), "gives a score twice"),
    ):
        pq.write_table(changed, "scores.parquet")
        with pytest.raises(EvaluationError, match=message):
            benchmark(Path("set.parquet"), settings, Entry(scores=Path("scores.parquet")))


def test_the_best_images_are_ranked_again_by_a_model_that_reads_pictures(profile):
    settings, dataset_dir, run_dir = profile
    (items, _), info = open_items(None, settings, str(dataset_dir)), read_dataset(dataset_dir)
    captions = {
        png: one.main_caption for png, one in zip(info.read_tile_images(items.image_ids), items.samples, strict=True)
    }
    with StubServer() as stub:
        stub.grade_of = lambda text, picture: 10 if captions[picture] == text else 0
        asked = settings.model_copy(update={"captions": CaptionSettings(model="made", base_url=stub.url)})
        result = benchmark(None, asked, Entry(dataset=str(dataset_dir), model=str(run_dir), rerank=True))
    values = {(row["model"], row["name"]): row["value"] for row in result["metrics"]}
    assert values["reranked", "t2i_recall_at_1"] == 1 > values["model", "t2i_recall_at_1"]
    assert values["reranked", "i2t_recall_at_1"] == values["model", "i2t_recall_at_1"]


def test_a_leaderboard_keeps_its_lines_and_its_page_has_a_table_per_digest_and_escapes_names(tmp_path, capsys):
    metrics = [{"model": "model", "name": "i2t_recall_at_1", "value": 0.5, "low": 0.4, "high": 0.6}]
    result = {"benchmark": "b", "items_sha256": "1" * 64, "dataset_digest": "d", "num_tiles": 9, "metrics": metrics}
    result["num_programs_in_train"] = None
    better = [metrics[0] | {"value": 0.75}]
    for changes in (
        {"model": "<b>first"},
        {"model": "second", "metrics": better, "num_programs_in_train": 7},
        {"model": "z", "items_sha256": "2" * 64},
    ):
        page = append_result(tmp_path / "board.jsonl", result | changes, date(2026, 1, 2)).read_text()
        (tmp_path / "board.jsonl").write_text((tmp_path / "board.jsonl").read_text().rstrip())  # as after an edit
    assert len((tmp_path / "board.jsonl").read_text().splitlines()) == 3
    assert page.count("<table ") == 2 and "&lt;b&gt;first" in page and "<b>first" not in page
    assert page.count("<td>unknown</td>") == 2 and page.count("<td>7</td>") == 1
    assert page.index("<td>second") < page.index("<td>&lt;b&gt;first")
    (tmp_path / "board.jsonl").write_text("no line\n")
    with pytest.raises(EvaluationError, match="is not a leaderboard"):
        append_result(tmp_path / "board.jsonl", result | {"model": "m"}, date(2026, 1, 2))
    with pytest.raises(SystemExit):
        main(["benchmark", "--frozen", "--dataset", "none", "--leaderboard", str(tmp_path / "board.html")])
    assert "is the name of a page" in " ".join(capsys.readouterr().err.split())


def test_pictures_of_a_frozen_file_must_be_those_of_the_dataset(profile, tmp_path):
    settings, dataset_dir, run_dir = profile
    items, _ = open_items(None, settings, str(dataset_dir))
    changed = [replace(items.samples[0], png_sha256="0" * 64), *items.samples[1:]]
    write_items(tmp_path / "set.parquet", replace(items, samples=tuple(changed)))
    scores = [{"image": image, "text": text, "score": 0.5} for image, text in product(items.image_ids, items.text_ids)]
    pq.write_table(pa.Table.from_pylist(scores), tmp_path / "scores.parquet")
    asked = settings.model_copy(update={"captions": CaptionSettings(model="made", base_url="http://127.0.0.1:9/v1")})
    for entry in ({"model": str(run_dir)}, {"scores": tmp_path / "scores.parquet", "rerank": True}):
        with pytest.raises(EvaluationError, match="lacks the pictures of 1 tiles"):
            benchmark(tmp_path / "set.parquet", asked, Entry(dataset=str(dataset_dir), **entry))


def test_a_model_without_weights_is_refused(profile):
    settings, dataset_dir, _ = profile
    with pytest.raises(EvaluationError, match="squares-vit has random weights: give an open_clip tag"):
        benchmark(None, settings, Entry(dataset=str(dataset_dir), model=MODEL.name))


def placed_dataset(folder):
    """A dataset of 20 tiles, each of its own field; the objects at their centres are its catalogue."""
    pngs, samples, lines = {}, [], ["ra_deg,dec_deg,class,name"]
    for group in range(20):
        wcs = WCS(naxis=2)
        wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [10 * group, 3 * group], [32.5, 32.5]
        wcs.wcs.cdelt = [-1e-5, 1e-5]
        (at,) = tile_geometries(wcs, [(0, 0)], 64)
        png = made_png(group, 0)
        one = made_sample(group, 0, ("train", "train", "val", "test")[group % 4], png)
        place = {name: getattr(at, name) for name in ("ra_deg", "dec_deg", "corners_deg", "pixel_scale_arcsec", "wcs")}
        samples.append(replace(one, **place))
        pngs[one.tile_id] = png
        lines.append(f"{10 * group},{3 * group},square_at_the_{PLACES[group % 4]},object {group}")
    built = build_dataset(samples, pngs.__getitem__, folder, ShardSettings(), contract_version="1", code_version="t")
    (folder / "objects.csv").write_text("\n".join(lines[:-4]) + "\n")  # four tiles show no object
    return folder / built.dataset.digest, folder / "objects.csv"


def values_of(result, model):
    rows = [row for row in result["metrics"] if (row["model"], row["scope"]) == (model, "all")]
    return {(row["class"], row["name"]): row["value"] for row in rows if "minus" not in row["name"]}


def test_objects_of_a_catalogue_are_scored_by_class_beside_baselines_and_their_leaks_are_named(tmp_path, capsys):
    dataset_dir, catalogue = placed_dataset(tmp_path / "demo" / "datasets")
    run_dir = made_run(tmp_path / "demo", digest=dataset_dir.name)
    settings = read_settings("demo", {"data": str(tmp_path), "evaluation": {"bootstrap": 100}})
    wanted = f"--others 3 --out {tmp_path}/scores.json --set evaluation.bootstrap=100"
    places = f"--model {run_dir} --dataset {dataset_dir} --data {tmp_path}"
    run_command("benchmark", catalogue, *places.split(), *wanted.split())
    printed = capsys.readouterr().out
    result = json.loads((tmp_path / "scores.json").read_text())
    assert (result["num_objects"], result["num_in_tiles"], result["num_tiles"]) == (16, 16, 16 + 3)
    assert result["num_in_training"] == 8
    assert open_items(catalogue, settings, str(dataset_dir))[0].dataset_digest == dataset_dir.name
    assert {row["class"] for row in result["classes"]} == {f"square at the {place}" for place in PLACES}
    found = {(row["scope"], row["model"], row["class"], row["name"]) for row in result["metrics"]}
    for scope, model in product(("all", "unseen"), ("model", "base", "bm25", "random")):
        assert (scope, model, None, "ap") in found
    assert ("all", "model", None, "ap_minus_base") in found
    means = {row["model"]: row["value"] for row in result["metrics"] if row["class"] is None and row["name"] == "ap"}
    assert means["bm25"] > means["random"] + 0.2  # the caption of each tile names the place
    run_command("benchmark", catalogue, "--freeze", tmp_path / "objects.parquet", *places.split(), "--others", 3)
    run_command("benchmark", tmp_path / "objects.parquet", *places.split(), *wanted.split())
    again = json.loads((tmp_path / "scores.json").read_text())
    assert (again["metrics"], again["items_sha256"]) == (result["metrics"], result["items_sha256"])
    assert (result["catalogue"], again["num_objects"], again["num_in_training"]) == (catalogue.name, 0, None)
    for name, loaded in (("model", load_run_model(run_dir)), ("base", load_base_model(run_dir))):
        (tmp_path / name).mkdir()
        write_open_clip(merged(loaded), tmp_path / name)  # an exported folder has the figures of its run
        entry = Entry(dataset=str(dataset_dir), model=str(tmp_path / name))
        scored = benchmark(tmp_path / "objects.parquet", settings, entry)
        assert values_of(scored, "model") == pytest.approx(values_of(result, name), abs=1e-6)
    assert "square at the left" in printed and "the proposals of 8 objects were in training" in " ".join(
        printed.split()
    )


def test_objects_in_no_tile_are_one_line(profile, tmp_path):
    settings, dataset_dir, run_dir = profile
    (tmp_path / "c.csv").write_text("ra_deg,dec_deg,class\n10,20,lens\n")
    with pytest.raises(EvaluationError, match="0 of 1 objects"):
        benchmark(tmp_path / "c.csv", settings, Entry(dataset=str(dataset_dir), model=str(run_dir)))
