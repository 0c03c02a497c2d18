"""A run whose base is of the Hugging Face hub: once it is finished, no command needs the hub."""

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest
from commands import SMALL, command, environment, go, run
from hub_cache import snapshot, write_base, write_tokenizer
from squares_dataset import MODEL

from hubbleclip.training.models.builder import load_model

SETTINGS = SMALL | {"model.name": "hf-hub:made/squares", "train.allow_cpu": True}


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_a_finished_run_is_exported_evaluated_indexed_and_served_without_the_hub(tmp_path: Path, monkeypatch) -> None:
    folder, data = snapshot(tmp_path / "hub", "made/squares"), tmp_path / "data"
    write_base(folder, load_model(MODEL, 7), tokenizer="made/squares")
    write_tokenizer(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    go("dataset", data=data, settings=SETTINGS)
    go("train", data=data, settings=SETTINGS)
    shutil.rmtree(tmp_path / "hub")
    (run_dir,) = (data / "demo/runs").glob("[!.]*")
    go("evaluate", run_dir.name, data=data, settings=SETTINGS)
    go("index", data=data, settings=SETTINGS)
    exported = run("export", run_dir.name, str(tmp_path / "model"), "--no-onnx", data=data)
    assert exported.code == 0, exported.err
    assert (tmp_path / "model/tokenizer.json").is_file()
    serve = command("serve", "--port", "0", data=data)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(serve, env=environment(), **pipes) as server:
        try:
            address = next(found[0] for line in server.stdout if (found := re.search(r"http://127[^\s/]+", line)))
            next(line for line in server.stdout if "the model is loaded" in line)
            with urllib.request.urlopen(f"{address}/api/v1/search?q=comet&k=2", timeout=60) as answer:
                assert len(json.load(answer)["hits"]) == 2
        finally:
            server.terminate()
