import io
import shutil
import subprocess
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_samples import make_png, make_sample

from hubbleclip.dataset import ustar
from hubbleclip.dataset.shard_writer import members, read_tar, write_tar

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789.", min_size=1, max_size=100)


def tarfile_member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode, member.uid, member.gid = size, 0, 0o644, 0, 0
    member.uname = member.gname = "hubbleclip"
    return member


@given(name=NAMES, size=st.integers(0, 8**11 - 1))
def test_a_header_is_the_one_that_tarfile_writes(name, size):
    assert ustar.header(name.encode(), size) == tarfile_member(name, size).tobuf(tarfile.USTAR_FORMAT)


@given(st.integers(0, 10**7))
def test_members_take_whole_blocks_and_the_end_fills_the_record(size):
    assert ustar.member_bytes(size) == 512 + size + len(ustar.padding(size))
    assert ustar.member_bytes(size) % 512 == 0
    total = ustar.member_bytes(size)
    assert len(ustar.end(total)) >= 1024
    assert (total + len(ustar.end(total))) % tarfile.RECORDSIZE == 0


@pytest.mark.parametrize(("name", "size"), [(b"a" * 101, 1), (b"a", 8**11)])
def test_what_does_not_fit_is_refused(name, size):
    with pytest.raises(ValueError, match="does not fit"):
        ustar.header(name, size)


@pytest.fixture
def written(tmp_path):
    """Enough for several chunks: pictures of every length, whatever is in them."""
    pngs = [make_png(index) * (400 - 7 * index) for index in range(50)]
    samples = [make_sample(index, index % 5, png) for index, png in enumerate(pngs)]
    pngs = {sample.tile_id: png for sample, png in zip(samples, pngs, strict=True)}
    return samples, pngs, write_tar(tmp_path / "train-000000.tar", samples, pngs.__getitem__)


def test_a_shard_has_the_bytes_that_tarfile_writes(written, tmp_path):
    samples, pngs, _ = written
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            for name, data in members(sample, pngs[sample.tile_id]):
                tar.addfile(tarfile_member(name.decode(), len(data)), io.BytesIO(data))
    assert (tmp_path / "train-000000.tar").read_bytes() == buffer.getvalue()


def test_what_is_told_of_a_shard_while_writing_is_what_reading_finds(written, tmp_path):
    assert read_tar(tmp_path / "train-000000.tar") == written[2]


@pytest.mark.skipif(shutil.which("tar") is None, reason="there is no tar")
def test_gnu_tar_lists_every_member(written, tmp_path):
    listed = subprocess.run(
        ["tar", "--list", "--file", tmp_path / "train-000000.tar"], capture_output=True, text=True, check=True
    )
    names = [name.decode() for one in written[0] for name, _ in members(one, written[1][one.tile_id])]
    assert listed.stdout.split() == names
    assert not listed.stderr
