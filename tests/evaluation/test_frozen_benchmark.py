"""The frozen image-text benchmark: its rule, its items, and features of other programs."""

import hashlib
import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluation_samples import sample

from hubbleclip.config.settings import EvaluationSettings
from hubbleclip.core.errors import EvaluationError
from hubbleclip.dataset.splits.schemes import is_benchmark_program
from hubbleclip.evaluation.benchmarks.frozen import benchmark_items, identity, score
from hubbleclip.evaluation.benchmarks.items import read_columns, read_embeddings, read_items, write_items
from hubbleclip.evaluation.benchmarks.leaderboard import append_result, read_lines
from hubbleclip.evaluation.metrics.retrieval import cosine_scores

TITLES = Path(__file__).parents[3] / "shared/data/proposals/titles.tsv"
DRAWN = (5086, 5121, 5122, 5147, 5154, 5161, 5182, 5215, 5217, 5266)
"""The first programmes from 5054 on that the rule draws, as the protocol names them."""
SETTINGS = EvaluationSettings(bootstrap=100)


def made_samples(tiles_each=2):
    """Tiles of the first programmes, drawn or not, half of them in train."""
    numbers = [*DRAWN, 5054, 5085]
    return [
        replace(sample(index * 10 + tile, group), proposal_id=f"hst:{number}", split="train" if group % 2 else "test")
        for index, (group, number) in enumerate(enumerate(numbers))
        for tile in range(tiles_each)
    ]


@pytest.fixture(scope="module")
def items():
    return benchmark_items(made_samples())


def write(path, ids, vectors):
    pq.write_table(pa.table({"id": ids, "vector": [list(map(float, one)) for one in vectors]}), path)
    return path


def made_features(items, seed=0):
    """Ids of all items, and vectors that are near for a tile and its own caption."""
    rng = np.random.default_rng(seed)
    captions = rng.normal(size=(len(items.texts), 16))
    tiles = captions[items.grades_tk.argmax(axis=1)] + 0.1 * rng.normal(size=(len(items.samples), 16))
    return [*items.image_ids, *items.text_ids], np.concatenate([tiles, captions])


@pytest.mark.real
@pytest.mark.skipif(not TITLES.is_file(), reason="the real data are not beside the project")
def test_the_programmes_of_the_protocol_are_those_of_the_rule():
    numbers = [line.split("\t")[0] for line in TITLES.read_text().splitlines()[1:]]
    drawn = [number for number in numbers if is_benchmark_program(number)]
    page = (Path(__file__).parents[2] / "hubbleclip/evaluation/benchmarks/README.md").read_text()
    assert (len(numbers), len(drawn)) == (10755, 1120)
    assert hashlib.sha256("\n".join(drawn).encode()).hexdigest() in page


def test_the_items_are_all_tiles_of_drawn_programmes_of_any_split_and_no_other(items):
    assert {one.proposal_id for one in items.samples} == {f"hst:{number}" for number in DRAWN}
    assert len(items.samples) == 2 * len(DRAWN)
    unknown = replace(sample(999, 99), proposal_id="local:unknown")
    assert benchmark_items([*made_samples(), unknown]).image_ids == items.image_ids
    expected = {"benchmark": "hubble-image-text-1", "items_sha256": items.digest, "dataset_digest": "", "num_tiles": 20}
    expected |= dict.fromkeys(("num_captions", "num_programs", "num_groups"), 10) | {"num_programs_in_train": 1}
    assert identity(items, frozenset({"hst:5086", "hst:5054"})) == expected


def test_frozen_items_have_ids_hashes_texts_and_grades_and_are_read_back(items, tmp_path):
    items = replace(items, dataset_digest="d" * 32)
    write_items(tmp_path / "set.parquet", items)
    rows = pq.read_table(tmp_path / "set.parquet").to_pylist()
    texts = {row["id"]: row for row in rows if row["kind"] == "text"}
    assert texts.keys() == {f"hst:{number}" for number in DRAWN}
    assert all(hashlib.sha256(row["text"].encode()).hexdigest() == row["sha256"] for row in texts.values())
    for row, one in zip(rows, items.samples, strict=False):
        assert (row["id"], row["sha256"], row["text"]) == (one.tile_id, one.png_sha256, None)
        assert row["grades"] == [{"text": one.proposal_id, "grade": 1}]
    again = read_items(tmp_path / "set.parquet")
    assert identity(again, None) == identity(items, None)
    scores_tk = np.random.default_rng(0).random(items.grades_tk.shape)
    assert score(again, {"model": scores_tk}, SETTINGS) == score(items, {"model": scores_tk}, SETTINGS)


def test_frozen_items_that_were_changed_are_refused(items, tmp_path):
    write_items(tmp_path / "set.parquet", items)
    table = pq.read_table(tmp_path / "set.parquet")
    other_split = pa.array([text and text.replace('"train"', '"test"') for text in table["sample"].to_pylist()])
    for changed in (
        table.slice(1),
        table.set_column(table.schema.get_field_index("sample"), "sample", other_split),
        table.replace_schema_metadata({**table.schema.metadata, b"dataset_digest": "another"}),
    ):
        pq.write_table(changed, tmp_path / "set.parquet")
        with pytest.raises(EvaluationError, match="was changed after it was frozen"):
            read_items(tmp_path / "set.parquet")
    pq.write_table(table.replace_schema_metadata(None), tmp_path / "set.parquet")
    with pytest.raises(EvaluationError, match="benchmark --freeze"):
        read_items(tmp_path / "set.parquet")


