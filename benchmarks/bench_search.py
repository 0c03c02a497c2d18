"""The search index: scan, build, append and memory over sizes, and against numpy, DuckDB and faiss.

The features are synthetic: clusters in a narrow cone with one large dimension, as those of CLIP models. The benchmark
has two parts with a result each: `search` (sizes) and `search_peers`; arguments name those to run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.environments import peer_packages
from benchmarks.measure import ROOT, Contender, Row, each, progress, rate_row, report, sized, time_in_turn
from hubbleclip.core.vectors import unit
from hubbleclip.search.stores.base import VectorStore
from hubbleclip.search.stores.embedded import EmbeddedStore, num_cores

NUM_DIMS = 512
SIZES = sized((10_000, 100_000, 1_000_000), (2_000, 10_000))
LARGE = 5_000_000
LARGE_GIB = 18
"""Free disk in GiB from which `LARGE` is also measured."""
PEER_SIZE = sized(100_000, 5_000)
NUM_NEW = sized(10_000, 1_000)
SHARES = (1.0, 0.1, 0.01, 0.001)
K = 20
NUM_QUERIES = sized(20, 3)
PEER_QUERIES = sized(10, 3)
"""Queries per filter and run against a peer; DuckDB takes 0.4 s for each."""
RUNS, PEER_RUNS = sized(5, 1), sized(3, 1)
BATCH = 131_072
MODEL = "a" * 32
SEED = 1
FAISS = ("faiss-cpu==1.15.1",)
Features = npt.NDArray[np.float32]
Search = Callable[[Features, npt.NDArray[np.bool_] | None], npt.NDArray[np.int64]]


def ids(start: int, stop: int) -> list[str]:
    return [f"{number:032x}" for number in range(start, stop)]


def features(num: int, seed: int) -> Features:
    """Draw features (num, NUM_DIMS) of length 1."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(SEED).standard_normal((200, NUM_DIMS), np.float32)
    feat_nd = 0.7 * centres[rng.integers(0, 200, num)] + rng.standard_normal((num, NUM_DIMS), np.float32) + 0.5
    feat_nd[:, 3] += 20
    return unit(feat_nd)


def masks(num: int) -> dict[float, npt.NDArray[np.bool_] | None]:
    """Draw one filter for each share of admitted rows."""
    rng = np.random.default_rng(SEED)
    return {share: None if share == 1 else rng.random(num) < share for share in SHARES}


def exact(
    feat_nd: Features, query_d: Features, mask_n: npt.NDArray[np.bool_] | None, k: int = K
) -> npt.NDArray[np.int64]:
    """Find the nearest rows by numpy."""
    return highest(feat_nd @ query_d, mask_n, k)


def highest(
    score_n: npt.NDArray[np.float32], mask_n: npt.NDArray[np.bool_] | None, k: int = K
) -> npt.NDArray[np.int64]:
    """Find the admitted rows of highest score."""
    if mask_n is not None:
        score_n = np.where(mask_n, score_n, -2)
    best = np.argpartition(-score_n, k)[:k]
    best = best[score_n[best] > -2]
    return best[np.argsort(-score_n[best], kind="stable")]


def build(folder: Path, num: int, query_qd: Features | None = None) -> tuple[float, VectorStore, Features]:
    """Append batches until a store has `num` rows.

    Return the seconds without drawing the features, the store, and the exact similarities (queries, rows) by numpy.
    """
    store, seconds, score_qn = EmbeddedStore(folder, MODEL), 0.0, []
    while (start := len(store.tile_ids)) < num:
        stop = min(start + BATCH, num)
        feat_nd = features(stop - start, start)
        started = time.perf_counter()
        store.append(ids(start, stop), feat_nd)
        seconds += time.perf_counter() - started
        if query_qd is not None:
            score_qn.append(query_qd @ feat_nd.astype(np.float16).astype(np.float32).T)
    return seconds, store, np.concatenate(score_qn, axis=1) if score_qn else np.empty((0, num), np.float32)


def scan_in_a_process(folder: Path, num: int) -> dict[str, list[float]]:
    """Open and scan a store in a process of its own, whose peak memory is then that of a search."""
    code = f"from benchmarks.bench_search import scans; scans({str(folder)!r}, {num})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


def scans(folder: str, num: int) -> None:
    """Print the seconds of opening and of each query, and the peak memory in MB, as JSON."""
    query_qd = features(NUM_QUERIES, 10**9)
    started = time.perf_counter()
    store = EmbeddedStore(Path(folder), MODEL)
    found = {"open": [time.perf_counter() - started]}
    for share, mask_n in masks(num).items():
        store.scan(query_qd[0], K, mask_n)
        found[str(share)] = []
        for query_d in query_qd:
            started = time.perf_counter()
            store.scan(query_d, K, mask_n)
            found[str(share)].append(time.perf_counter() - started)
    found["peak_mb"] = [peak_mb()]
    found["sum"] = sums(Path(folder))
    print(json.dumps(found))


