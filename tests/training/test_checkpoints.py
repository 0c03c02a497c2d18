"""Files of a run: equal weights give equal bytes, a damaged file is one line; the facts of a run, and which of several is found."""

from __future__ import annotations

import json
import random
import shutil
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from squares_dataset import MODEL, TRAIN

from hubbleclip.config.settings import ModelSettings, TrainSettings
from hubbleclip.core.errors import DiskFullError, MachineError, TrainingError
from hubbleclip.core.io import sha256_file
from hubbleclip.core.layout import checkpoint_name
from hubbleclip.core.records import Run
from hubbleclip.training import checkpoints, runs
from hubbleclip.training.checkpoints import best_weights, model_digest, read_best, read_newest, write_checkpoint
from hubbleclip.training.models import builder
from hubbleclip.training.runs import (
    RUNNING,
    find_run,
    finish_run,
    open_run,
    read_facts,
    read_model_settings,
    read_run,
    read_train_settings,
    settings_digest,
    state_of,
    write_facts,
)
from hubbleclip.training.tracking import METRICS

DIGEST = "d" * 32


def made_state(step: int) -> dict:
    torch.manual_seed(step)
    weights = torch.nn.Linear(16, 16)
    optimizer = torch.optim.AdamW(weights.parameters())
    weights(torch.ones(2, 16)).sum().backward()
    optimizer.step()
    return {"step": step, "state_dict": weights.state_dict(), "optimizer": optimizer.state_dict()}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A finished run of three checkpoints."""
    with open_run(tmp_path / "runs", DIGEST, MODEL, TRAIN, code_version="test", device="cpu") as run:
        for step in (2, 4, 6):
            write_checkpoint(run, step, made_state(step))
        checkpoints.write_best(run, 4, 0.5)
        finish_run(run, 24, 4, checkpoints.read_checkpoint_records(run))
    return run


def test_equal_states_are_equal_files_whatever_process_or_thread_writes_them(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a", 2, made_state(2))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(write_checkpoint, tmp_path / "b", 2, made_state(2)).result()
    first, second = (tmp_path / name / "checkpoints" / checkpoint_name(2) for name in "ab")
    assert sha256_file(first) == sha256_file(second)


def test_what_a_killed_process_left_is_removed_when_its_run_is_opened(tmp_path: Path) -> None:
    with open_run(tmp_path, DIGEST, MODEL, TRAIN, code_version="test", device="cpu") as run:
        write_checkpoint(run, 2, made_state(2))
    before = sorted(run.rglob("*"))
    for name in (".run.json.1-2.tmp", "checkpoints/.step-00000004.pt.1-2.tmp"):
        (run / name).write_bytes(b"half")
    with open_run(tmp_path, DIGEST, MODEL, TRAIN, code_version="test", device="cpu") as again:
        assert again == run
        assert sorted(run.rglob("*")) == before


def test_an_error_of_the_training_is_raised_even_where_the_state_of_the_run_cannot_be_recorded(tmp_path: Path) -> None:
    with pytest.raises(KeyError), open_run(tmp_path, DIGEST, MODEL, TRAIN, code_version="test", device="cpu") as run:
        (run / runs.RUN).unlink()
        raise KeyError


def flip(path: Path, at: int | None = None) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 1
    path.write_bytes(data)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("damage", [flip, cut_off, Path.unlink], ids=["flipped", "cut off", "lost"])
def test_damaged_weights_are_found_and_the_run_is_to_be_replaced(damage: Callable[[Path], None], run_dir: Path) -> None:
    with pytest.raises(TrainingError, match=r"damaged \(its weights do not fit its model"):
        checkpoints.load_run_model(run_dir)
    assert model_digest(run_dir) == read_facts(run_dir)["checkpoints"][1]["sha256"][:32]
    damage(run_dir / "checkpoints" / best_weights(run_dir).name)
    advice = f"delete the folder {run_dir} and run `hubbleclip pipeline` again"
    for read in (model_digest, checkpoints.load_run_model):
        with pytest.raises(TrainingError, match=r"step-00000004\.pt (cannot be read|has changed)") as caught:
            read(run_dir)
        assert str(caught.value).endswith(advice)
    shutil.rmtree(run_dir)
    assert find_run(run_dir.parent, DIGEST, runs.settings_digest(MODEL, TRAIN)) is None


def test_a_damaged_mixture_is_found(run_dir: Path) -> None:
    checkpoints.write_mixture(run_dir, made_state(4)["state_dict"])
    checkpoints.write_best(run_dir, 4, 0.6, alpha=0.5, alpha_scores={0.5: 0.6})
    assert best_weights(run_dir).name == checkpoints.MIXTURE
    flip(run_dir / "checkpoints" / checkpoints.MIXTURE)
    with pytest.raises(TrainingError, match="has changed since it was written"):
        best_weights(run_dir)


@pytest.mark.parametrize("rows", [0, ["a"], [{"step": 4}], [{"step": [], "sha256": ""}]])
def test_a_list_of_checkpoints_that_is_none_is_a_damaged_run(rows: object, run_dir: Path) -> None:
    runs.write_facts(run_dir, read_facts(run_dir) | {"checkpoints": rows})
    with pytest.raises(TrainingError, match=r"is damaged \(step-00000004\.pt cannot be read: "):
        best_weights(run_dir)


def test_training_resumes_from_the_newest_checkpoint_that_is_intact(run_dir: Path) -> None:
    for step, expected in ((6, 4), (4, 2)):
        cut_off(run_dir / "checkpoints" / checkpoint_name(step))
        state = read_newest(run_dir)
        assert state is not None
        assert state["step"] == expected
    (run_dir / "checkpoints" / checkpoint_name(2)).unlink()
    assert read_newest(run_dir) is None


def test_a_checkpoint_with_any_byte_flipped_is_read_or_is_one_line(run_dir: Path) -> None:
    path = run_dir / "checkpoints" / checkpoint_name(6)
    whole, rng = path.read_bytes(), random.Random(1)
    for _ in range(100):
        flip(path, rng.randrange(len(whole)))
        try:
            checkpoints.read_checkpoint(run_dir, 6)
        except TrainingError as error:
            assert "\n" not in str(error)
        path.write_bytes(whole)


def test_a_compressed_checkpoint_is_not_unpacked(run_dir: Path) -> None:
    with zipfile.ZipFile(run_dir / "checkpoints" / checkpoint_name(6), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1_000_000))
    with pytest.raises(TrainingError, match=r"step-00000006\.pt is compressed"):
        checkpoints.read_checkpoint(run_dir, 6)


@pytest.mark.parametrize(
    ("error", "raised"), [(OSError(5, "Input/output error"), MachineError), (ValueError("odd"), TrainingError)]
)
def test_a_failing_disk_is_no_damage_of_a_run_or_a_model(
    error: Exception, raised: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise error

    with pytest.raises(raised), runs.reading(tmp_path, "it"):
        fail(tmp_path)
    monkeypatch.setattr(builder, "check_open_clip", fail)
    with pytest.raises(raised):
        builder.load_model(ModelSettings(name=f"local-dir:{tmp_path}"), 1)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "5", "[" * 100_000, '{"step": "4", "score": 1}', '{"step": 4}', "\xff"]
)
def test_records_in_another_shape_are_one_line(run_dir: Path, text: str) -> None:
    for name in (checkpoints.BEST, runs.RUN):
        (run_dir / name).write_text(text, encoding="latin-1")
    for read in (
        read_best,
        read_facts,
        read_run,
        checkpoints.load_run_model,
        lambda run: find_run(run.parent, DIGEST, "s"),
    ):
        with pytest.raises(TrainingError, match="is damaged .*hubbleclip pipeline"):
            read(run_dir)


@pytest.mark.parametrize("change", [{"settings": "{}"}, {"checkpoints": [{}]}, {"ended_at": 5}, {"more": 1}])
def test_odd_facts_of_a_finished_run_are_one_line(run_dir: Path, change: dict) -> None:
    facts = json.loads((run_dir / runs.RUN).read_text()) | change
    (run_dir / runs.RUN).write_text(json.dumps(facts))
    with pytest.raises(TrainingError, match="is damaged .*hubbleclip pipeline"):
        (runs.read_model_settings if "settings" in change else read_run)(run_dir)


def test_without_a_checkpoint_an_unfinished_run_is_resumed(tmp_path: Path) -> None:
    with open_run(tmp_path, DIGEST, MODEL, TRAIN, code_version="test", device="cpu") as run:
        begun = {"status": RUNNING, "samples_seen": 0, "best_step": 0, "ended_at": None, "checkpoints": []}
        assert read_facts(run).items() >= begun.items()
        for read in (read_best, read_run):
            with pytest.raises(TrainingError, match="run `hubbleclip train` again, which resumes it"):
                read(run)


OTHERS = {"mode": "linear", "lora_rank": 3, "lock_image_unlocked_groups": 1, "lock_text_unlocked_layers": 1}
OTHERS |= {"loss": "siglip", "ema": 0.7, "shuffled": True, "batch_size": 9, "weight_decay": 0.7, "beta1": 0.7}
OTHERS |= {"beta2": 0.7, "eps": 1e-3, "layer_decay": 0.7}


@pytest.mark.parametrize(
    ("digest", "model", "changes", "message"),
    [
        ("e" * 32, {"context_length": 40}, {}, "another model, dataset: set the same"),
        (DIGEST, {}, OTHERS, f"another {', '.join(OTHERS)}: set the same"),
        (DIGEST, {}, {"steps": 6}, "set train.steps above 6"),
        (DIGEST, {}, {"steps": 5}, "the run has 6 steps"),
        (DIGEST, {}, {"patience": 1}, "best at step 4 of 6"),
    ],
)
def test_a_run_that_cannot_be_continued_says_why(run_dir, digest, model, changes, message) -> None:
    settings = TRAIN.model_copy(update={"steps": 9, "resume": run_dir.name} | changes)
    model = MODEL.model_copy(update=model)
    with open_run(run_dir.parent, digest, model, settings, code_version="test", device="cpu") as run:
        with pytest.raises(TrainingError, match=message):
            checkpoints.copy_progress(run_dir, run, settings)
        with pytest.raises(TrainingError, match="has no checkpoint yet"):
            checkpoints.copy_progress(run, run, settings)
        with pytest.raises(TrainingError, match="no run none"):
            checkpoints.copy_progress(run_dir.parent / "none", run, settings)


def test_records_give_the_path_below_the_profile_and_the_hash_of_each_file(run_dir: Path) -> None:
    records = checkpoints.read_checkpoint_records(run_dir)
    assert [(one.run_id, one.step) for one in records] == [(run_dir.name, step) for step in (2, 4, 6)]
    for one in records:
        assert one.path == f"runs/{run_dir.name}/checkpoints/step-{one.step:08d}.pt"
        assert one.sha256 == sha256_file(run_dir.parent.parent / one.path)


@pytest.mark.parametrize(("best", "kept"), [(2, [2, 4, 6]), (6, [4, 6])])
def test_the_newest_checkpoints_and_the_best_are_kept(run_dir: Path, best: int, kept: list[int]) -> None:
    checkpoints.prune_checkpoints(run_dir, best)
    assert checkpoints.list_steps(run_dir) == kept


@pytest.mark.parametrize(
    ("first", "raised"),
    [
        (OSError(28, "No space left on device"), DiskFullError),
        (OSError(5, "Input/output error"), MachineError),
        (ValueError("odd"), RuntimeError),
    ],
)
def test_an_error_of_the_system_is_raised_as_such_when_torch_hides_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: Exception, raised: type[Exception]
) -> None:
    def failing(*_: object) -> None:
        try:
            raise first
        except Exception:
            raise RuntimeError("unexpected pos")  # noqa: B904 - as torch does

    monkeypatch.setattr(checkpoints.torch, "save", failing)
    with pytest.raises(raised):
        write_checkpoint(tmp_path, 2, {})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_run_that_continues_another_begins_with_its_metrics_its_best_and_its_last_checkpoint(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, copied = shutil.copyfile, []
    monkeypatch.setattr(
        shutil, "copyfile", lambda source, target: (copied.append((source, target.name)), copy(source, target))
    )
    settings = TRAIN.model_copy(update={"steps": 9, "resume": run_dir.name, "patience": 2})  # one validation is left
    (run_dir / METRICS).write_text("rows of 6 steps")
    with open_run(run_dir.parent, DIGEST, MODEL, settings, code_version="test", device="cpu") as run:
        write_checkpoint(run, 4, {})  # of an earlier copy that was killed
        for _ in range(2):  # the second time, nothing is left to copy
            checkpoints.copy_progress(run_dir, run, settings)
        assert checkpoints.list_steps(run) == [4, 6]
        names = ("metrics.jsonl", "checkpoints/step-00000004.pt", "checkpoints/step-00000006.pt")
        assert [path for path, _ in copied] == [run_dir / name for name in names]  # the last marks the copy as complete
        assert all(name.startswith(".") for _, name in copied[1:])  # a checkpoint has its name when it is whole
        assert [(run / name).read_bytes() for name in names] == [path.read_bytes() for path, _ in copied]
        write_checkpoint(run, 8, made_state(8))
        (run / METRICS).write_text("rows of 8 steps")
        checkpoints.copy_progress(run_dir, run, settings)
        assert (run / METRICS).read_text() == "rows of 8 steps"


def finished(runs_dir: Path, model: ModelSettings = MODEL, settings: TrainSettings = TRAIN, best_step: int = 4) -> Path:
    with open_run(runs_dir, "data", model, settings, code_version="1.2", device="A GPU") as run:
        checkpoints.write_checkpoint(run, best_step, {"state_dict": {}})
        finish_run(run, 4321, best_step, checkpoints.read_checkpoint_records(run))
    return run


def test_a_finished_run_records_its_settings_data_code_device_and_outcome(tmp_path: Path) -> None:
    model = ModelSettings(name="RN50", pretrained="openai", context_length=99)
    settings = TrainSettings(loss="siglip", shuffled=True, steps=77, seed=12, batch_size=8, wise_alphas=(0.25, 1.0))
    started = datetime.now(UTC)
    path = finished(tmp_path / "runs", model, settings, best_step=33)
    run = read_run(path).run
    expected = Run(
        run_id=path.name,
        dataset_digest="data",
        settings_digest=settings_digest(model, settings),
        path=f"runs/{path.name}",
        model="RN50",
        pretrained="openai",
        loss="siglip",
        is_shuffled=True,
        steps=77,
        samples_seen=4321,
        seed=12,
        device="A GPU",
        best_step=33,
        settings=run.settings,
        code_version="1.2",
        started_at=run.started_at,
        ended_at=run.ended_at,
    )
    assert run == expected
    assert abs((run.started_at - started).total_seconds()) < 60
    assert run.started_at.utcoffset() == run.ended_at.utcoffset() == started.utcoffset()
    assert path.name.startswith(f"{run.started_at:%Y%m%dT%H%M%S}-")
    assert json.loads(run.settings).keys() == {"model", "train"}
    assert read_model_settings(path) == model
    assert read_train_settings(path) == settings
    assert [one.step for one in read_run(path).checkpoints] == [33]


def test_the_newest_of_the_runs_with_the_same_data_settings_and_status_is_found(tmp_path: Path) -> None:
    digest = settings_digest(MODEL, TRAIN)
    first = finished(tmp_path)
    first = first.rename(tmp_path / f"20200101T000000-{first.name[-8:]}")
    second = finished(tmp_path)
    second = second.rename(tmp_path / f"20210101T000000-{second.name[-8:]}")
    with open_run(tmp_path, "data", MODEL, TRAIN, code_version="1", device="cpu") as running:
        pass
    hidden = tmp_path / "hidden"
    finished(hidden).rename(hidden / ".copy")
    assert first.name < second.name < running.name
    assert find_run(tmp_path, "data", digest) == second
    assert find_run(tmp_path, "data", digest, is_finished=False) == running
    assert find_run(tmp_path, "other data", digest) is find_run(hidden, "data", digest) is None


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ({"name": "RN50"}, {}),
        ({"context_length": 80}, {}),
        ({}, {"learning_rate": 2e-3}),
        ({}, {"hard_share": 0.5}),
        ({}, {"captions": {"summary": 1.0}}),
        ({}, {"distillation_weight": 1.0}),
        ({}, {"shuffled": True}),
    ],
)
def test_settings_that_change_the_weights_change_the_digest(model: dict, settings: dict) -> None:
    changed = settings_digest(MODEL.model_copy(update=model), TRAIN.model_copy(update=settings))
    assert changed != settings_digest(MODEL, TRAIN)


def test_a_run_starts_after_all_others_even_if_the_clock_was_ahead_and_hidden_folders_do_not_count(
    tmp_path: Path,
) -> None:
    for year, name in ((2091, "b"), (2090, "c"), (2095, ".hidden")):
        run = finished(tmp_path).rename(tmp_path / name)
        write_facts(run, read_facts(run) | {"started_at": f"{year}-05-01T00:00:00+00:00"})
    with open_run(tmp_path, "data", MODEL, TRAIN, code_version="1", device="cpu") as run:
        assert read_facts(run)["started_at"] == "2091-05-01T00:00:01+00:00"


def test_a_run_that_no_process_trains_is_stopped_or_killed_unless_it_is_finished(tmp_path: Path) -> None:
    with open_run(tmp_path, "data", MODEL, TRAIN, code_version="1", device="cpu") as run:
        assert state_of(run, read_facts(run)["status"]) == "running"
    assert read_facts(run)["status"] == "stopped"
    files = sorted(run.iterdir())
    assert [state_of(run, status) for status in ("running", "stopped", "finished")] == [
        "killed",
        "stopped",
        "finished",
    ]
    (run / ".checkpoints.lock").unlink()  # as in a copy of the run
    assert state_of(run, "running") == "killed"
    assert sorted(run.iterdir()) == [path for path in files if path.name != ".checkpoints.lock"]  # nothing is written
