"""open_clip's own training data loader, unchanged, with the webdataset that it asks for (`webdataset<=0.2.86`)."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest
from synthetic_samples import build, make_samples_with_pngs, moved

from hubbleclip.dataset.build import read_dataset

WEBDATASET = "webdataset==0.2.86"
READ = """
import json, sys
import numpy, webdataset
from types import SimpleNamespace
from open_clip_train.data import get_wds_dataset

given = json.loads(sys.argv[1])
args = SimpleNamespace(
    train_data=given["urls"], val_data=given["urls"], train_num_samples=given["num"], val_num_samples=given["num"],
    train_data_upsampling_factors=None, dataset_resampled=False, batch_size=given["num"] // given["shards"], workers=1,
    world_size=1, seed=1,
)
info = get_wds_dataset(args, numpy.asarray, is_train=given["is_train"], tokenizer=lambda text: [text])
batches = list(info.dataloader)
shapes = {tuple(image.shape) for images, _ in batches for image in images}
texts = [text for _, texts in batches for text in texts]
print(json.dumps({"version": webdataset.__version__, "texts": texts, "shapes": sorted(shapes)}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("is_train", [True, pytest.param(False, marks=pytest.mark.nightly)])
def test_open_clip_s_training_loader_reads_every_sample(tmp_path, is_train):
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path / "site", WEBDATASET],
        check=True,
    )
    samples, pngs = make_samples_with_pngs()
    samples = [moved(sample, "train") for sample in samples]
    built = build(samples, pngs, tmp_path / "datasets")
    urls = read_dataset(tmp_path / "datasets" / built.dataset.digest).shards["train"]
    given = {"urls": "::".join(urls), "num": len(samples), "shards": len(urls), "is_train": is_train}
    done = subprocess.run(
        [sys.executable, "-c", READ, json.dumps(given)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["version"] == WEBDATASET.partition("==")[2]
    assert Counter(found["texts"]) == Counter(sample.captions[0] for sample in samples)
    assert found["shapes"] == [[16, 16, 3]]
