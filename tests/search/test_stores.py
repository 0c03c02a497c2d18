"""Every vector store finds exactly the nearest rows, keeps what it was given, and never answers from damaged files."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pyarrow.parquet as pq
import pytest

from hubbleclip.core.errors import DamagedIndexError, SearchError
from hubbleclip.core.layout import Layout
from hubbleclip.core.vectors import unit
from hubbleclip.search.open_index import STORES
from hubbleclip.search.open_index import open_store as open_store_of
from hubbleclip.search.stores import embedded as stores_embedded
from hubbleclip.search.stores.base import VectorStore, rows_of
from hubbleclip.search.stores.embedded import EmbeddedStore, SegmentFacts, error_bound, merge_tail, quantise

MODEL = "a" * 32
Open = Callable[[], VectorStore]


def ids(start: int, stop: int) -> list[str]:
    return [f"{number:032x}" for number in range(start, stop)]


def features(num: int, num_dims: int = 64, seed: int = 0) -> np.ndarray:
    """Features as those of CLIP models: in a narrow cone, in clusters, with one dimension far larger than the others."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((20, num_dims))
    feat_nd = 0.7 * centres[rng.integers(0, 20, num)] + rng.standard_normal((num, num_dims)) + 1
    feat_nd[:, 3] += 15
    return unit(feat_nd).astype(np.float32)


def nearest(feat_nd: np.ndarray, query_d: np.ndarray, k: int, mask_n: np.ndarray | None = None) -> list[int]:
    """The obvious way: every similarity, sorted."""
    scores = feat_nd.astype(np.float16).astype(np.float64) @ unit(query_d.astype(np.float64)).astype(np.float32)
    rows = np.arange(len(feat_nd)) if mask_n is None else np.flatnonzero(mask_n)
    return rows[np.lexsort((rows, -scores[rows].round(9)))][:k].tolist()


@pytest.fixture(params=list(STORES))
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    return lambda: open_store_of(Layout(tmp_path), MODEL, request.param)


def test_a_scan_finds_exactly_the_nearest_rows_whatever_the_filter(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, num in {"BLOCK_ROWS": 1500, "RESCORE_ROWS": 300, "QUANTISE_ROWS": 1900}.items():
        monkeypatch.setattr(stores_embedded, name, num)
    feat_nd = features(9000)
    store = open_store()
    store.append(ids(0, 5000), feat_nd[:5000])
    store.append(ids(5000, 9000), feat_nd[5000:])
    rng = np.random.default_rng(5)
    queries, shares = (rng.standard_normal(64), feat_nd[17], features(1, seed=8)[0]), (1.0, 0.5, 0.1, 0.01, 0.001, 0.0)
    for share, query_d in itertools.product(shares, queries):
        mask_n = None if share == 1 else rng.random(9000) < share
        found = store.scan(query_d, 20, mask_n)
        assert found.row_n.tolist() == nearest(feat_nd, query_d, 20, mask_n)
        similarity_n = feat_nd[found.row_n] @ unit(query_d)
        np.testing.assert_allclose(found.score_n, similarity_n, atol=1e-3)
    store.close()


def test_rows_outlive_the_object_and_another_object_notices_new_ones(open_store: Open) -> None:
    writer = open_store()
    assert (len(writer.tile_ids), len(writer.scan(np.ones(64), 3).row_n)) == (0, 0)
    feat_nd = features(700)
    writer.append(ids(0, 300), feat_nd[:300])
    reader = open_store()
    assert reader.is_current()
    writer.append(ids(300, 700), feat_nd[300:])
    assert not reader.is_current()
    assert writer.is_current()
    assert reader.tile_ids.to_pylist() == ids(0, 300)
    assert reader.scan(features(1)[0], 1000).row_n.max() < 300  # the files that it opened are still there
    reader.append(ids(700, 703), features(3, seed=4))  # after those that it did not know
    again = open_store()
    assert again.tile_ids.to_pylist() == reader.tile_ids.to_pylist() == ids(0, 703)
    np.testing.assert_allclose(again.features([699, 2]), feat_nd[[699, 2]], atol=1e-3)
    assert rows_of(again.tile_ids, [*ids(650, 652), "f" * 32]) == [650, 651, None]


@pytest.mark.parametrize(
    ("new", "feat_nd", "words"),
    [
        (ids(5, 6), features(1), "already"),
        (ids(90, 91) * 2, features(2), "already"),
        (ids(90, 91), features(1, num_dims=32), "dimensions"),
        (ids(90, 92), features(1), "2 tiles"),
        (ids(90, 91), features(1) * np.nan, "not finite"),
    ],
)
def test_rows_that_do_not_fit_are_refused(open_store: Open, new: list[str], feat_nd: np.ndarray, words: str) -> None:
    store = open_store()
    store.append(ids(0, 10), features(10))
    with pytest.raises(SearchError, match=words):
        store.append(new, feat_nd)
    assert len(open_store().tile_ids) == 10


def test_a_query_without_a_direction_is_refused(open_store: Open) -> None:
    store = open_store()
    store.append(ids(0, 10), features(10))
    for query_d, words in ((np.zeros(64), "cancel"), (np.ones(32), "64 dimensions")):
        with pytest.raises(SearchError, match=words):
            store.scan(query_d, 3)


def embedded(folder: Path, num: int = 3000) -> EmbeddedStore:
    store = EmbeddedStore(folder, MODEL)
    store.append(ids(0, num), features(num))
    return store


@pytest.mark.parametrize("suffix", ["f16", "i8"])
def test_a_file_that_is_truncated_while_it_is_open_is_one_clear_line(tmp_path: Path, suffix: str) -> None:
    store = embedded(tmp_path)
    (path,) = tmp_path.glob(f"*.{suffix}")
    os.truncate(path, 1000)
    with pytest.raises(DamagedIndexError, match=f"rows-.*{suffix} is damaged.*hubbleclip index"):
        store.scan(features(1)[0], 5)


def test_what_a_killed_append_left_is_removed_by_the_next(tmp_path: Path) -> None:
    store = embedded(tmp_path)
    (tmp_path / "rows-000003000-000004000.f16").write_bytes(b"half")
    (tmp_path / ".rows-000003000-000004000.i8.1-2.tmp").write_bytes(b"half")
    store.append(ids(3000, 3100), features(100))
    assert len(EmbeddedStore(tmp_path, MODEL).tile_ids) == 3100
    assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} == {
        "index",
        "rows-000000000-000003000",
        "rows-000003000-000003100",
    }


