"""The arithmetic of the benchmarks, on fake timings: medians, ratio, spread, the order of the runs, the JSON."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import open_clip
import pytest

from benchmarks import measure
from benchmarks.bench_gpu import SIGLIP2, register_siglip2
from benchmarks.bench_ingest import request_figures
from benchmarks.measure import (
    Contender,
    Seconds,
    figure_row,
    machine_of,
    rate_row,
    seconds_row,
    time_in_turn,
    write_results,
)

SECONDS = Seconds(ours=(2.0, 1.0, 9.0), peer=(3.0, 5.0, 4.0))  # medians 2 and 4, spreads 8/2 and 2/4
ONE = "cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: Made CPU 9\nflags\t\t: fpu avx2 avx512_bf16 avx512f avx512_vnni\n"
CPUINFO = f"processor\t: 0\n{ONE}\nprocessor\t: 1\n{ONE}"
MEMINFO = "MemTotal:       16777216 kB\nMemFree:        1 kB\n"


class Recorder:
    """Contenders that write down when they run and where, and a clock that only they move."""

    def __init__(self, durations: dict[str, list[float]]) -> None:
        self.durations, self.now, self.ran, self.folders = durations, 0.0, [], []

    def contender(self, name: str) -> Contender:
        @contextmanager
        def prepared(folder: Path) -> Iterator[Callable[[], object]]:
            self.now += 1000  # preparing is not timed
            assert list(folder.iterdir()) == []
            (folder / "left").touch()
            self.folders.append(folder)
            yield lambda: self.run(name)
            self.now += 1000

        return prepared

    def run(self, name: str) -> None:
        self.ran.append(name)
        self.now += self.durations[name].pop(0)

    def clock(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def quick_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for the disks of this machine, nor for the garbage of other tests."""
    monkeypatch.setattr(os, "sync", lambda: None)
    monkeypatch.setattr("gc.collect", lambda: None)


def test_runs_alternate_in_empty_folders_and_the_first_round_is_not_counted() -> None:
    recorder = Recorder({"ours": [50.0, 1.0, 2.0, 3.0], "peer": [70.0, 4.0, 5.0, 6.0]})
    seconds = time_in_turn(
        "write", recorder.contender("ours"), recorder.contender("peer"), runs=3, clock=recorder.clock
    )
    assert recorder.ran == ["ours", "peer"] * 4
    assert seconds == Seconds(ours=(1.0, 2.0, 3.0), peer=(4.0, 5.0, 6.0))
    assert not any(folder.exists() for folder in recorder.folders)


def test_without_a_peer_only_ours_runs_and_a_line_says_what_and_how_often(capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder({"ours": [50.0, 1.0, 2.0]})
    timed = time_in_turn("write 10 rows", recorder.contender("ours"), runs=2, clock=recorder.clock)
    assert timed == Seconds(ours=(1.0, 2.0))
    assert "s] write 10 rows: a warm-up and 2 runs\n" in capsys.readouterr().err


def test_steps_are_numbered(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(measure.each(["a", "b"], lambda name: f"read {name}")) == ["a", "b"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("] ")[2] for line in lines] == ["step 1 of 2: read a", "step 2 of 2: read b"]


def test_a_quick_benchmark_is_small_and_prints_without_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    for is_quick, size, files in ((True, 10, []), (False, 1000, ["synthetic.json"])):
        monkeypatch.setattr(measure, "QUICK", is_quick)
        assert measure.sized(1000, 10) == size
        measure.report("synthetic", [seconds_row("publish", SECONDS)])
        assert "publish" in capsys.readouterr().out
        assert [path.name for path in tmp_path.iterdir()] == files


def test_the_ratio_of_seconds_is_above_one_where_ours_is_faster_and_the_spread_is_the_larger_one() -> None:
    row = seconds_row("publish", SECONDS, "copy")
    assert (row.ours, row.peer, row.ratio) == (2.0, 4.0, 2.0)
    assert seconds_row("x", Seconds(ours=(4.0, 4.0, 5.0), peer=(1.0, 2.0, 4.0))).spread == 1.5


def test_a_unit_that_is_not_a_rate_is_rejected() -> None:
    with pytest.raises(ValueError, match="ends in /s"):
        rate_row("publish", "s", 1, SECONDS)


def test_the_json_has_the_agreed_form(tmp_path: Path) -> None:
    rows = [rate_row("write", "rows/s", 1000 / 3, SECONDS, "bare"), seconds_row("publish", Seconds(ours=(1.0, 3.0)))]
    path = tmp_path / "results" / "made.json"
    write_results(path, rows, machine="Made CPU 9", date="2024-01-02", commit="abc")
    names = ("name", "unit", "ours", "peer", "peer_name", "ratio", "runs", "spread")
    values = [
        ("write", "rows/s", 166.7, 83.33, "bare", 2.0, 3, 4.0),  # amounts over medians, and how many times faster
        ("publish", "s", 2.0, None, None, None, 2, 1.0),
    ]
    written = [dict(zip(names, row, strict=True)) for row in values]
    about = {"machine": "Made CPU 9", "date": "2024-01-02", "commit": "abc"}
    assert json.loads(path.read_text()) == {**about, "rows": written}


def test_a_machine_is_its_cpu_cores_and_memory() -> None:
    described = "Made CPU 9 (family 25, model 17; avx2 avx512f avx512_bf16), 2 cores, 16 GiB"
    assert machine_of(CPUINFO, MEMINFO) == described


def test_a_figure_without_a_peer_is_a_median_with_its_spread() -> None:
    row = figure_row("wait", "%", [1.0, 2.0, 4.0])
    assert (row.ours, row.peer, row.runs, row.spread) == (2.0, None, 3, 1.5)
    assert figure_row("wait", "%", [0.0, 0.0]).spread == 0.0


@pytest.mark.slow
def test_the_benchmark_of_gpus_runs_on_the_cpu(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench_gpu"],
        cwd=measure.ROOT,
        env={**os.environ, "QUICK": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for figure in ("samples/s", "640000 samples", "wait for the loader", "GFLOP"):
        assert figure in done.stdout
    assert "gpu-cpu: QUICK=1, results are not written" in done.stderr


def test_siglip_2_is_registered_with_a_tokenizer_that_needs_no_download() -> None:
    register_siglip2()
    assert open_clip.get_tokenizer(SIGLIP2)(["a comet"]).shape == (1, 64)


def test_requests_are_counted_by_kind_and_by_window_and_polls_of_one_query_are_one() -> None:
    def query(service: str, **params: object) -> str:
        return "/invoke?" + json.dumps({"service": service, "params": params})

    requests = Counter(
        {
            query("Mast.Caom.Filtered", columns="COUNT_BIG(*)", filters=["1990"]): 1,
            query("Mast.Caom.Filtered", columns="*", filters=["1990"]): 3,
            query("Mast.Caom.Filtered", columns="*", filters=["1991"]): 1,
            query("Mast.Caom.Products", obsid="1,2"): 1,
            "/list.html?": 1,
        }
    )
    assert request_figures(requests) == {
        "requests: count": 1,
        "requests: observations": 4,
        "requests: products": 1,
        "requests: /list.html": 1,
        "of them to ask after an unfinished query": 2,
        "windows": 2,
        "most requests a window": 2,
    }
