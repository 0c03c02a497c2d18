"""`serve`, `mcp` and `search` through the running server on a small index: Ctrl-C, tokens, agents, and no other server."""

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import httpx2
import pytest
from commands import command, environment, run
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from search_site import settings_of, tile_id_of
from web_search import served, service_of

from hubbleclip.cli import searching
from hubbleclip.cli.app import main
from hubbleclip.config.settings import Settings
from hubbleclip.core.layout import Layout
from hubbleclip.search.engine import Search
from hubbleclip.search.server.running_server import RunningServer, ask, find_server, registered
from tests.bad_server import BadServer, give


@pytest.fixture(scope="module")
def own(site: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A copy of the indexed profile, whose server no other test starts."""
    return settings_of(shutil.copytree(site.data, tmp_path_factory.mktemp("served") / "data"))


@pytest.mark.slow
def test_ctrl_c_ends_the_server_and_removes_its_file(own: Settings) -> None:
    path = Layout(own.root).search_server
    with served(own) as (_, process):
        assert oct(path.stat().st_mode)[-3:] == "600"
        process.send_signal(signal.SIGINT)
        assert process.wait(120) in (0, 130)
        assert not path.exists()
        assert "Traceback" not in process.stderr.read()


@pytest.mark.slow
def test_another_address_needs_a_token_which_the_command_finds(own: Settings) -> None:
    refused = run("serve", "--host", "0.0.0.0", "--port", "0", data=own.data)
    assert refused.code == 2
    assert "--public" in refused.err
    with served(own, "--host", "0.0.0.0", HUBBLECLIP_TOKEN="s3cret") as (server, _):
        assert server.token == "s3cret"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/")
        found = run("search", "spiral galaxy", "-k", "3", "--json", data=own.data)
        assert len(json.loads(found.out)) == 3


@pytest.mark.slow
def test_a_taken_port_is_one_line(own: Settings) -> None:
    with served(own) as (server, _):
        refused = run("serve", "--port", str(server.port), data=own.data)
        assert refused.code == 2
        assert "choose another --port" in refused.err
        assert find_server(Layout(own.root).search_server) == server


@asynccontextmanager
async def standard_input(own: Settings) -> AsyncIterator[Client]:
    line = command("mcp", data=own.data)
    parameters = StdioServerParameters(
        command=line[0], args=line[1:], env=environment() | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    )
    async with Client(parameters) as client:
        yield client


@asynccontextmanager
async def http(own: Settings) -> AsyncIterator[Client]:
    with served(own, "--host", "0.0.0.0", HUBBLECLIP_TOKEN="s3cret") as (server, _):
        url = f"http://127.0.0.1:{server.port}/mcp"
        async with httpx2.AsyncClient() as refused:
            assert (await refused.post(url, json={})).status_code == 401
        headers = {"Authorization": "Bearer s3cret"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as web,
            Client(streamable_http_client(url, http_client=web)) as client,
        ):
            yield client


@pytest.mark.slow
@pytest.mark.parametrize("connect", [standard_input, http])
def test_agents_ask(own: Settings, connect: Callable[[Settings], AbstractAsyncContextManager[Client]]) -> None:
    async def talk() -> None:
        async with connect(own) as client:
            found = await client.call_tool("search", {"q": ["spiral galaxy"], "exposure_s_min": 150, "k": 2})
            hits = found.structured_content["hits"]
            assert [hit["exposure_s"] >= 150 for hit in hits] == [True, True], found
            tile_id = hits[0]["tile_id"]
            assert (await client.call_tool("tile", {"tile_id": tile_id})).structured_content["wcs"]
            assert (await client.call_tool("explain", {"tile_id": tile_id})).structured_content["proposal_id"]
            counted = await client.call_tool("sql", {"query": "SELECT count(*) AS num FROM tile"})
            assert counted.structured_content["rows"][0]["num"] > 10

    asyncio.run(talk())


SEARCHES = {
    "text": ["spiral galaxy"],
    "like": ["--like", tile_id_of(5, 1)],
    "text and like": ["comet", "--like", tile_id_of(2, 3)],
    "cone about a position": ["galaxy", "--cone", "13, -30"],
    "cone about a target": ["--cone", "ngc 105", "--group", "none"],
    "proposals": ["--proposal", "3", "--proposal", "hst:5", "--group", "none"],
    "filters": ["--exposure-s-min", "150", "--observed-to", "2017-09-08", "--no-moving", "--filter", "F814W"],
    "text to avoid": ["galaxy", "--not", "spiral"],
    "model": ["spiral galaxy", "--mode", "model"],
    "words": ["spiral galaxy", "--mode", "words"],
    "every tile": ["galaxy", "--group", "none", "-k", "40"],
}


def print_all(data: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> dict[tuple[str, str], str]:
    """What the command prints for every search, one in every format."""
    printed = {}
    for name, form in (*((name, "json") for name in SEARCHES), ("every tile", "csv"), ("every tile", "votable")):
        with suppress(SystemExit):
            main(["search", *SEARCHES[name], "--format", form, "--data", str(data)])
        printed[name, form] = capsysbinary.readouterr().out.decode()
    return printed


@pytest.fixture(scope="module")
def alone(site: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the data folder, for which no server runs."""
    return shutil.copytree(site.data, tmp_path_factory.mktemp("alone") / "data")


@pytest.fixture(scope="module")
def server(site: Settings) -> Iterator[tuple[RunningServer, subprocess.Popen]]:
    with served(site) as found:
        yield found


@pytest.mark.slow
def test_every_search_gives_the_same_through_the_server_and_alone(
    site: Settings, alone: Path, server, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(searching, "PAGE_HITS", 7)  # of those that the server is asked for
    through = print_all(site.data, capsysbinary)
    assert print_all(alone, capsysbinary) == through
    for name in SEARCHES:
        hits = json.loads(through[name, "json"])
        assert hits, name
    hits = json.loads(through["every tile", "json"])
    assert len(hits) > 30
    assert through["every tile", "csv"].count("\n") == len(hits) + 1
    assert all(hit["tile_id"] in through["every tile", "votable"] for hit in hits)
    text = urlopen(f"http://127.0.0.1:{server[0].port}/metrics").read().decode()
    assert int(text.partition('route="/api/v1/search",status="200"} ')[2].split(".")[0]) > len(SEARCHES)


@pytest.mark.slow
def test_a_killed_server_is_not_believed(site: Settings, server) -> None:
    _, process = server
    process.send_signal(signal.SIGKILL)
    process.wait()
    path = Layout(site.root).search_server
    assert path.is_file()
    assert find_server(path) is None
    assert len(json.loads(run("search", "comet", "-k", "3", "--json", data=site.data).out)) == 3


def registration(port: int, instance: str, token: str | None = None) -> RunningServer:
    return RunningServer(host="127.0.0.1", port=port, instance=instance, token=token, pid=1)


def test_another_server_at_the_same_port_is_not_believed_and_gets_no_token(tmp_path: Path) -> None:
    claim = json.dumps({"status": "ok", "instance": "i" * 32, "proof": "i" * 32}).encode()
    path = tmp_path / "server.json"
    with BadServer(give(claim)) as other, registered(path, registration(other.port, "i" * 32, "s3cret")):
        assert find_server(path) is None
    assert other.seen
    assert not [text for text in ("s3cret", "i" * 32) if text in str(other.seen)]


def test_a_server_is_known_by_its_secret_alone(start, search: Search, tmp_path: Path) -> None:
    secret, path = secrets.token_hex(16), tmp_path / "server.json"
    port = int(start(service_of(search), instance=secret).rpartition(":")[2])
    for instance, is_found in ((secret, True), (secrets.token_hex(16), False)):
        with registered(path, registration(port, instance)):
            found = find_server(path)
        assert (found is not None) == is_found
        if found:
            assert secret not in json.dumps(ask(found, "/healthz?challenge=a"))


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"host": 1}', '{"host": "127.0.0.1", "port": "x", "instance": "", "token": null, "pid": 1}'],
)
def test_a_damaged_file_is_no_server(content: str, tmp_path: Path) -> None:
    path = tmp_path / "server.json"
    assert find_server(path) is None
    path.write_text(content)
    assert find_server(path) is None
