"""Files of a finished profile are damaged or deleted; what the message advises is done, and everything works again."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from commands import settings_at

from hubbleclip.config.settings import Settings
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.layout import Layout
from hubbleclip.dataset.verify import verify_dataset
from hubbleclip.pipeline.dataset import dataset
from hubbleclip.pipeline.evaluate import evaluate
from hubbleclip.pipeline.index import index, index_promoted
from hubbleclip.pipeline.pending_work import newest_dataset
from hubbleclip.pipeline.shards import shards
from hubbleclip.pipeline.train import train
from hubbleclip.search.engine import Search
from hubbleclip.search.params import SearchParams
from hubbleclip.training.checkpoints import best_weights

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

QUERY = SearchParams(q="galaxy", k=3)


def search(settings: Settings) -> None:
    assert Search.open(settings).run(QUERY).hits


def pipeline(settings: Settings) -> None:
    for stage in (dataset, train, evaluate, index_promoted):
        stage(settings)


COMMANDS: Mapping[str, Callable[[Settings], object]] = {
    "dataset": dataset,
    "shards": shards,
    "train": train,
    "evaluate": evaluate,
    "index": index,
    "pipeline": pipeline,
}


def follow(advice: str, settings: Settings) -> None:
    """Do what a message says: delete or move away the files that it names, then run the command."""
    named = [Path(name) for name in re.findall(r"(?<![\w.])/[^\s:;,)]+", advice)]
    if "delete the dataset's folder" in advice:
        shutil.rmtree(named[0].parent)
    elif "delete " in advice:
        for path in map(Path, re.findall(r"/[^\s:;,)]+", advice.partition("delete ")[2])):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    elif "move it away" in advice:
        named[0].rename(named[0].with_name("away"))
    found = re.search(r"run (?:again|`hubbleclip (\w+)`)", advice)
    assert found, advice
    COMMANDS[found[1] or "dataset"](settings)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def run_dir(layout: Layout) -> Path:
    (found,) = layout.runs.glob("[!.]*")
    return found


def blank_images(layout: Layout) -> None:
    """Overwrite the images of a shard; its size stays."""
    for shard in newest_dataset(layout).glob("train-*.tar"):
        data = shard.read_bytes()
        shard.write_bytes(re.sub(rb"IDAT", b"JDAT", data))


ATTACKS: dict[str, tuple[Callable[[Layout], object], Callable[[Settings], object]]] = {
    "best checkpoint flipped": (lambda at: flip(run_dir(at) / "checkpoints" / best_weights(run_dir(at)).name), search),
    "runs lost": (lambda at: shutil.rmtree(at.runs), evaluate),
    "promoted run lost": (lambda at: shutil.rmtree(at.runs), index),
    "dataset lost": (lambda at: shutil.rmtree(at.datasets), train),
    "shard lost": (lambda at: next(newest_dataset(at).glob("*.tar")).unlink(), train),
    "manifest cut off": (lambda at: (newest_dataset(at) / "manifest.parquet").write_bytes(b"PAR1"), train),
    "index lost": (lambda at: shutil.rmtree(at.index), search),
    "index flipped": (lambda at: flip(next(at.index.glob("*/*.f16"))), search),
    "catalog flipped": (lambda at: at.catalog.write_bytes(b"?" * 99), search),
}
EACH_CHANGE = {"dataset lost", "index flipped", "catalog flipped"}
"""Those that are tried for each change, the others at night."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in EACH_CHANGE else pytest.mark.nightly) for name in ATTACKS]
)
def test_the_advice_works(name: str, finished_demo: Path, tmp_path: Path) -> None:
    settings = settings_at(shutil.copytree(finished_demo, tmp_path / "data"))
    attack, command = ATTACKS[name]
    attack(Layout(settings.root))
    with pytest.raises(HubbleclipError) as caught:
        command(settings)
    assert "\n" not in str(caught.value)
    follow(str(caught.value), settings)
    command(settings)
    verify_dataset(newest_dataset(Layout(settings.root)))


def test_a_damaged_image_in_a_shard_is_advice_that_works(finished_demo: Path, tmp_path: Path) -> None:
    settings = settings_at(shutil.copytree(finished_demo, tmp_path / "data"))
    layout = Layout(settings.root)
    shutil.rmtree(layout.runs)
    blank_images(layout)
    with pytest.raises(HubbleclipError, match="is damaged: delete ") as caught:
        train(settings)
    follow(str(caught.value), settings)
    verify_dataset(newest_dataset(layout))
