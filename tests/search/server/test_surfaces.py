"""Every filter is on every surface, and the tools for agents, by the official client."""

import asyncio
from dataclasses import fields
from datetime import date
from typing import Any

import pytest
from mcp import Client
from starlette.testclient import TestClient
from web_search import client_of, service_of, soup

from hubbleclip.catalog.tile_filters import FILTERS, Filter
from hubbleclip.cli.searching import SearchOptions
from hubbleclip.search.agents import make_agent_server, search_signature
from hubbleclip.search.engine import Search
from hubbleclip.search.params import SearchParams

NAMES = [one.name for one in FILTERS]
VALUES = {str: "x", int: 21, float: 1.5, bool: True, date: date(2017, 9, 4)}


def value_of(one: Filter) -> object:
    return {"place": "13 -30", "box": "1,2,3,4"}.get(one.name, VALUES[one.kind])


def test_every_surface_has_every_filter(client: TestClient) -> None:
    form = soup(client, "/").select_one(".filters")
    described = client.get("/api/v1/openapi.json").json()
    surfaces = {
        "page": {field["name"] for field in form.select("[name]")},
        "API": {parameter["name"] for parameter in described["paths"]["/api/v1/search"]["get"]["parameters"]},
        "JSON of the API": set(described["components"]["schemas"]["SearchBody"]["properties"]),
        "command": {field.name for field in fields(SearchOptions)},
        "agents": set(search_signature().parameters),
        "Python": set(SearchParams.model_fields),
    }
    assert {surface: set(NAMES) - found for surface, found in surfaces.items() if set(NAMES) - found} == {}


@pytest.mark.parametrize("one", FILTERS, ids=NAMES)
def test_a_filter_is_the_same_from_each_caller_and_has_a_chip(one: Filter, client: TestClient) -> None:
    value = value_of(one)
    params = SearchParams(**{one.name: value})
    options = SearchOptions(**{one.name: (value,) if one.is_list else value})
    assert options.params("").pairs() == params.model_copy(update={"k": 10}).pairs()
    (chip,) = soup(client, params.url()).select(".chips a")
    assert one.label in chip.text
    assert one.unit in chip.text


def explain(tile_id: str) -> dict[str, Any]:
    return {"tile_id": tile_id, "shard": "train-000001.tar"}


def test_the_tools_are_served_beside_the_pages_and_uploads_end_with_the_server(search: Search, png: bytes) -> None:
    agents, service = make_agent_server(lambda: search, search._layout, explain), service_of(search)
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    with client_of(service, agents=agents) as client:
        answer = client.post("/mcp", json=asked, headers={"accept": "application/json"}).json()
        assert [one["name"] for one in answer["result"]["tools"]] == ["search", "tile", "explain", "sql"]
        path = service.uploads.path(service.uploads.add(png))
        assert path.is_file() and client.get("/").status_code == 200
    assert not path.exists()


@pytest.fixture
def call(search: Search):
    server = make_agent_server(lambda: search, search._layout, explain)

    def call(name: str, **arguments: Any):
        async def ask():
            async with Client(server) as client:
                return await client.call_tool(name, arguments)

        return asyncio.run(ask())

    return call


@pytest.mark.parametrize(
    ("name", "arguments", "word"),
    [
        ("sql", {"query": "COPY (SELECT 1) TO '/tmp/stolen.csv'"}, "read-only"),
        ("sql", {"query": "SELECT repeat('x', 5_000_000) AS text"}, "MiB"),
        ("sql", {"query": "SELECT 1", "max_row": 5}, "max_row"),
    ],
)
def test_a_mistake_is_said_to_the_agent(name: str, arguments: dict, word: str, call) -> None:
    result = call(name, **arguments)
    assert result.is_error
    assert word in result.content[0].text
