"""A subset has the tiles that are asked for, each in its split and with its bytes, and a digest of its own."""

from datetime import date
from pathlib import Path

import pytest
from synthetic_samples import built_in, make_samples_with_pngs

from hubbleclip.cli.app import main
from hubbleclip.config.settings import ShardSettings
from hubbleclip.core.errors import DatasetError
from hubbleclip.dataset.build import make_subset
from hubbleclip.dataset.manifest import read_dataset
from hubbleclip.dataset.verify import find_faults

REPORT = {"settings": {"guard_arcsec": 0.5, "near_duplicate": 0.9}}


def test_a_subset_has_its_tiles_their_splits_and_a_digest_of_its_own(tmp_path: Path) -> None:
    facts = {"released_on": date(2024, 2, 3), "split_report": REPORT, "settings_digests": {"tiles": "t"}}
    facts |= {"settings": ShardSettings(max_mb=7), "contract_version": "1.2"}
    whole = read_dataset(built_in(tmp_path / "whole", *make_samples_with_pngs(12, 6), **facts))
    ids = whole.manifest["tile_id"].to_pylist()
    made = make_subset(whole.path, [*ids[::2], "f" * 32], tmp_path / "subsets").dataset
    part = read_dataset(tmp_path / "subsets" / made.digest)
    assert part.manifest["tile_id"].to_pylist() == ids[::2]
    splits = dict(zip(ids, whole.manifest["split"].to_pylist(), strict=True))
    assert part.manifest["split"].to_pylist() == [splits[tile_id] for tile_id in ids[::2]]
    assert part.read_tile_images(ids[::2]) == whole.read_tile_images(ids[::2])
    same = ("released_on", "settings", "settings_digests", "contract_version")
    assert [part.description[name] for name in same] == [whole.description[name] for name in same]
    assert part.description["split_report"] == {"subset_of": whole.digest, **REPORT}
    assert list(find_faults(part.path)) == []
    again = make_subset(whole.path, reversed(ids[::2]), tmp_path / "again").dataset
    other = make_subset(whole.path, ids[:-1], tmp_path / "subsets").dataset
    assert (len({whole.digest, made.digest, other.digest}), other.parent_digest) == (3, None)
    assert again.digest == made.digest


def test_a_subset_of_no_tile_is_refused(tmp_path: Path) -> None:
    whole = built_in(tmp_path / "whole", *make_samples_with_pngs(4, 2))
    with pytest.raises(DatasetError, match="none of the 1 tiles"):
        make_subset(whole, ["f" * 32], tmp_path / "subsets")


def test_a_file_of_ids_may_have_a_header_and_empty_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = read_dataset(built_in(tmp_path / "whole", *make_samples_with_pngs(4, 2)))
    first = whole.manifest["tile_id"].to_pylist()[0]
    (tmp_path / "ids.csv").write_text(f"tile_id,note\n{first},arc\n\n {first} ,\n{'f' * 32},\n")
    words = ["subset", str(whole.path), f"--data={tmp_path}", f"--to={tmp_path / 'subsets'}"]
    with pytest.raises(SystemExit):
        main([*words, f"--ids={tmp_path / 'ids.csv'}"])
    assert "1 of 2 tiles" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit):
        main([*words, f"--ids={tmp_path / 'other.csv'}"])
    assert "there is no file" in capsys.readouterr().err
