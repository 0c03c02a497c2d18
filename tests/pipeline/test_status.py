"""What `hubbleclip status` says of a dataset's composition, and of files that are no longer in use."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from stages import rejection
from valid_catalog import NOW, hex_of, make, observation, product, proposal, summary

from hubbleclip.catalog.pending import (
    count_pending,
    pending_captions,
    pending_fetch,
    pending_products,
    pending_proposals,
    pending_tiles,
)
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.config.settings import FetchSettings, Settings
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Attempt
from hubbleclip.pipeline.status import read_caption_status

MANY_ROWS = (
    """INSERT INTO observation SELECT o.* REPLACE (obs_id || i AS obs_id, proposal_id || i AS proposal_id)
       FROM observation o, range(10_000) r(i)""",
    "INSERT INTO product SELECT p.* REPLACE (uri || i AS uri) FROM product p, range(10_000) r(i)",
)


@pytest.mark.parametrize("keep_fits", [True, False])
def test_pending_items_are_counted_without_a_row_of_each_in_memory(keep_fits: bool, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, fetch=FetchSettings(keep_fits=keep_fits))
    with writing_catalog(Layout(settings.root)) as catalog:
        on_disk, to_fetch = product("mast:a"), product("mast:b", sha256=None, path=None)
        catalog.upsert({"observation": [observation("o")], "product": [on_disk, to_fetch]})
        for statement in MANY_ROWS:
            catalog.connection.execute(statement)
        listed = {
            "products": sum(row["num"] for row in pending_products(catalog, settings.archive)),
            "proposals": len(pending_proposals(catalog, settings.archive)),
            "fetch": len(pending_fetch(catalog, settings)) if keep_fits else 0,
            "tiles": len(pending_tiles(catalog, settings)),
        }
        tracemalloc.start()
        counted = count_pending(catalog, settings)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert listed == {name: counted[name] for name in listed}
    assert min(counted["products"], counted["tiles"]) > 10_000
    assert peak < 1_000_000


def test_pending_abstracts_are_counted_as_they_are_listed(tmp_path: Path) -> None:
    settings, writer, now = Settings(data=tmp_path), "rules-1.1", datetime.now(UTC)
    texts = ("written", "by another writer", "rejected", "rejected earlier", "waiting", "failed", "new")
    proposals = [replace(proposal(str(number)), abstract=text) for number, text in enumerate(("new", *texts))]
    key = {text: sha256(text.encode()).hexdigest() for text in texts}
    of_captions = {"entity": "abstract_summary", "stage": "captions"}
    waiting = make(Attempt, **of_captions, entity_id=key["waiting"], next_try_at=now + timedelta(days=1))
    refused = rejection("abstract_summary", "", "captions", "no_text", settings.captions.digest())
    with writing_catalog(Layout(settings.root)) as catalog:
        catalog.upsert(
            {
                "proposal": proposals,
                "abstract_summary": [
                    summary("a", abstract_sha256=key["written"], writer=writer),
                    summary("a", abstract_sha256=key["by another writer"], writer="other"),
                ],
                "rejection": [
                    replace(refused, entity_id=key["rejected"]),
                    replace(refused, entity_id=key["rejected earlier"], settings_digest=hex_of("b", 16)),
                ],
                "attempt": [waiting, replace(waiting, entity_id=key["failed"], next_try_at=NOW)],
            }
        )
        listed = pending_captions(catalog, settings.captions, writer)
        counted = read_caption_status(catalog, settings.captions, writer)
    assert {row["abstract"] for row in listed} == {"by another writer", "rejected earlier", "failed", "new"}
    assert counted["num_pending"] == len(listed)
