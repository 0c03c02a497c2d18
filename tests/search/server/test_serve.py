"""The commands `serve` and `mcp` on a small index: Ctrl-C, a token, a taken port, agents over standard input and HTTP."""

import asyncio
import json
import os
import shutil
import signal
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx2
import pytest
from commands import command, environment, run
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from real_server import served
from search_site import settings_of

from hubbleclip.config.settings import Settings
from hubbleclip.core.layout import Layout
from hubbleclip.search.server.running_server import find_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own(site: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A copy of the indexed profile, whose server no other test starts."""
    return settings_of(shutil.copytree(site.data, tmp_path_factory.mktemp("served") / "data"))


def test_ctrl_c_ends_the_server_and_removes_its_file(own: Settings) -> None:
    path = Layout(own.root).search_server
    with served(own) as (_, process):
        assert oct(path.stat().st_mode)[-3:] == "600"
        process.send_signal(signal.SIGINT)
        assert process.wait(120) in (0, 130)
        assert not path.exists()
        assert "Traceback" not in process.stderr.read()


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
