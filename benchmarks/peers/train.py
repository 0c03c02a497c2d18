"""Training by `open_clip_train.main`, with its own model, reader, loss, optimizer and loop.

Its reader needs webdataset <= 0.2.86 (its issue 935), which precedes ours on the path. Prints the seconds of an epoch
from shards, and of one on batches in memory, after a warm-up epoch.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

EPOCHS = ("warm-up", "shards", "ready")


class BatchesInMemory(list[Any]):
    """Batches in memory, with the attributes of a loader that `train_one_epoch` reads."""

    def __init__(self, loader: Any) -> None:
        super().__init__(loader)
        self.num_batches, self.num_samples = loader.num_batches, loader.num_samples


def seconds_of_epochs(models_dir: str, flags: list[str]) -> dict[str, float]:
    """Measure the seconds of each of `EPOCHS`."""
    import open_clip
    from open_clip_train import main as program

    took_s = {}
    train_one_epoch = program.train_one_epoch

    def timed(model: Any, data: Any, loss: Any, epoch: int, *rest: Any, **more: Any) -> None:
        if EPOCHS[epoch] == "ready":
            data["train"].dataloader = BatchesInMemory(data["train"].dataloader)
        start_s = time.perf_counter()
        train_one_epoch(model, data, loss, epoch, *rest, **more)
        took_s[EPOCHS[epoch]] = time.perf_counter() - start_s

    program.train_one_epoch = timed
    open_clip.add_model_config(models_dir)
    program.main([*flags, "--epochs", str(len(EPOCHS))])
    return took_s


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    sys.path.insert(0, arguments["packages"])
    print(json.dumps(seconds_of_epochs(arguments["models_dir"], arguments["flags"])))
