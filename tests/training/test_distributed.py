"""Two processes on the CPU against one: the same whole batch, the same loss, the same weights."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from squares_dataset import MODEL, TRAIN, make_dataset

from hubbleclip.core.errors import TrainingError
from hubbleclip.training import checkpoints
from hubbleclip.training.distributed import World
from hubbleclip.training.loop import _open_batches, train
from hubbleclip.training.runs import read_facts
from hubbleclip.training.tracking import read_metrics

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from squares_dataset import MODEL, TRAIN
from hubbleclip.training.loop import train
settings = TRAIN.model_copy(update={"micro_batch": int(sys.argv[4])})
train(Path(sys.argv[1]), Path(sys.argv[2]), MODEL, settings, code_version="test")
"""


@pytest.mark.slow
@pytest.mark.parametrize("micro_batch", [0, 1])
def test_two_processes_train_as_one(tmp_path, micro_batch) -> None:
    dataset = make_dataset(tmp_path / "datasets")
    alone = train(dataset, tmp_path / "alone", MODEL, TRAIN, code_version="test")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    arguments = [str(script), str(dataset), str(tmp_path / "two"), str(Path(__file__).parent), str(micro_batch)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen([*torchrun, *arguments], env=environment, start_new_session=True) as running:
        try:
            assert running.wait(timeout=120) == 0
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
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in matrices)


def test_a_batch_that_the_processes_cannot_divide_is_rejected() -> None:
    world = World(rank=0, size=3, device=torch.device("cpu"))
    with pytest.raises(TrainingError, match=r"train\.batch_size 4 .* 3 processes"):
        _open_batches(None, TRAIN, None, world)


def gathered_gradient(rank: int, store: Path) -> list[float]:
    """Gradient of this process's rows, in a loss that weighs the rows of the whole batch differently per process."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    rows = torch.zeros(2, 1, requires_grad=True)
    gathered = World(rank=rank, size=2, device=torch.device("cpu")).gather(rows)
    (gathered.flatten() @ torch.arange(4.0) * 10**rank).backward()
    dist.destroy_process_group()
    return rows.grad.flatten().tolist()


def test_the_gradient_of_a_gathered_row_is_the_sum_over_all_processes(tmp_path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        gradients = list(pool.map(partial(gathered_gradient, store=tmp_path / "store"), range(2)))
    assert gradients == [[0.0, 22.0], [11.0, 33.0]]
