"""Shards written where a flow has it done have the same bytes."""

import pickle
from functools import partial

from synthetic_samples import make_png, make_sample

from hubbleclip.config.settings import ShardSettings
from hubbleclip.dataset.build import build_dataset


def read_from(pngs, tile_id):
    return pngs[tile_id]


def build(folder, num=24, **options):
    """Several shards of 1 MB a split: tiles of about 150 kB."""
    pngs = [make_png(index, 384) for index in range(num)]
    samples = [make_sample(index, index % 6, png) for index, png in enumerate(pngs)]
    read_png = partial(read_from, {sample.tile_id: png for sample, png in zip(samples, pngs, strict=True)})
    built = build_dataset(
        samples, read_png, folder, ShardSettings(max_mb=1), contract_version="1", code_version="test", **options
    )
    files = (path for path in (folder / built.dataset.digest).rglob("*") if path.is_file())
    return {path.name: path.read_bytes() for path in files}


def sent(thing):
    return pickle.loads(pickle.dumps(thing))


def elsewhere(work, items):
    """As a runner does: all that crosses to another process is pickled."""
    return [sent(sent(work)(sent(item))) for item in items]


def test_shards_written_elsewhere_are_those_written_here(tmp_path):
    here = build(tmp_path / "here")
    assert sum(name.endswith(".tar") for name in here) > 3
    assert build(tmp_path / "elsewhere", map_fn=elsewhere) == here
