"""A session with the command line on an archive in memory: exit codes, output, log, and what Prefect is given."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import re
import shlex
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
import squares_dataset
import time_machine
from made_prefect import MadePrefect
from made_sky import MEASURED, NOW, Diary, fits_bytes, patched
from PIL import Image
from test_recorded_nights import made_sky

from flows import artifacts, pipeline, workers
from hubbleclip.cli.app import main
from hubbleclip.cli.options import Options
from hubbleclip.config.settings import read_settings
from hubbleclip.contracts.validation import joined_contract
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.version import code_version
from hubbleclip.pipeline import train
from hubbleclip.pipeline.engine.stage import layout_of
from hubbleclip.search.selections import change_selection

NAME = re.compile(r"(?<![\w.])(?=\d*[a-f])[0-9a-f]{8,64}(?!\w)")
"""A hash, or its first characters."""
FIGURE = re.compile(r"(\w+) [\d.e+-]+(?=,|$)")
"""A metric of a training step, which depends on the machine."""
LONG_NUMBER = re.compile(r"\d+\.\d{5,}")
PICTURE = re.compile(r"data:image/([\w+]+);base64,([\w+/=]+)")
ROOT = Path(__file__).parents[2]
PROFILE = f"""
archive = {{ name = "hst", check_first = false, since = "2029-12-28", relist_days = 9 }}
fetch = {{ connections = 1, min_free_gb = 0 }}
tiles = {{ size_px = 64, min_side_px = 32, views = ["native"] }}
captions = {{ backend = "rules" }}
splits = {{ val_share = 0.25, test_share = 0.4 }}
shards = {{ caption_kinds = ["abstract", "title"] }}
flows = {{ workers = 1, batch_size = 8, train_min_new_samples = 14 }}
model = {{ name = "{squares_dataset.MODEL.name}", pretrained = "" }}
evaluation = {{ bootstrap = 100, precision = "fp32" }}
[train]
precision = "fp32"
steps = 4
validate_every = 1
checkpoint_every = 1
batch_size = 4
warmup_steps = 1
workers = 0
allow_cpu = true
"""
SESSION = """
status; status --json; runs; runs --json; datasets; promoted; search galaxy; explain a; compare a b; export a b; sql
train; evaluate; index; frobnicate; status --frobnicate; status --set train.stepps=3; tile missing.fits --out x
deploy --port 4201; deploy; deploy --set tiles.white_quantile=0.99; worker --pool gpu --pool cpu
deployed index; deployed dataset splits.scheme=instrument 'splits.test_instruments=["ACS*"]'
deployed dataset; deployed train train.steps=2; evaluate 2030; deployed index
deployed pipeline flows.train_deployment=fails; status; pipeline; tiles; status --json
clean; clean --runs; compare {run} {first}; remains; runs; reports; promoted; promoted --json; explain {tile}; compare {run} {run}; compare {run} 2
export 2029 a; export ../runs/2029 a; search field --mode words -k 2; search field --mode words --format csv -k 1 --group none
search xyzzy --mode words; subset {dataset} --query 19 --most 2; subset {dataset} --selection mine --most 1
subset {dataset} --ids none --query field; subset {dataset} --ids ids.csv --to mine; verify {dataset}; publish {dataset} out --pictures
train --sweep grid.toml --set train.steps=2
train --set evaluation.shuffled_steps=1 --set train.steps=2; runs --json; reports --json; evaluate nothing
retry stalled never; retry stalled; drop 12; drop 12 --yes; shards --no-server; datasets
contracts --joined joined.yaml; contracts
ingest --retry --no-server; tiles --no-server --set tiles.size_px=60; status
drop 13; clean --runs; datasets --json; explain {tile} --json; export {run} made --no-onnx
damage; verify {dataset}; publish {dataset} out
"""
"""Commands, `deployed FLOW SETTINGS` for runs of deployments, `remains` for what others leave, and `damage`."""


def shown(value: Any) -> Any:
    """Plain values of a model of Prefect, without its random id."""
    if hasattr(value, "model_dump"):
        return value.model_dump(exclude={"base_job_template": True, "trigger": {"id"}})
    return sorted(value) if isinstance(value, set | frozenset) else str(value)


def size_of(picture: re.Match[str]) -> str:
    if picture[1] != "jpeg":
        return picture[1]
    return f"{picture[1]} {Image.open(io.BytesIO(base64.b64decode(picture[2]))).size}"


class Session:
    """Commands in turn, a minute apart, on a profile of a folder."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.now, self.numbers = folder, NOW, dict[str, int]()
        patch.chdir(folder)
        patch.setattr(os, "environ", dict(os.environ) | {"FAILURE_WEBHOOK_URL": "https://example.org/failed"})
        numbers = {name: getattr(signal, name) for name in ("SIGTERM", "SIGINT")}
        patch.setattr(workers, "signal", SimpleNamespace(**numbers, signal=lambda *_: None))
        patch.setattr("hubbleclip.cli.listing.OPENERS", ("true",))
        answers = ["\n"]  # of a person at a terminal; later commands have none
        patch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: bool(answers), readline=answers.pop))
        Path("mine.toml").write_text(PROFILE)
        Path("grid.toml").write_text("[train]\nseed = [2]\n")
        Path("worker").write_text(
            '#!/bin/sh\n[ $8 = cpu ] && exec sleep 999\necho "$@" $PREFECT_API_URL ${PREFECT_API_AUTH_STRING:+with its key} ${HF_HOME##*/} > words\n'
        )
        Path("worker").chmod(0o700)
        patch.setattr(workers, "sys", SimpleNamespace(executable=str(folder / "worker")))
        settings = read_settings("mine.toml", {"data": str(folder / "data")})
        self.layout = layout_of(settings)
        self.sky = made_sky(self.layout)
        for number in range(10, 20):
            self.sky.add(f"m{number}", str(number), number / 10 - 5, fits_bytes(number))
            words = ", ".join(f"word{number * factor}" for factor in range(12))
            self.sky.publish(str(number), f"The field number {number} has {words}.")
        self.sky.add("m20", "19", -3, fits_bytes(20))
        self.log = Diary(settings, self.sky, patch).log
        self.prefect = MadePrefect(patch)
        for module in (artifacts, train):
            patch.setattr(module, "LOG_EVERY_S", math.inf)

    def names(self) -> dict[str, str]:
        """Names of what exists, for commands."""
        runs = sorted(path.name for path in self.layout.runs.glob("[!.]*")) or [""]
        made = sorted(self.layout.datasets.glob("[!.]*"), key=lambda path: path.stat().st_mtime_ns)
        tiles = sorted(path.stem for path in self.layout.tiles.rglob("*.png")) or [""]
        return {"run": runs[-1], "first": runs[0], "dataset": made[-1].name[:9] if made else "", "tile": tiles[0][:7]}

    def leave_remains(self) -> list[str]:
        """Leave the folders of a killed training and of a comparison; returns the names of checkpoints."""
        first, killed = self.layout.runs / self.names()["first"], self.layout.runs / "20290101T000000-killed"
        killed.mkdir()
        facts = json.loads((first / "run.json").read_text()) | {"run_id": killed.name, "status": "running"}
        (killed / "run.json").write_text(json.dumps(facts))
        compared = self.layout.comparison(first.name, killed.name)
        compared.mkdir()
        [os.utime(path, (0, 0)) for _, path in self.layout.comparisons()]
        tiles = [path.stem for path in self.layout.tiles.rglob("*.png")]
        change_selection(self.layout.selections, "mine", add=tiles[:2])
        return sorted(path.name for path in self.layout.runs.glob("*/checkpoints/*"))

    def run(self, line: str) -> object:
        """Run a line of the session, and return its exit code or error."""
        words = shlex.split(line.format(**self.names()))
        self.prefect.deployment.id = UUID(int=9) if words[0] == "evaluate" else None
        self.log.clear(), self.prefect.noted.clear(), os.environ.pop("HF_HOME", None)
        self.now += timedelta(minutes=1)
        if line == "remains":
            return self.leave_remains()
        if line == "damage":
            return [path.write_bytes(b"") for path in self.layout.datasets.rglob("*.tar")]
        tiles = [path.stem for path in self.layout.tiles.rglob("*.png")]
        Path("ids.csv").write_text("tile_id,a\n\n" + "".join(f" {tile} ,1\n{tile},2\n" for tile in tiles))
        with time_machine.travel(self.now, tick=False):
            try:
                if words[0] != "deployed":
                    main([*words, "--profile", "mine.toml", "--data", "data"])
                self.prefect.deployment.id = UUID(int=9)
                getattr(pipeline, words[1])("mine.toml", Options(data=Path("data"), set=tuple(words[2:])).overrides())
            except SystemExit as ended:
                return ended.code
            except HubbleclipError as error:
                return f"{type(error).__name__}: {error}"
        return "completed"

    def plain(self, values: Any) -> Any:
        """Plain JSON without what depends on the machine; hashes are numbered."""
        text = json.dumps(values, default=shown)
        for old, new in (
            (str(self.folder), ""),
            (str(ROOT), ""),
            (code_version(), "VERSION"),
            (str(UUID(int=0))[:-4], "id "),
        ):
            text = text.replace(old, new)
        text = MEASURED.sub(r"_ \1", PICTURE.sub(size_of, text))
        text = LONG_NUMBER.sub(lambda one: f"{float(one[0]):.4g}", text)
        return json.loads(NAME.sub(lambda one: f"#{self.numbers.setdefault(one[0], len(self.numbers) + 1)}", text))


