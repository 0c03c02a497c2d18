"""The plan for the whole archive, on small archives whose sums can be done by hand."""

import pytest

from benchmarks import real_archive
from benchmarks.bench_scaling import BEGIN, END, PAGE, Archive, Line, lines, read_costs, simulate_fetch, table
from hubbleclip.config.settings import FetchSettings

SMALL = Archive(num_observations=100, size_bytes=100e6, size_sigma=0.0)


def test_the_rate_of_the_line_does_not_depend_on_the_connections() -> None:
    for connections in (1, 4):
        fetch = FetchSettings(connections=connections, requests_per_s=1000)
        seconds, most = simulate_fetch(SMALL, fetch, 10e6, 1e15)
        assert seconds == pytest.approx(10, rel=0.05)
        assert most == pytest.approx(connections * 1e6)


def test_the_rate_limit_delays_small_files() -> None:
    seconds, _ = simulate_fetch(SMALL, FetchSettings(connections=4, requests_per_s=2), 1e9, 1e15)
    assert seconds == pytest.approx(50, rel=0.05)


def test_cutting_delays_its_connection() -> None:
    seconds, _ = simulate_fetch(SMALL, FetchSettings(connections=2, requests_per_s=1000), 1e12, 1e6)
    assert seconds == pytest.approx(50, rel=0.05)


def test_the_slowest_step_is_named_and_sums_are_not_steps() -> None:
    text = table([Line("a", "", "", 24.0), Line("b", "", "", 48.0), Line("all", "", "", 99.0, is_sum=True)])
    assert "bottleneck is **b**, 2.0 days; the second a, 1.0 days" in text


def test_every_line_comes_from_existing_results() -> None:
    assert len(list(lines(read_costs(), SMALL, 1.0))) == 12


def test_the_page_has_a_place_for_the_figures() -> None:
    assert [PAGE.read_text(encoding="utf-8").count(mark) for mark in (BEGIN, END)] == [1, 1]


def test_the_tables_of_real_figures_are_those_of_the_arithmetic() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.partition(real_archive.BEGIN)[2].partition(real_archive.END)[0] == real_archive.tables()
