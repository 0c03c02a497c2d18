"""The commands on a small real index: serve, search through the server, kill, a new token, agents over standard input."""

import asyncio
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import SMALL, command, environment, run
from mcp import Client, StdioServerParameters

from hubbleclip.core.layout import Layout
from hubbleclip.search.server.running_server import RunningServer, ask, find_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a small pipeline with its index."""
    folder = tmp_path_factory.mktemp("data")
    made = run("pipeline", "--no-server", data=folder, settings=SMALL)
    assert made.code == 0, made.err
    return folder


@pytest.fixture
def serve(data: Path) -> Iterator[Callable[..., tuple[subprocess.Popen, RunningServer]]]:
    """Start `hubbleclip serve` on a free port and wait until it answers."""
    started: list[subprocess.Popen] = []

    def serve(*words: str, **variables: str) -> tuple[subprocess.Popen, RunningServer]:
        line = command("serve", "--port", "0", *words, data=data)
        process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=environment() | variables)
        started.append(process)
        deadline = time.monotonic() + 60
        while (found := find_server(Layout(data / "demo").search_server)) is None or found.pid != process.pid:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return process, found

    yield serve
    for process in started:
        process.kill()
        process.wait()


def ids(outcome) -> list[str]:
    assert outcome.code == 0, outcome.err
    return [hit["tile_id"] for hit in json.loads(outcome.out)]


def test_a_search_goes_through_the_server_and_without_it_alone(data: Path, serve) -> None:
    process, server = serve()
    hits = ask(server, "/api/v1/search?q=spiral+galaxy&k=5&group=none")["hits"]
    assert len(hits) == 5
    searched = run("search", "spiral galaxy", "-k", "5", "--group", "none", "--json", data=data)
    assert ids(searched) == [hit["tile_id"] for hit in hits]
    text = urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics").read().decode()
    assert 'route="/api/v1/search",status="200"} 2.0' in text

    process.send_signal(signal.SIGKILL)
    process.wait()
    assert Layout(data / "demo").search_server.is_file()
    assert find_server(Layout(data / "demo").search_server) is None
    assert len(ids(run("search", "spiral galaxy", "-k", "5", "--json", data=data))) == 5


def test_every_page_answers_on_a_real_index(data: Path, serve) -> None:
    _, server = serve()
    first = ask(server, "/api/v1/search?k=1")
    tile_id = first["hits"][0]["tile_id"]
    assert first["index"]["is_simulated"] is True
    assert first["index"]["model"] != "unknown model"
    assert first["index"]["promoted_at"]
    for path in (
        "/",
        "/?q=galaxy&mode=words",
        f"/tiles/{tile_id}",
        f"/?like={tile_id}",
        "/sky",
        "/map",
        "/moc.fits",
        "/api/v1/points",
    ):
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}") as answer:
            content = answer.read()
        assert answer.status == 200
        assert content
    page = urllib.request.urlopen(f"http://127.0.0.1:{server.port}/tiles/{tile_id}").read().decode()
    for part in ("Nearest phrases", "Lineage", "compass", "abstract"):
        assert part in page
    points = ask(server, "/api/v1/points")
    assert len(points["tile_ids"]) == first["index"]["num_tiles"]


def test_ctrl_c_ends_the_server_and_removes_its_file(data: Path, serve) -> None:
    process, _ = serve()
    assert oct(Layout(data / "demo").search_server.stat().st_mode)[-3:] == "600"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) in (0, 130)
    assert not Layout(data / "demo").search_server.exists()
    assert "Traceback" not in process.stderr.read()


def test_another_address_needs_a_token_which_the_command_finds(data: Path, serve) -> None:
    refused = run("serve", "--host", "0.0.0.0", "--port", "0", data=data)
    assert refused.code == 2
    assert "--public" in refused.err
    _, server = serve("--host", "0.0.0.0", HUBBLECLIP_TOKEN="s3cret")
    assert server.token == "s3cret"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/")
    assert len(ids(run("search", "spiral galaxy", "-k", "3", "--json", data=data))) == 3


def test_a_taken_port_is_one_line(data: Path, serve) -> None:
    _, server = serve()
    refused = run("serve", "--port", str(server.port), data=data)
    assert refused.code == 2
    assert "choose another --port" in refused.err
    assert find_server(Layout(data / "demo").search_server) == server


def test_agents_ask_over_standard_input(data: Path) -> None:
    line = command("mcp", data=data)
    parameters = StdioServerParameters(
        command=line[0], args=line[1:], env=environment() | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    )

    async def talk() -> None:
        async with Client(parameters) as client:
            found = await client.call_tool("search", {"text": ["spiral galaxy"], "k": 2})
            assert len(found.structured_content["hits"]) == 2, found
            tile_id = found.structured_content["hits"][0]["tile_id"]
            assert (await client.call_tool("tile", {"tile_id": tile_id})).structured_content["wcs"]
            assert (await client.call_tool("explain", {"tile_id": tile_id})).structured_content["proposal_id"]
            counted = await client.call_tool("sql", {"query": "SELECT count(*) AS num FROM tile"})
            assert counted.structured_content["rows"][0]["num"] > 10

    asyncio.run(talk())


def test_serving_without_an_index_says_what_to_run(tmp_path: Path) -> None:
    outcome = run("serve", "--port", "0", data=tmp_path)
    assert outcome.code == 2
    assert "hubbleclip index" in outcome.err
