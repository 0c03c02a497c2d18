"""Two processes on the CPU against one: the same batch, loss and weights; and batch norms with shared statistics."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest
import timm
import torch
from squares_dataset import MODEL, TRAIN, make_dataset
from timm.layers import BatchNormAct2d
from torch import nn
from two_processes import gathered_gradient, trained_norm

from hubbleclip.training import checkpoints
from hubbleclip.training.batch_norms import share_statistics
from hubbleclip.training.distillation import Distillation, logit_divergence
from hubbleclip.training.distributed import World, process_group
from hubbleclip.training.gradients import ContrastiveGradients
from hubbleclip.training.loop import train
from hubbleclip.training.losses import get_loss
from hubbleclip.training.runs import read_facts
from hubbleclip.training.tracking import read_metrics

SCRIPT = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from squares_dataset import MODEL, TRAIN
from hubbleclip.training.loop import train
settings = TRAIN.model_copy(update=json.loads(sys.argv[4]))
train(Path(sys.argv[1]), Path(sys.argv[2]), MODEL, settings, code_version="test")
"""


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"micro_batch": 1, "local_loss": True}], ids=["whole", "parts of own rows"])
def test_two_processes_train_as_one(tmp_path, changes) -> None:
    dataset = make_dataset(tmp_path / "datasets")
    alone = train(dataset, tmp_path / "alone", MODEL, TRAIN, code_version="test")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    arguments = [str(script), str(dataset), str(tmp_path / "two"), str(Path(__file__).parent), json.dumps(changes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen([*torchrun, *arguments], env=environment, start_new_session=True) as running:
        try:
            assert running.wait(timeout=600) == 0
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
    (two,) = (tmp_path / "two").iterdir()
    assert read_facts(two)["status"] == "finished"
    for one_row, two_row in zip(read_metrics(alone), read_metrics(two), strict=True):
        assert two_row["loss"] == pytest.approx(one_row["loss"], abs=1e-5)
        assert two_row["grad_norm"] == pytest.approx(one_row["grad_norm"], rel=1e-4)
    ours, theirs = (checkpoints.read_checkpoint(run, TRAIN.steps)["state_dict"] for run in (two, alone))
    matrices = [name for name in theirs if theirs[name].ndim >= 2]  # key biases have no gradient but rounding
    # AdamW enlarges the rounding of a gradient that is nearly zero; a step changes a weight by up to 1e-3
    assert all(torch.allclose(ours[name], theirs[name], atol=3e-5) for name in matrices)


def test_the_rank_and_the_number_of_processes_are_those_that_torchrun_states(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    for variables, expected in (({}, (0, 1)), ({"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}, (5, 8))):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with process_group() as world:
            assert (world.rank, world.size, world.is_writer) == (*expected, expected[0] == 0)


@pytest.fixture(scope="module")
def processes():
    context = get_context("forkserver")
    context.set_forkserver_preload(["two_processes"])
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        yield pool


def test_the_gradient_of_a_gathered_row_is_the_sum_over_all_processes(processes, tmp_path) -> None:
    found = list(processes.map(partial(gathered_gradient, store=tmp_path / "store"), range(2)))
    assert [gradient for gradient, _ in found] == [[0.0, 22.0], [11.0, 33.0]]
    assert [received for _, received in found] == [10, 10]  # what the first process sent


class Recorded(World):
    """A process that has the rows of the other process from an earlier run of it."""

    def __init__(self, rank: int, of_other: list[torch.Tensor] | None) -> None:
        super().__init__(rank=rank, size=2, device=torch.device("cpu"))
        object.__setattr__(self, "seen", [])
        object.__setattr__(self, "of_other", of_other)

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        self.seen.append(rows.detach())
        if self.of_other is None:
            return rows
        pair = [rows, self.of_other[len(self.seen) - 1]]
        return torch.stack(pair if self.rank == 0 else pair[::-1], dim=1).flatten(0, 1)


class Towers(nn.Module):
    """Two linear towers whose features have length 1, and a scale."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.image, self.text = (nn.Parameter(torch.randn(6, 4, generator=draw)) for _ in range(2))
        self.is_synced, self.synced = True, []

    @contextmanager
    def no_sync(self):
        self.is_synced = False
        yield
        self.is_synced = True

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.synced.append(self.is_synced)
        features = (nn.functional.normalize(one @ of, dim=-1) for one, of in ((image, self.image), (text, self.text)))
        return (*features, torch.tensor(4.0))


ROWS = torch.randn(2, 8, 6, generator=torch.Generator().manual_seed(9))
GROUP_IDS = torch.tensor([0, 1, 0, 2, 1, 2, 0, 1])


def losses(world: World, model: Towers, is_local: bool, micro_batch: int = 0) -> dict[str, float]:
    """Loss terms of a process, whose gradients are left in the model."""
    made = ContrastiveGradients(
        wrapped=model,
        loss=get_loss("multi_positive"),
        world=world,
        is_bf16=False,
        is_local=is_local,
        distillation=Distillation(base=Towers(2), term=logit_divergence),
    )
    own = slice(world.rank, None, world.size)
    entries = made.backward(ROWS[0, own], ROWS[1, own], GROUP_IDS[own], (1, 2), micro_batch)
    return {name: value.item() for name, value in entries.items()}


@pytest.mark.parametrize(
    ("is_local", "micro_batch", "synced"), [(False, 0, [True]), (True, 0, [True]), (True, 3, [False] * 3 + [True])]
)
def test_the_loss_of_each_process_is_that_of_the_whole_batch(is_local, micro_batch, synced) -> None:
    whole = losses(World(rank=0, size=1, device=torch.device("cpu")), Towers(1), is_local)
    seen = [None, None]
    for _ in range(3):  # the features of the other process are those of the run before, and so are its losses
        pair = [Recorded(rank, seen[1 - rank]) for rank in (0, 1)]
        models = [Towers(1) for _ in pair]
        found = [losses(one, model, is_local, micro_batch) for one, model in zip(pair, models, strict=True)]
        seen = [one.seen for one in pair]
    assert found == [pytest.approx(whole, rel=1e-5)] * 2
    assert [model.synced for model in models] == [synced] * 2  # gradients are exchanged with the last micro-batch
    assert min(whole.values()) > 0.1


def test_batch_norms_of_two_processes_on_the_cpu_equal_that_of_one(processes, tmp_path) -> None:
    alone, grads, statistics = trained_norm(0, 1, tmp_path / "one")
    first, other = processes.map(partial(trained_norm, size=2, store=tmp_path / "two"), range(2))
    for rank, (own, own_grads, own_statistics) in enumerate((first, other)):
        assert torch.allclose(torch.tensor(own), torch.tensor(alone)[rank::2], atol=1e-6)
        assert torch.allclose(torch.tensor(own_grads[0]), torch.tensor(grads[0])[rank::2], atol=1e-6)
        assert torch.allclose(torch.tensor(own_grads[1:]), torch.tensor(grads[1:]), atol=1e-5)
        assert torch.allclose(torch.tensor(own_statistics), torch.tensor(statistics), atol=1e-6)


def test_batch_norms_for_several_gpus_keep_their_activation_functions() -> None:
    torch.manual_seed(0)
    model = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(images)
        converted = share_statistics(model, World(rank=0, size=2, device=torch.device("cuda", 0)))
        assert torch.allclose(converted(images), expected, atol=1e-6)
    assert sum(isinstance(one, nn.SyncBatchNorm) for one in converted.modules()) == 49


ALONE = World(rank=0, size=1, device=torch.device("cpu"))
SHAPES = {nn.BatchNorm1d: (7, 3), nn.BatchNorm2d: (5, 3, 4, 6), nn.BatchNorm3d: (4, 3, 2, 3, 5)}


def made_norm(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    norm = kind(3, eps=0.03, momentum=0.25)
    for values in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(values.detach() if values.requires_grad else values)
    return norm


@pytest.mark.parametrize("kind", SHAPES, ids=lambda kind: kind.__name__)
def test_features_gradients_and_running_statistics_are_those_of_torch(kind: type[nn.Module]) -> None:
    theirs = made_norm(kind)
    ours = share_statistics(deepcopy(theirs), ALONE)
    draw = torch.Generator().manual_seed(1)
    for _ in range(2):
        rows = 2 + 3 * torch.randn(SHAPES[kind], generator=draw)
        pair = [rows.clone().requires_grad_() for _ in range(2)]
        levels = [norm(one) for norm, one in zip((ours, theirs), pair, strict=True)]
        assert torch.allclose(*levels, atol=1e-5)
        for one in levels:
            (one * torch.arange(float(one.numel())).view_as(one)).sum().backward()
        assert torch.allclose(pair[0].grad, pair[1].grad, rtol=1e-3, atol=1e-2)
    for name, value in theirs.state_dict().items():
        assert torch.allclose(ours.state_dict()[name], value, rtol=1e-5, atol=1e-6), name
    assert torch.allclose(ours.weight.grad, theirs.weight.grad, rtol=1e-4)


def test_in_evaluation_mode_the_running_statistics_are_used_and_kept() -> None:
    theirs = made_norm(nn.BatchNorm2d).eval()
    ours = share_statistics(deepcopy(theirs), ALONE)
    rows = 5 + torch.randn(2, 3, 4, 4)
    assert torch.allclose(ours(rows), theirs(rows))
    assert torch.equal(ours.running_mean, theirs.running_mean)
    assert int(ours.num_batches_tracked) == 0


def test_the_type_of_the_input_is_that_of_the_output_and_statistics_are_computed_in_fp32() -> None:
    ours = share_statistics(nn.BatchNorm2d(3), ALONE)
    rows = (300 + torch.randn(8, 3, 16, 16)).bfloat16()
    levels = ours(rows)
    assert levels.dtype == torch.bfloat16
    assert torch.allclose(ours.running_mean, 0.1 * rows.float().mean((0, 2, 3)), rtol=1e-5)


def test_dropout_behind_a_norm_comes_before_its_activation() -> None:
    norm = BatchNormAct2d(3)
    norm.drop, norm.act = nn.Dropout(1.0), nn.Sigmoid()
    ours = share_statistics(norm, ALONE)
    assert torch.equal(ours(torch.randn(4, 3, 2, 2)), torch.full((4, 3, 2, 2), 0.5))
