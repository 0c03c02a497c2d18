"""The stage captions asks once per distinct abstract, keeps every answer, and gives reasons for what it cannot use."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import valid_catalog
from stages import with_catalog
from stub_server import StubServer

from hubbleclip.catalog.catalog import read_catalog
from hubbleclip.catalog.pending import pending_captions
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import AbstractSummary, Proposal
from hubbleclip.pipeline.captions import captions
from hubbleclip.pipeline.status import read_status, status_lines

GALAXIES = "We image QSO host galaxies to measure the masses of their black holes."


def proposal(number: int, abstract: str | None, title: str = "A proposal") -> Proposal:
    return replace(valid_catalog.proposal(str(number)), title=title, abstract=abstract)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings("demo", {"data": str(tmp_path), "captions": {"backend": "rules"}})


@pytest.fixture
def layout(settings: Settings) -> Iterator[Layout]:
    layout = with_catalog(Layout(settings.root))
    texts = [GALAXIES, GALAXIES, "A nebula.", "Abstract not available", None]
    with writing_catalog(layout) as catalog:
        catalog.upsert({"proposal": [proposal(number, text) for number, text in enumerate(texts)]})
    return layout


def rows(layout: Layout, sql: str) -> list[dict[str, Any]]:
    with read_catalog(layout) as catalog:
        return catalog.rows(sql)


def test_one_row_per_distinct_abstract_and_a_reason_for_a_placeholder(layout: Layout, settings: Settings) -> None:
    captions(settings)
    written = rows(layout, "FROM abstract_summary ORDER BY summary")
    assert [row["summary"].split()[0] for row in written] == ["Host", "Nebula."]
    assert {row["writer"] for row in written} == {"rules-1.1"}
    assert not any(row["is_model"] for row in written)
    assert rows(layout, "SELECT entity, stage, reason FROM rejection") == [
        {"entity": "abstract_summary", "stage": "captions", "reason": "no_text"}
    ]


def test_an_abstract_that_a_model_refuses_waits_for_a_later_run_and_a_placeholder_does_not(
    layout: Layout, settings: Settings
) -> None:
    with StubServer(lambda _: ["400"] * 9) as stub:
        model = {"backend": "openai", "model": "made", "base_url": stub.url}
        captions(settings.model_copy(update={"captions": settings.captions.model_copy(update=model)}))
    assert [row["error"] for row in rows(layout, "FROM attempt")] == ["refused"] * 2
    assert [row["reason"] for row in rows(layout, "FROM rejection")] == ["no_text"]


def test_a_second_run_finds_nothing_to_do_and_a_changed_abstract_is_written_about(
    layout: Layout, settings: Settings
) -> None:
    captions(settings)
    with writing_catalog(layout) as catalog:
        assert pending_captions(catalog, settings.captions, "rules-1.1") == []
        catalog.upsert({"proposal": [proposal(2, "Another nebula.")]})
        assert [row["abstract"] for row in pending_captions(catalog, settings.captions, "rules-1.1")] == [
            "Another nebula."
        ]
    captions(settings)
    assert rows(layout, "SELECT count(*) AS num FROM abstract_summary")[0]["num"] == 3


def test_a_title_is_used_only_if_the_proposals_with_the_abstract_share_it(layout: Layout, settings: Settings) -> None:
    with writing_catalog(layout) as catalog:
        catalog.upsert({"proposal": [proposal(1, GALAXIES, "Another title")]})
        titles = {row["abstract"]: row["title"] for row in pending_captions(catalog, settings.captions, "w")}
    assert (titles[GALAXIES], titles["A nebula."]) == ("", "A proposal")


def test_the_status_has_the_share_of_failures_and_of_ungrounded_phrases(layout: Layout, settings: Settings) -> None:
    assert read_status(settings).pending["captions"] == 3
    captions(settings)
    found = read_status(settings)
    assert found.pending["captions"] == 0
    assert found.captions["num_failed"] / found.captions["num_abstracts"] == found.captions["failed_share"] == 1 / 3
    assert any("1 failed (33.3%), 0 of 4 phrases ungrounded (0.0%)" in line for line in status_lines(found))


def test_the_word_search_finds_words_of_the_summary(layout: Layout, settings: Settings) -> None:
    query = "SELECT proposal_id FROM search_abstracts('quasar')"
    assert rows(layout, query) == []
    captions(settings)  # whose summary says `quasar` or a query of it, where the abstract says QSO
    with writing_catalog(layout) as catalog:
        (row,) = catalog.rows("FROM abstract_summary WHERE summary LIKE 'Host%'")
        changed = replace(AbstractSummary(**row), search_phrases=["quasar in a galaxy"])
        catalog.upsert({"abstract_summary": [changed]})
    assert [row["proposal_id"] for row in rows(layout, query)] == ["hst:0", "hst:1"]


def test_proposals_of_a_file_need_no_images(tmp_path: Path) -> None:
    file = tmp_path / "proposals.jsonl"
    file.write_text(
        '{"title": "Title", "abstract": "We image white dwarfs."}\n{"number": 7, "abstract": "A nebula."}\n'
    )
    changes = {"data": str(tmp_path), "archive": {"proposals_file": str(file)}}
    captions(read_settings("local", changes))
    written = rows(Layout(tmp_path / "local"), "SELECT objects FROM abstract_summary ORDER BY objects")
    assert [row["objects"] for row in written] == [["nebula"], ["white dwarf"]]
