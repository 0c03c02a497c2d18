"""Batches of grey tiles as one loads them with webdataset or litdata. Runs in an environment of its own.

Prints the seconds from the first request for a batch to the last batch, and how many tiles came.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import litdata
import numpy as np
import numpy.typing as npt
import torch
import webdataset as wds

Levels = npt.NDArray[np.uint8]


def by_opencv(png: bytes) -> Levels:
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)


def stacked(rows: list[tuple[Levels, str]]) -> tuple[torch.Tensor, list[str]]:
    tiles, texts = zip(*rows, strict=True)
    return torch.from_numpy(np.stack(tiles)), list(texts)


def webdataset_batches(given: dict[str, Any]) -> Any:
    dataset = wds.WebDataset(given["shards"], shardshuffle=len(given["shards"]), seed=1).shuffle(500)
    if given["kind"] == "opencv":
        dataset = dataset.map_dict(png=by_opencv, txt=bytes.decode)
    else:
        dataset = dataset.decode("pil").map_dict(png=lambda image: np.asarray(image.convert("L")))
    batched = dataset.to_tuple("png", "txt").batched(given["batch"], collation_fn=stacked)
    return wds.WebLoader(batched, batch_size=None, num_workers=given["workers"])


class Tiles(litdata.StreamingDataset):
    def __getitem__(self, index: Any) -> tuple[Levels, str]:
        row = super().__getitem__(index)
        return by_opencv(row["png"]), row["txt"]


def stored(shards: list[str], index: int) -> Any:
    for row in wds.WebDataset(shards[index], shardshuffle=False):
        yield {"png": row["png"], "txt": row["txt"].decode()}


def litdata_batches(given: dict[str, Any]) -> Any:
    folder = Path(given["folder"]) / "litdata"
    litdata.optimize(
        partial(stored, given["shards"]), list(range(len(given["shards"]))), str(folder), chunk_bytes="64MB",
        num_workers=1, verbose=False,
    )  # fmt: skip
    tiles = Tiles(str(folder), shuffle=True, seed=1)
    return litdata.StreamingDataLoader(
        tiles, batch_size=given["batch"], num_workers=given["workers"], collate_fn=stacked
    )


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    make = litdata_batches if given["kind"] == "litdata" else webdataset_batches
    batches = make(given)
    start = time.perf_counter()
    num = sum(len(tiles) for tiles, _ in batches)
    print(json.dumps({"took_s": time.perf_counter() - start, "num": num}))