def test_rows_are_on_the_disk_before_the_manifest_lists_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr("os.fsync", lambda handle: flushed.append(os.fstat(handle).st_ino))
    embedded(tmp_path, 30).close()
    manifest, *rows = (path.stat().st_ino for path in sorted(tmp_path.iterdir()))
    assert len(rows) == 3 and {*rows, tmp_path.stat().st_ino} <= set(flushed[: flushed.index(manifest)])


def test_an_append_that_ends_before_the_manifest_leaves_the_former_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = embedded(tmp_path, 300)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="full"):
        patch.setattr(stores_embedded, "description_bytes", Mock(side_effect=OSError("full")))
        store.append(ids(300, 700), features(400))  # merges both
    assert EmbeddedStore(tmp_path, MODEL).tile_ids.to_pylist() == ids(0, 300)


def test_an_index_that_is_replaced_while_it_is_opened_is_read_again_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded(tmp_path, 30).close()
    open_segment, num_failed = stores_embedded.open_segment, iter([2, 1, 0, *[9] * 5])

    def replaced(*arguments: object) -> object:
        if next(num_failed):
            raise SearchError("a file is missing")
        return open_segment(*arguments)

    monkeypatch.setattr(stores_embedded, "open_segment", replaced)
    monkeypatch.setattr(stores_embedded, "file_stamp", lambda _, count=iter(range(99)): next(count))
    assert EmbeddedStore(tmp_path, MODEL).tile_ids.to_pylist() == ids(0, 30)
    with pytest.raises(SearchError, match="is written too often"):
        EmbeddedStore(tmp_path, MODEL)


def test_the_parquet_files_hold_ids_model_and_float16_features(tmp_path: Path) -> None:
    embedded(tmp_path).close()
    table = pq.read_table(list(tmp_path.glob("*.parquet")))
    assert table["tile_id"].to_pylist() == ids(0, 3000)
    assert table["model_digest"].unique().to_pylist() == [MODEL]
    assert str(table.schema.field("feature").type) == "fixed_size_list<element: halffloat>[64]"
    np.testing.assert_array_equal(np.stack(table["feature"].to_numpy()), features(3000).astype(np.float16))


def test_large_segments_are_never_rewritten() -> None:
    def sizes(num_appends: int, num_new: int, max_rows: int) -> list[int]:
        segments: list[int] = []
        for _ in range(num_appends):
            facts = [SegmentFacts(start=0, stop=size, sha256={}) for size in segments]
            merged = merge_tail(facts, num_new, max_rows)
            segments = [*segments[: len(segments) - merged], num_new + sum(segments[len(segments) - merged :])]
        return segments

    assert max(sizes(500, 10, 640)) == 640
    assert len(sizes(500, 10, 640)) < 5000 / 640 + 7


@pytest.mark.parametrize("num_dims", [8, 64, 512])
def test_codes_are_as_near_to_the_features_as_their_errors_say(num_dims: int) -> None:
    feat_nd = features(500, num_dims)
    query = quantise(features(1, num_dims, seed=9))
    codes = quantise(feat_nd)
    similarity_n = (codes.codes_nd.astype(float) @ query.codes_nd[0]) * codes.scale_n * query.scale_n[0]
    bound_n = error_bound(codes.error_n, float(query.error_n[0]))
    assert (np.abs(similarity_n - feat_nd @ features(1, num_dims, seed=9)[0]) <= bound_n).all()
    assert bound_n.max() < 0.03  # the large dimension does not make the steps coarse
