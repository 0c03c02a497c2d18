"""The chain behind a tile, as rows tell it; that all samples of a dataset resolve is tested with the pipeline."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
import valid_catalog
from stages import NOW, fetched, listing, observation, stage_at

from benchmarks.synthetic_catalog import synthetic_rows
from hubbleclip.core.io import write_text
from hubbleclip.core.records import SplitAssignment
from hubbleclip.pipeline.engine.stage import Stage
from hubbleclip.pipeline.history import explain_tile


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Tile `t` is in the datasets `old` and `new`, which goes on with the shard of `old`; one run trained on each."""
    with stage_at(tmp_path) as stage:
        ids = {"tile_id": "t", "obs_id": "o", "proposal_id": "hst:1", "product_uri": "mast:o"}
        built = [NOW, NOW + timedelta(days=1)]
        both = {"dataset_digest": ["old", "new"], "shard": "train-000000.tar"}
        stage.catalog.upsert(
            {
                "observation": [observation("o")],
                "product": [fetched("o")],
                "listing": [listing(stage.settings, observation("o"))],
                "proposal": [replace(valid_catalog.proposal("1"), abstract="Why", source="apt", provenance="{}")],
                "tile": synthetic_rows("tile", 1, **ids, product_sha256=fetched("o").sha256, settings_digest="cut"),
                "dataset": synthetic_rows(
                    "dataset", 2, digest=["old", "new"], path=["datasets/old", "datasets/new"], built_at=built
                ),
                "shard": synthetic_rows("shard", 2, **both, split="train", home_digest=[None, "old"], sha256="s"),
                "placement": synthetic_rows("placement", 2, **both, tile_id="t", offset=512, length=7),
                "run": synthetic_rows(
                    "run", 2, run_id=["r1", "r2"], dataset_digest=["old", "new"], code_version="1+g2"
                ),
            }
        )
        yield stage


def test_chain_names_who_wrote_about_the_abstract_and_every_run_that_trained_on_the_tile(stage: Stage) -> None:
    chain = explain_tile(stage.catalog, stage.layout, "t")
    assert chain["abstract_summaries"] == []
    assert [(run["run_id"], run["code_version"]) for run in chain["trained_runs"]] == [("r1", "1+g2"), ("r2", "1+g2")]
    digest = sha256(b"Why").hexdigest()
    stage.catalog.upsert(
        {"abstract_summary": synthetic_rows("abstract_summary", 1, abstract_sha256=digest, writer="w")}
    )
    stage.catalog.connection.execute("UPDATE shard SET split = 'test'")
    chain = explain_tile(stage.catalog, stage.layout, "t")
    (written,) = chain["abstract_summaries"]
    assert (written["writer"], {"is_model", "model", "prompt_digest", "seed"} - set(written)) == ("w", set())
    assert chain["trained_runs"] == []


def test_the_reason_of_an_excluded_tile_is_words_with_the_numbers_of_the_newest_dataset(stage: Stage) -> None:
    excluded = SplitAssignment(tile_id="t", group_id="g", split="excluded", reason="proposal_cap")
    stage.catalog.upsert({"split": [excluded]})
    stage.catalog.connection.execute("DELETE FROM placement")
    described = {"digest": "a" * 32, "inputs_digest": "b", "contract_version": "1"} | {"counts": {}, "shards": []}
    described |= {"files": {}, "split_report": {"settings": {"max_tiles_per_proposal": 400}}}
    write_text(stage.layout.absolute("datasets/new/dataset.json"), json.dumps(described))
    chain = explain_tile(stage.catalog, stage.layout, "t")
    assert chain["split_reason"].startswith("more than 400 tiles of the proposal")
    assert (chain["shard_path"], chain["abstract"]) == (None, "Why")
