import io
import tarfile
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_samples import make_png, make_sample

from hubbleclip.dataset.shard_writer import (
    canonical_json,
    member_bytes,
    packed_size_bytes,
    read_shard_file,
    sidecar,
    trailer_size_bytes,
    write_tar,
)


@given(st.binary(max_size=2000))
def test_a_member_is_what_tarfile_writes_of_it(content):
    buffer, info = io.BytesIO(), tarfile.TarInfo("a.png")
    info.size, info.uname, info.gname = len(content), "hubbleclip", "hubbleclip"
    tarfile.TarFile(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT).addfile(info, io.BytesIO(content))
    assert buffer.getvalue() == member_bytes("a.png", content)


@pytest.fixture
def written(tmp_path):
    """Pictures of every length, whatever is in them."""
    pngs = [make_png(index) * (400 - 7 * index) for index in range(50)]
    samples = [make_sample(index, index % 5, png) for index, png in enumerate(pngs)]
    pngs = {sample.tile_id: png for sample, png in zip(samples, pngs, strict=True)}
    return samples, pngs, write_tar(tmp_path / "train-000000.tar", samples, pngs.__getitem__)


def test_the_facts_of_a_shard_file_match_its_content(written, tmp_path):
    samples, pngs, shard = written
    planned = sum(packed_size_bytes(one, len(sidecar(one)), len(pngs[one.tile_id])) for one in samples)
    assert shard.size_bytes == planned + trailer_size_bytes(planned)
    assert shard.size_bytes % tarfile.RECORDSIZE == 0
    data = (tmp_path / "train-000000.tar").read_bytes()
    assert len(data) == shard.size_bytes
    assert {name: data[start : start + length] for name, (start, length) in shard.extents.items()} == pngs
    assert read_shard_file(tmp_path / "train-000000.tar") == shard


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_json_cannot_represent_are_refused(value):
    sample = replace(make_sample(0, 0, b""), ra_deg=value)
    with pytest.raises(ValueError, match="JSON"):
        sidecar(sample)


def test_a_json_text_has_one_form():
    assert canonical_json({"b": [1.0, None, True], "a": "é"}) == '{"a":"é","b":[1.0,null,true]}'.encode()
