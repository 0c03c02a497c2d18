"""Batches of grey tiles by webdataset or litdata. Runs in an environment of its own.

Prints the seconds from the first request for a batch to the last batch, and the number of tiles.
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


def decode_opencv(png: bytes) -> Levels:
    """Decode a PNG as grey levels."""
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)


def stack(rows: list[tuple[Levels, str]]) -> tuple[torch.Tensor, list[str]]:
    """Collate rows into a batch."""
    tiles, texts = zip(*rows, strict=True)
    return torch.from_numpy(np.stack(tiles)), list(texts)


def webdataset_batches(arguments: dict[str, Any]) -> Any:
    """Open batches by webdataset."""
    dataset = wds.WebDataset(arguments["shards"], shardshuffle=len(arguments["shards"]), seed=1).shuffle(500)
    if arguments["kind"] == "opencv":
        dataset = dataset.map_dict(png=decode_opencv, txt=bytes.decode)
    else:
        dataset = dataset.decode("pil").map_dict(png=lambda image: np.asarray(image.convert("L")))
    batched = dataset.to_tuple("png", "txt").batched(arguments["batch"], collation_fn=stack)
    return wds.WebLoader(batched, batch_size=None, num_workers=arguments["workers"])


class Tiles(litdata.StreamingDataset):
    """Decoded tiles and texts from litdata chunks."""

    def __getitem__(self, index: Any) -> tuple[Levels, str]:
        row = super().__getitem__(index)
        return decode_opencv(row["png"]), row["txt"]


def read_shard(shards: list[str], index: int) -> Any:
    """Yield the samples of one shard, for conversion to litdata."""
    for row in wds.WebDataset(shards[index], shardshuffle=False):
        yield {"png": row["png"], "txt": row["txt"].decode()}


def litdata_batches(arguments: dict[str, Any]) -> Any:
    """Convert the shards to litdata, and open batches."""
    folder = Path(arguments["folder"]) / "litdata"
    shards = arguments["shards"]
    litdata.optimize(
        partial(read_shard, shards),
        list(range(len(shards))),
        str(folder),
        chunk_bytes="64MB",
        num_workers=1,
        verbose=False,
    )
    tiles = Tiles(str(folder), shuffle=True, seed=1)
    return litdata.StreamingDataLoader(
        tiles, batch_size=arguments["batch"], num_workers=arguments["workers"], collate_fn=stack
    )


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    make = litdata_batches if arguments["kind"] == "litdata" else webdataset_batches
    batches = make(arguments)
    start = time.perf_counter()
    num = sum(len(tiles) for tiles, _ in batches)
    print(json.dumps({"took_s": time.perf_counter() - start, "num": num}))