def peak_mb() -> float:
    """Peak memory of this process. `ru_maxrss` may be that of the process that started it."""
    status = Path("/proc/self/status").read_text()
    (kib,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(kib) * 1024 / 1e6


def sums(folder: Path) -> list[float]:
    """Seconds of summing the bytes of all codes by all cores: what reading the memory alone takes."""
    mapped = [np.memmap(path, np.int64, "r") for path in sorted(folder.glob("*.i8"))]
    parts = [codes[first : first + 2**22] for codes in mapped for first in range(0, len(codes), 2**22)]
    seconds = []
    with ThreadPoolExecutor(num_cores()) as pool:
        for _ in range(1 + NUM_QUERIES):
            started = time.perf_counter()
            list(pool.map(np.sum, parts))
            seconds.append(time.perf_counter() - started)
    return seconds[1:]


def value_row(name: str, unit_: str, values: list[float]) -> Row:
    """Make a row of a median that is no speed."""
    median = float(np.median(values))
    spread = (max(values) - min(values)) / median if median else 0.0
    return Row(
        name=name,
        unit=unit_,
        ours=float(f"{median:.4g}"),
        peer=None,
        peer_name=None,
        ratio=None,
        runs=len(values),
        spread=round(spread, 3),
    )


def measure_size(num: int) -> list[Row]:
    """Measure one size: build, disk, append, open, scan under each filter, memory."""
    with tempfile.TemporaryDirectory(prefix="hubbleclip-bench-") as folder:
        query_qd = features(NUM_QUERIES, 10**9)
        build_s, store, score_qn = build(Path(folder), num, query_qd)
        recalls = {
            share: recall(
                ours_of(store), query_qd, mask_n, [set(highest(score_n, mask_n).tolist()) for score_n in score_qn]
            )
            for share, mask_n in masks(num).items()
        }
        del score_qn
        store.close()
        disk = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        found = scan_in_a_process(Path(folder), num)
        store = EmbeddedStore(Path(folder), MODEL)
        new_nd, append_s = features(NUM_NEW, SEED + num), []
        for number in range(RUNS):
            start = num + number * NUM_NEW
            started = time.perf_counter()
            store.append(ids(start, start + NUM_NEW), new_nd)
            append_s.append(time.perf_counter() - started)
        store.close()
    size = f"{num:,} x {NUM_DIMS}"
    rows = [
        value_row(f"build {size}", "s", [build_s]),
        value_row(f"append {NUM_NEW:,} to {size}", "s", append_s),
        value_row(f"open and check {size}", "s", found["open"]),
        value_row(f"disk, {size}", "MB", [disk / 1e6]),
        value_row(f"peak memory of a search, {size}", "MB", found["peak_mb"]),
    ]
    rows.append(value_row(f"plain sum of the codes, {size}", "ms", [1000 * one for one in found["sum"]]))
    rows += [value_row(f"recall@{K}, {size}, filter {share:.1%}", "share", [recalls[share]]) for share in SHARES]
    scanned = [(share, [1000 * one for one in found[str(share)]]) for share in SHARES]
    return rows + [value_row(f"scan and rescoring, {size}, filter {share:.1%}", "ms", ms) for share, ms in scanned]


def ours_of(store: VectorStore) -> Search:
    return lambda query_d, mask_n: store.scan(query_d, K, mask_n).row_n


def numpy_of(feat_nd: Features) -> Search:
    return lambda query_d, mask_n: exact(feat_nd, query_d, mask_n)


def duckdb_of(feat_nd: Features) -> Search:
    """Scan a DuckDB table; a filter is a column of the table that joins it."""
    database = duckdb.connect()
    column = pa.FixedSizeListArray.from_arrays(pa.array(feat_nd.ravel()), NUM_DIMS)
    database.register("given", pa.table({"row": np.arange(len(feat_nd)), "feature": column}))
    database.execute(f"CREATE TABLE feature AS SELECT row, feature::FLOAT[{NUM_DIMS}] AS feature FROM given")
    order = f"ORDER BY array_inner_product(feature, ?::FLOAT[{NUM_DIMS}]) DESC LIMIT {K}"

    def search(query_d: Features, mask_n: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.int64]:
        where = ""
        if mask_n is not None:
            database.register("admitted", pa.table({"row": np.flatnonzero(mask_n)}))
            where = "SEMI JOIN admitted USING (row)"
        found = database.execute(f"SELECT row FROM feature {where} {order}", [query_d.tolist()]).fetchnumpy()
        row_n: npt.NDArray[np.int64] = found["row"]
        return row_n

    return search


def faiss_of(feat_nd: Features, kind: str) -> Search:
    """Build an index of faiss: `SQ8`, a flat scan of one-byte codes, or `HNSW32,SQ8`, a graph."""
    import faiss

    index = faiss.index_factory(NUM_DIMS, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(feat_nd)
    index.add(feat_nd)
    make = faiss.SearchParametersHNSW if "HNSW" in kind else faiss.SearchParameters
    more = {"efSearch": 128} if "HNSW" in kind else {}

    def search(query_d: Features, mask_n: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.int64]:
        if mask_n is not None:
            more["sel"] = faiss.IDSelectorBitmap(np.packbits(mask_n, bitorder="little"))
        row_n: npt.NDArray[np.int64] = index.search(query_d[None], K, params=make(**more))[1][0]
        more.pop("sel", None)
        return row_n

    return search


def recall(search: Search, query_qd: Features, mask_n: npt.NDArray[np.bool_] | None, truths: list[set[int]]) -> float:
    """Compute the mean share of the exact nearest rows that a search finds."""
    found = [set(search(query_d, mask_n).tolist()) for query_d in query_qd]
    return float(np.mean([len(one & truth) / len(truth) for one, truth in zip(found, truths, strict=True)]))


def contender(search: Search, query_qd: Features, mask_n: npt.NDArray[np.bool_] | None) -> Contender:
    """Time all queries, one after the other."""

    @contextmanager
    def prepared(_: Path) -> Iterator[Callable[[], object]]:
        yield lambda: [search(query_d, mask_n) for query_d in query_qd]

    return prepared


def peers(feat_nd: Features) -> dict[str, Search]:
    """Build every peer that is installed."""
    found = {"numpy, float32": numpy_of(feat_nd), "DuckDB, array_inner_product": duckdb_of(feat_nd)}
    if packages := peer_packages("faiss", *FAISS):
        sys.path.append(str(packages))
        found["faiss SQ8 flat"] = faiss_of(feat_nd, "SQ8")
        found["faiss HNSW32, SQ8, efSearch 128"] = faiss_of(feat_nd, "HNSW32,SQ8")
    return found


def recall_row(name: str, ours: float, peer: float, peer_name: str) -> Row:
    return Row(
        name=name,
        unit="recall@20",
        ours=round(ours, 4),
        peer=round(peer, 4),
        peer_name=peer_name,
        ratio=None,
        runs=PEER_QUERIES,
        spread=0.0,
    )


def measure_peers() -> list[Row]:
    """Compare queries per second and recall with each peer under each filter."""
    query_qd, rows = features(PEER_QUERIES, 10**9), []
    with tempfile.TemporaryDirectory(prefix="hubbleclip-bench-") as folder:
        _, store, _ = build(Path(folder) / "ours", PEER_SIZE)
        # All contenders get what the store holds: the float16 values.
        feat_nd = store.features(range(PEER_SIZE))
        ours, filters = ours_of(store), masks(PEER_SIZE)
        truths = {
            share: [set(exact(feat_nd, query_d, mask_n).tolist()) for query_d in query_qd]
            for share, mask_n in filters.items()
        }
        for name, peer in each(list(peers(feat_nd).items()), lambda item: item[0]):
            for share, mask_n in filters.items():
                title = f"search {PEER_SIZE:,} x {NUM_DIMS}, filter {share:.1%}, and {name}"
                timed = time_in_turn(
                    title, contender(ours, query_qd, mask_n), contender(peer, query_qd, mask_n), runs=PEER_RUNS
                )
                rows.append(rate_row(title, "queries/s", PEER_QUERIES, timed, name))
                found = [recall(one, query_qd, mask_n, truths[share]) for one in (ours, peer)]
                rows.append(recall_row(title, *found, name))
        store.close()
    return rows


def sizes() -> tuple[int, ...]:
    """Sizes to measure; the largest only where disk and time allow."""
    import shutil

    is_large = SIZES[-1] >= 1_000_000 and shutil.disk_usage(tempfile.gettempdir()).free >= LARGE_GIB * 2**30
    if not is_large:
        progress(f"skipping {LARGE:,} rows: they need {LARGE_GIB} GiB of free disk, and QUICK=1 skips them")
    return (*SIZES, LARGE) if is_large else SIZES


def measure_sizes() -> list[Row]:
    """Measure the store at each size."""
    return [row for num in each(sizes(), lambda num: f"{num:,} rows") for row in measure_size(num)]


PARTS = {
    "search": measure_sizes,
    "search_peers": measure_peers,
}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        report(part, PARTS[part]())