def test_the_digest_of_the_items_changes_with_a_caption_a_pair_a_picture_or_a_grade(items):
    samples = made_samples()
    changed = [replace(samples[0], captions=["Another text of the proposal.", "b"]), *samples[1:]]
    changed[1] = replace(changed[1], captions=changed[0].captions)
    assert benchmark_items(samples[::-1]).digest == items.digest
    assert (
        items.digest == "27ac2bde001d77673dce018076228cef6d179a523116582a012a394507bb73c0"
    )  # published ones stay true
    repainted = [replace(samples[0], png_sha256="1" * 64), *samples[1:]]
    others = [benchmark_items(one) for one in (changed, samples[1:], repainted)]
    assert (
        len({items.digest, replace(items, grades_tk=items.grades_tk / 2).digest, *(one.digest for one in others)}) == 5
    )


def test_a_dataset_without_such_programmes_says_so():
    with pytest.raises(EvaluationError, match="more programmes"):
        benchmark_items([replace(one, proposal_id="hst:5054") for one in made_samples()])


def test_features_of_a_file_are_scored_in_both_directions_beside_baselines(items, tmp_path):
    ids, vectors = made_features(items)
    order = np.random.default_rng(1).permutation(len(ids))
    path = write(tmp_path / "f.parquet", [*(ids[i] for i in order), "other"], [*vectors[order], np.ones(16)])
    scores_tk = cosine_scores(*read_embeddings(path, items))
    values = {(row["model"], row["name"]): row for row in score(items, {"model": scores_tk}, SETTINGS)}
    assert values["model", "i2t_recall_at_1"]["value"] == values["model", "t2i_recall_at_1"]["value"] == 1
    assert values["model", "i2t_recall_at_1"]["low"] < 1 == values["model", "i2t_recall_at_1"]["high"]
    assert values["random", "i2t_recall_at_1"]["value"] == pytest.approx(1 / len(DRAWN))
    assert ("bm25", "t2i_median_rank") in values
    ids, vectors_nd = read_columns(write(path, [101, 102], np.eye(2)), ("id", "vector"), "")
    assert (ids, vectors_nd.tolist()) == (["101", "102"], [[1, 0], [0, 1]])


def test_a_file_that_cannot_be_scored_says_what_is_wrong(items, tmp_path):
    ids, vectors = made_features(items)
    path = tmp_path / "f.parquet"

    def problem() -> str:
        with pytest.raises(EvaluationError) as caught:
            read_embeddings(path, items)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "cannot be read" in problem()
    write(path, ids[:-2], vectors[:-2])
    assert "lacks 2 ids" in problem() and ids[-1] in problem()
    write(path, [*ids, ids[0]], [*vectors, vectors[0]])
    assert "repeats an id" in problem()
    write(path, ids, [*vectors[:-1], np.zeros(16)])
    assert f"vector of {ids[-1]}" in problem()
    write(path, ids, [*vectors[:-1], np.full(16, np.nan)])
    assert f"vector of {ids[-1]}" in problem()
    write(path, ids, [*vectors[:-1], np.ones(3)])
    assert "one common length" in problem()
    pq.write_table(pa.table({"id": ids, "feature": [0] * len(ids)}), path)
    assert "`id` and `vector`" in problem()


def test_a_line_of_a_leaderboard_has_the_main_metrics_of_the_model_over_all_classes_and_candidates(tmp_path):
    facts = {"model": "m", "benchmark": "objects", "items_sha256": "1" * 64, "dataset_digest": "d", "num_tiles": 9}
    facts |= {"num_programs_in_train": 3}
    rows = [("model", "all", None, "ap"), ("model", "all", "lens", "ap"), ("model", "unseen", None, "ap")]
    rows += [("base", "all", None, "ap"), ("model", "all", None, "ap_minus_base"), ("model", "all", None, "ndcg_at_10")]
    metrics = [
        dict(zip(("model", "scope", "class", "name"), row, strict=True)) | {"value": n, "low": n - 1, "high": n + 1}
        for n, row in enumerate(rows)
    ]
    append_result(tmp_path / "board.jsonl", {**facts, "metrics": metrics, "num_objects": 7}, date(2026, 1, 2))
    expected = facts | {"date": "2026-01-02", "metrics": {"ap": [0, -1, 1], "ndcg_at_10": [5, 4, 6]}}
    assert read_lines(tmp_path / "board.jsonl") == [expected]
    undated = {name: value for name, value in expected.items() if name != "date"}
    for broken in (undated, *(expected | {"metrics": ends} for ends in ({}, {"other": [1, 0, 2]}, {"ap": [1, 0]}))):
        (tmp_path / "board.jsonl").write_text(json.dumps(broken))
        with pytest.raises(EvaluationError, match="is not a leaderboard"):
            read_lines(tmp_path / "board.jsonl")


def test_the_id_of_a_shared_caption_is_that_of_the_smallest_of_its_programmes():
    rows = [
        replace(sample(number, group), proposal_id=f"hst:{program}", captions=[text])
        for number, (program, group, text) in enumerate(
            [(5121, 1, "One text of both."), (5086, 1, "One text of both."), (5147, 2, "Another text.")]
        )
    ]
    items = benchmark_items(rows)
    ids = dict(zip(items.texts, items.text_ids, strict=True))
    assert ids == {"One text of both.": "hst:5086", "Another text.": "hst:5147"}
