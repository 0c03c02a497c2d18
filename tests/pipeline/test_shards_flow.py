"""A dataset that stands already is used again, and is then the one that trainings take."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from stages import NOW, stage_at

from hubbleclip.core.records import Dataset
from hubbleclip.dataset.manifest import DESCRIPTION
from hubbleclip.pipeline.shards.run import reuse_dataset
from hubbleclip.pipeline.status import NEWEST_DATASET

FIRST = Dataset(
    digest="a" * 32, inputs_digest="1" * 32, path=f"datasets/{'a' * 32}", num_samples=1, num_shards=1,
    contract_version="1.2.0", built_at=NOW,
)  # fmt: skip
SECOND = replace(FIRST, digest="b" * 32, inputs_digest="2" * 32, path="datasets/b", built_at=NOW + timedelta(days=1))


def test_a_dataset_that_is_found_again_is_the_newest(tmp_path: Path) -> None:
    with stage_at(tmp_path) as stage:
        stage.catalog.upsert({"dataset": [FIRST, SECOND]})
        place = stage.layout.absolute(FIRST.path)
        place.mkdir(parents=True)
        (place / DESCRIPTION).touch()
        assert stage.catalog.rows(NEWEST_DATASET)[0]["digest"] == SECOND.digest
        assert reuse_dataset(stage, FIRST.inputs_digest) is not None
        assert stage.catalog.rows(NEWEST_DATASET)[0]["digest"] == FIRST.digest
        stage.catalog.changed = False
        assert reuse_dataset(stage, FIRST.inputs_digest) is not None
        assert not stage.catalog.changed


def test_a_folder_that_has_lost_its_description_is_built_anew(tmp_path: Path) -> None:
    with stage_at(tmp_path) as stage:
        stage.catalog.upsert({"dataset": [FIRST]})
        stage.layout.absolute(FIRST.path).mkdir(parents=True)
        assert reuse_dataset(stage, FIRST.inputs_digest) is None
