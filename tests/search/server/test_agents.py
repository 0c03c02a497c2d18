"""The tools for agents, by the official client."""

import asyncio
from typing import Any

import pytest
from mcp import Client
from search_site import IDS

from hubbleclip.core.errors import CatalogError
from hubbleclip.search.agents import MAX_ROWS, make_agent_server
from hubbleclip.search.engine import Search


def explain(tile_id: str) -> dict[str, Any]:
    if tile_id == "unknown":
        raise CatalogError("there is no tile 'unknown'")
    return {"tile_id": tile_id, "shard": "train-000001.tar"}


@pytest.fixture
def call(search: Search):
    server = make_agent_server(lambda: search, search._layout, explain)

    def call(name: str, **arguments: Any):
        async def ask():
            async with Client(server) as client:
                return await client.call_tool(name, arguments)

        return asyncio.run(ask())

    return call


def test_the_tools_are_listed_as_reading(search: Search) -> None:
    tools = asyncio.run(make_agent_server(lambda: search, search._layout, explain).list_tools())
    assert {tool.name for tool in tools} == {"search", "tile", "explain", "sql"}
    assert all(tool.description and tool.annotations.read_only_hint for tool in tools)


def test_search_finds_tiles_with_their_facts(call) -> None:
    found = call("search", q=["spiral galaxy"], k=3, instrument=["WFC3/IR"]).structured_content
    assert len(found["hits"]) == 3
    assert {hit["instrument"] for hit in found["hits"]} == {"WFC3/IR"}
    assert found["has_more"]
    assert found["index"]["is_simulated"] is True
    assert call("tile", tile_id=IDS[0]).structured_content["abstract"].startswith("We observe")
    assert call("explain", tile_id=IDS[0]).structured_content["shard"] == "train-000001.tar"


def test_sql_reads_and_is_cut(call) -> None:
    assert call("sql", query="SELECT count(*) AS num FROM tile").structured_content["rows"] == [{"num": len(IDS)}]
    cut = call("sql", query="SELECT range AS n FROM range(100_000)").structured_content
    assert (len(cut["rows"]), cut["is_cut"]) == (MAX_ROWS, True)


@pytest.mark.parametrize(
    ("name", "arguments", "word"),
    [
        ("sql", {"query": "COPY (SELECT 1) TO '/tmp/stolen.csv'"}, "read-only"),
        ("sql", {"query": "SELECT * FROM read_text('/etc/passwd')"}, "passwd"),
        ("sql", {"query": "SELECT repeat('x', 5_000_000) AS text"}, "MiB"),
        ("search", {"q": ["a"], "place": "nowhere at all"}, "nowhere"),
        ("search", {"like": ["unknown"]}, "unknown"),
        ("search", {"k": 1000}, "k"),
        ("search", {"filters": ["F814W"]}, "`filter`"),
        ("sql", {"query": "SELECT 1", "max_row": 5}, "max_row"),
        ("tile", {"tile_id": "unknown"}, "unknown"),
        ("explain", {"tile_id": "unknown"}, "unknown"),
    ],
)
def test_a_mistake_is_said_to_the_agent(name: str, arguments: dict, word: str, call) -> None:
    result = call(name, **arguments)
    assert result.is_error
    assert word in result.content[0].text