def with_last_progress(noted: list[Any]) -> list[Any]:
    """Calls of Prefect without the progress that later progress replaces, because the threads' order changes it."""
    return [
        one
        for number, one in enumerate(noted, 1)
        if one[0] != "update_progress" or all(later[:2] != one[:2] for later in noted[number:])
    ]


def lines(printed: str) -> list[str]:
    """Lines without the frames and the widths of tables, which depend on the length of paths."""
    return [re.sub(" +", " ", one) if one[0] in "│┃" else one for one in printed.splitlines() if re.search(r"\w", one)]


def test_commands_do_what_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], compare_recorded: Callable[..., None]
) -> None:
    found: dict[str, Any] = {}
    with patched() as patch:
        session = Session(tmp_path, patch)
        for number, line in enumerate(re.split(r"\n|; ", SESSION)[1:-1], 1):
            code, printed = session.run(line), capsys.readouterr()
            found[f"{number:02} {line}"] = session.plain(
                {
                    "exit": code,
                    "has data": Path("data").exists(),
                    "out": lines(printed.out),
                    "err": [one for one in printed.err.splitlines() if one.startswith("hubbleclip: ")],
                    "log": [FIGURE.sub(r"\1", one) if "loss" in one else one for one in session.log],
                    "prefect": with_last_progress(session.prefect.noted),
                }
            )
        found["words of the worker"] = Path("words").read_text()
        assert Path("joined.yaml").read_text() == joined_contract(session.layout.catalog)
    compare_recorded("commands.json", found)
