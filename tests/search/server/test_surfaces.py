"""Every filter is on every surface: page, chips, API, command, agents, Python and docs."""

import re
from dataclasses import fields
from datetime import date
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from web_search import soup

from hubbleclip.catalog.tile_filters import FILTERS, Filter
from hubbleclip.cli.searching import SearchOptions
from hubbleclip.search.agents import search_signature
from hubbleclip.search.export import COLUMNS
from hubbleclip.search.params import SearchParams

NAMES = [one.name for one in FILTERS]
DOCS = Path(__file__).parents[3] / "docs/commands.md"
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


def test_a_filter_of_a_field_has_the_name_of_the_field() -> None:
    fields = {re.sub("_(min|max)$", "", name) for name in NAMES}
    assert fields - {column.name for column in COLUMNS} == {
        "place",
        "box",
        "moving",
        "proposal",  # a number or an id
        "observed_from",
        "observed_to",
    }


def test_the_docs_list_every_filter_with_its_meaning() -> None:
    page = DOCS.read_text(encoding="utf-8")
    for one in FILTERS:
        option = "cone" if one.name == "place" else one.name.replace("_", "-")
        assert f"| `--{option}` | `search` | {one.meaning} |" in page


@pytest.mark.parametrize("one", FILTERS, ids=NAMES)
def test_a_filter_is_the_same_from_each_caller_and_has_a_chip(one: Filter, client: TestClient) -> None:
    value = value_of(one)
    params = SearchParams(**{one.name: value})
    options = SearchOptions(**{one.name: (value,) if one.is_list else value})
    assert options.params("").pairs() == params.model_copy(update={"k": 10}).pairs()
    (chip,) = soup(client, params.url()).select(".chips a")
    assert one.label in chip.text
    assert one.unit in chip.text
