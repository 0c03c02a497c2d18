"""All views, queries and scripts of the catalog, the pending work and the checks of contracts, on one small odd catalog."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from stages import rejection
from test_contracts import MADE, parsed
from valid_catalog import (
    NOW,
    RUNS,
    assignment,
    dataset,
    hex_of,
    make,
    observation,
    product,
    product_version,
    proposal,
    summary,
    tile,
    valid_rows,
)

from hubbleclip.catalog import pending
from hubbleclip.catalog.catalog import Catalog
from hubbleclip.catalog.working_copy import writing_catalog
from hubbleclip.config.settings import Settings, read_settings
from hubbleclip.contracts.schema import contract_tables, tables, to_arrow
from hubbleclip.contracts.validation import contract_violations, reject_broken_rows
from hubbleclip.core import records
from hubbleclip.core.errors import HubbleclipError
from hubbleclip.core.io import sha256_bytes
from hubbleclip.core.layout import Layout
from hubbleclip.core.records import Record
from hubbleclip.pipeline.status import read_status, status_lines

LATER, EARLIER = datetime(2100, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)
GIVEN = {"archive": {"relist_days": 0.0}, "captions": {"backend": "rules"}, "fetch": {"keep_fits": True}}
GUIDE = (Path(__file__).parents[2] / "docs/catalog.md").read_text(encoding="utf-8")
MADE_TABLES = "abstract_word", "abstract_length", "tile_count"
"""Tables that are in no contract."""


NOT_FETCHED = dict.fromkeys(("sha256", "path", "version", "fetched_at", "fetched_version"))
OF_P7 = {"product_uri": "mast:p7", "product_sha256": hex_of("7", 64), "ra_deg": None, "dec_deg": None}


def kept(number: str, **changes: Any) -> records.Product:
    """A product of a content of its own."""
    return product(f"mast:p{number}", **{"sha256": hex_of(number, 64), "path": f"products/{number}"} | changes)


def rows_of(settings: Settings) -> dict[str, list[Record]]:
    """Rows in each state that a query tells from others; a letter or number names the row."""
    rows, archive, tiles = valid_rows(), settings.archive.digest(), settings.tiles.digest()
    add = {
        "proposal": [
            replace(proposal("3"), abstract=None, cycle=None, fetched_at=EARLIER),
            replace(proposal("4"), title="Other stars of M31", archive="jwst"),
            replace(proposal("5"), abstract="A comet, and dust.", title="Dust", category=None, pi=None),
        ],
        "observation": [
            observation("o3", proposal_id="hst:3", filters="F814W", fingerprint=hex_of("b", 32), released_mjd=58101.5),
            observation("o4", proposal_id="hst:4", withdrawn_at=NOW),
            observation("o5", proposal_id="hst:9", is_moving=True, target_name=None, visit=None),
            observation("o6", proposal_id="hst:5", released_mjd=None, instrument="ACS/WFC"),
            observation("o7", proposal_id="hst:7", query_digest=hex_of("0", 16)),
            observation("o8", proposal_id="hst:8"),
        ],
        "product": [
            product("mast:p3", obs_id="o3", proposal_id="hst:3", **NOT_FETCHED),
            product("mast:p4", archive_version="2", size_bytes=None),
            kept("5", obs_id="o2", path=None),
            kept("6", obs_id="o6", proposal_id="hst:5", kind="flt"),
            kept("7", obs_id="o6", proposal_id="hst:5", fetched_at=LATER),
            kept("8", obs_id="o8", proposal_id="hst:8", archive_version=None, fetched_version=None),
        ],
        "product_version": [replace(product_version(1), uri="mast:p7", sha256=hex_of("0", 64), size_bytes=3)],
        "listing": [
            make(records.Listing, obs_id=one, settings_digest=digest, fingerprint=hex_of(print_, 32), listed_at=when)
            for one, digest, print_, when in (
                *(("o2", archive, "a", LATER), ("o3", archive, "a", LATER), ("o6", archive, "a", EARLIER)),
                *(("o7", "other", "a", LATER), ("o8", archive, "a", LATER)),
            )
        ],
        "tile": [
            tile("8", settings_digest=tiles, size_bytes=None, ra_deg=359.5, dec_deg=-0.5, filter="F814W"),
            tile("9", settings_digest=tiles, **OF_P7, proposal_id="hst:5", obs_id="o6"),
            tile("a", settings_digest=tiles, **OF_P7 | {"product_sha256": hex_of("0", 64)}, corners_deg=[]),
            tile("b", settings_digest=tiles, view="colour", part_uris=["mast:p1", "mast:p7", "mast:p8"], cut_at=LATER),
        ],
        "abstract_summary": [summary("c", abstract_sha256="9" * 64, summary="Dust of M31.")],
        "split": [assignment("8", "g1", "test"), assignment("9", "g5", "val")],
        "rejection": [
            make(records.Rejection, entity=entity, entity_id=name, stage=stage, reason=reason, settings_digest=digest)
            for entity, name, stage, reason, digest in (
                ("product", "mast:p6", "tiles", "repeated", "d"),
                ("product", "mast:p8", "tiles", "blank", tiles),
                ("product", "mast:p5", "fetch", "missing", "d"),
                ("product", "mast:p4", "fetch", "dropped", "d"),
                ("proposal", "hst:7", "proposals", "not_found", "d"),
                ("proposal", "hst:8", "products", "unanswered", "d"),
                ("tile", hex_of("5", 32), "shards", "contract:x", "d"),
                ("visit", "iabc01 M31", "colour", "settings", tiles),
            )
        ],
        "attempt": [
            make(records.Attempt, entity=entity, entity_id=name, stage=stage, error=error, next_try_at=LATER)
            for entity, name, stage, error in (
                ("product", "mast:p3", "fetch", "timeout"),
                ("proposal", "hst:9", "proposals", "busy"),
                ("proposal", "hst:4", "products", "busy"),
            )
        ],
        "watermark": [make(records.Watermark, archive="jwst")],
        "day_count": [
            make(records.DayCount, day_mjd=day, num_rows=num, counted_at=when)
            for day, num, when in ((58101, 7, EARLIER), (58119, None, LATER), (58484, 3, EARLIER))
        ],
        "dataset": [
            dataset(
                "4", parent_digest=hex_of("3", 32), num_samples=3, num_new_samples=2, built_at=LATER, path="datasets/d"
            )
        ],
        "placement": [
            make(records.Placement, dataset_digest=hex_of("4", 32), tile_id=hex_of(one, 32), offset=offset, length=9)
            for one, offset in (("1", 512), ("8", 2048))
        ],
        "shard": [
            make(
                records.Shard, dataset_digest=hex_of("4", 32), home_digest=hex_of("1", 32), size_bytes=50, num_samples=2
            )
        ],
        "metric": [
            make(records.Metric, run_id=RUNS[1], name="recall_at_1", value=0.7, low=None, high=None, split="val")
        ],
    }
    return {name: [*found, *add.get(name, ())] for name, found in rows.items()}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return read_settings("demo", {"data": str(tmp_path_factory.mktemp("recorded"))}, GIVEN)


@pytest.fixture(scope="module")
def catalog(settings: Settings) -> Iterator[Catalog]:
    with writing_catalog(Layout(settings.root)) as catalog:
        catalog.upsert(rows_of(settings))
        yield catalog


def plain(value: Any) -> Any:
    """JSON in which long hashes are short, as `1*32`."""
    text = json.dumps(value, default=str)
    for letter in "0123456789abcdef":
        for length in (64, 32, 16):
            text = text.replace(letter * length, f"{letter}*{length}")
    return json.loads(text)


def short(rows: list[dict[str, Any]], *names: str) -> list[Any]:
    """The values of some columns, or all values that are known."""
    return [
        [row[name] for name in names] if names else {name: one for name, one in row.items() if one is not None}
        for row in rows
    ]


TIME = {"now": NOW + timedelta(hours=1)}
OF_ARCHIVE = {"archive": "hst", "query_digest": hex_of("d", 16)}
YEARS = {"first": 58_100, "end": 58_484}


def queries(settings: Settings) -> dict[str, tuple[dict[str, Any], tuple[str, ...]]]:
    """Parameters of each query, by its name and a note, and the columns that are compared."""
    tiles, others, relisted = (
        {"settings_digest": one} for one in (settings.tiles.digest(), hex_of("d", 16), settings.archive.digest())
    )
    small, three, seven = (
        {"writer": "small-1.1.7", "settings_digest": "d"},
        hex_of("4", 32),
        [hex_of(one, 64) for one in "7b"],
    )
    coloured = ("uri", "visit", "filter", "instrument", "coloured_at")
    return {
        "caption_status": (TIME | small, ()),
        "caption_status of none": (TIME | small | {"writer": "none"}, ()),
        "colour_parts": (TIME | tiles, coloured),
        "colour_parts of others": (TIME | others, coloured),
        "current_tiles": (tiles, ("tile_id",)),
        "current_tiles of others": (others, ("tile_id",)),
        "current_years": (TIME | OF_ARCHIVE | {"days": 30.0, "end": 99_999}, ()),
        "current_years, never": (TIME | OF_ARCHIVE | {"days": 0.0, "end": 99_999}, ()),
        "cut_contents": (tiles | {"contents": seven, "uris": ["mast:p1"]}, ()),
        "explain": ({"tile_id": hex_of("1", 32)}, ()),
        "explain of an old content": ({"tile_id": hex_of("a", 32)}, ()),
        "index_status": ({"run_id": RUNS[0]}, ()),
        "index_status of none": ({"run_id": "none"}, ()),
        "known_days": (OF_ARCHIVE | YEARS, ()),
        "known_observations": ({"proposal_ids": ["hst:5", "hst:4", "hst:1"]}, ("obs_id", "proposal_id")),
        "missing_observations": (OF_ARCHIVE | YEARS | {"seen": ["o1"]}, ()),
        "new_samples": ({"digest": three, "trained": hex_of("1", 32)}, ()),
        "new_samples of all": ({"digest": three, "trained": None}, ()),
        "old_contents": ({}, ()),
        "pending_captions": (TIME | small, ()),
        "pending_fetch": (TIME | {"tile_settings": settings.tiles.digest()}, ()),
        "pending_products": (TIME | relisted | {"days": 30.0, "again": False}, ()),
        "pending_proposals": (TIME | {"days": 30.0, "again": False}, ()),
        "pending_tiles": (TIME | tiles, ()),
        "products_named": ({"uris": ["mast:p3", "mast:p1", "none"]}, ("uri", "obs_id", "size_bytes")),
        "tile_counts": ({"tile_settings": settings.tiles.digest()}, ()),
        "waiting": (TIME, ()),
    }


def test_queries_and_views_are_those_recorded(
    catalog: Catalog, settings: Settings, compare_recorded: Callable[..., None]
) -> None:
    views = {one["name"]: one["comment"] for one in catalog.views()}
    assert [name for name, comment in views.items() if not comment or f"`{name}" not in GUIDE] == []
    found: dict[str, Any] = {"counts": catalog.counts(), "views": list(views)}
    catalog.run("count_tiles")
    for name, (parameters, columns) in queries(settings).items():
        rows = catalog.named_query(name.split(" ")[0].rstrip(","), **parameters)
        found[name] = short(rows, *columns)
    for name in found["views"]:
        arguments = {"cone": "(359, 0, 3)", "box": "(350, 10, -5, 42)", "search_abstracts": "('dust of stars')"}.get(
            name, ""
        )
        found[f"view {name}"] = short(catalog.rows(f"FROM {name}{arguments}"))
    found["changed"] = catalog.changed_rows(
        "proposal",
        [proposal("1"), replace(proposal("2"), cycle=3), proposal("6"), replace(proposal("5"), fetched_at=LATER)],
    )["proposal_id"].to_pylist()
    compare_recorded("catalog_queries.json", plain(found))


class UndoneError(Exception):
    """Ends a transaction that is only looked at."""


SCRIPTS: dict[str, dict[str, Any]] = {
    "clear_all_failures": {},
    "clear_failures": {"entity": "product", "stage": "tiles", "ids": ["mast:p6", "mast:p1"]},
    "drop": {
        "proposal_ids": ["hst:1", "hst:5"],
        "uris": ["mast:p7", "mast:p5"],
        "tile_ids": [hex_of("9", 32), hex_of("1", 32)],
    },
    "forget_days": {"ids": ["o3", "o1"]},
    "forget_tiles": {"tile_ids": [hex_of("9", 32)]},
    "forget_versions": {"uris": ["mast:p7"]},
    "mark_counted": OF_ARCHIVE | TIME | {"first": 58_101},
    "mark_counted of a new year": OF_ARCHIVE | TIME | {"first": 58_849},
    "release_repeated": {},
    "take_back": {"reasons": ["busy", "missing", "not_found", "blank"], "works": ["product/fetch", "product/tiles"]},
    "withdraw": TIME | {"ids": ["o6", "o1"]},
    "write_listing": TIME,
    "upsert": {},
}


def state(catalog: Catalog) -> dict[str, dict[Any, Any]]:
    """The rows of each table by their keys, and the numbers of rows of the others."""
    found: dict[str, dict[Any, Any]] = {}
    for name, table in tables().items():
        rows = catalog.rows(f'FROM "{name}"')
        found[name] = {"/".join(str(row[key]) for key in table.keys): row for row in rows}
    return found | {name: {"num": catalog.rows(f"SELECT count(*) AS num FROM {name}")[0]} for name in MADE_TABLES}


def difference(before: dict[str, dict[Any, Any]], after: dict[str, dict[Any, Any]]) -> dict[str, Any]:
    """By table: lost keys, new rows, and new values of changed rows."""
    found: dict[str, Any] = {}
    for name, old in before.items():
        new = after[name]
        lost = {f"- {key}": None for key in old.keys() - new.keys()}
        more = {f"+ {key}": short([new[key]])[0] for key in new.keys() - old.keys()}
        changed = {key: {c: v for c, v in new[key].items() if v != old[key][c]} for key in old.keys() & new.keys()}
        found[name] = dict(sorted((lost | more | {key: one for key, one in changed.items() if one}).items()))
    return {name: one for name, one in found.items() if one}


def test_scripts_change_what_is_recorded(catalog: Catalog, compare_recorded: Callable[..., None]) -> None:
    incoming: dict[str, list[Record]] = {
        "listing": [make(records.Listing, obs_id=one) for one in ("o1", "o2", "o6")],
        "product": [
            product("mast:p1", archive_version="2", size_bytes=None, choice="new"),
            product("mast:p2", size_bytes=None),
            product("mast:p4", archive_version="3"),
            product("mast:p9", obs_id="o6", proposal_id="hst:5"),
        ],
        "rejection": [make(records.Rejection, entity="observation", entity_id="o1", stage="products")],
    }
    changed: dict[str, list[Record]] = {
        "proposal": [replace(proposal("2"), abstract="Comets."), proposal("6")],
        "abstract_summary": [
            summary("a", abstract_sha256=sha256_bytes(b"A comet, and dust."), summary="Galaxies.", answered_at=LATER)
        ],
        "split": [assignment("1", "g2", "val")],
        "checkpoint": [make(records.Checkpoint, run_id=RUNS[0], step=0, path="new")],
    }
    before, found = state(catalog), {}
    for name, parameters in SCRIPTS.items():
        with pytest.raises(UndoneError), catalog.transaction():
            if name == "upsert":
                catalog.upsert(changed)
            else:
                catalog.run(name.split(" ")[0], incoming if name == "write_listing" else None, **parameters)
            found[name] = difference(before, state(catalog))
            raise UndoneError
    assert state(catalog) == before
    compare_recorded("catalog_scripts.json", plain(found))


def test_pending_work_is_that_recorded(
    catalog: Catalog, settings: Settings, compare_recorded: Callable[..., None]
) -> None:
    found: dict[str, Any] = {}
    for name, changes in {
        "kept": {},
        "not kept": {"fetch": {"keep_fits": False}},
        "no files": {"fetch": {"files": False}},
        "from raw": {"archive": {"from_raw": True}},
        "relisted": {"archive": {"relist_days": 30.0}},
        "other settings": {"archive": {"max_product_mb": 7}, "tiles": {"size_px": 300}},
    }.items():
        given = {key: GIVEN.get(key, {}) | changes.get(key, {}) for key in {*GIVEN, *changes}}
        now = read_settings("demo", {"data": str(settings.data)}, given)
        found[name] = {
            "products": short(pending.pending_products(catalog, now.archive), "proposal_id", "num_known", "num"),
            "proposals": pending.pending_proposals(catalog, now.archive),
            "proposals again": pending.pending_proposals(catalog, now.archive, again=True),
            "captions": short(pending.pending_captions(catalog, now.captions, "rules-1.1")),
            "no captions": pending.pending_captions(catalog, now.captions, ""),
            "fetch": pending.pending_fetch(catalog, now),
            "tiles": pending.pending_tiles(catalog, now),
            "counts": pending.count_pending(catalog, now),
        }
    uris = ["mast:p7", "mast:p1", "mast:p3", "mast:p5", "mast:p6"]
    found["batches"] = [[one.uri for one in part] for part in pending.product_batches(catalog, uris, 2)]
    compare_recorded("catalog_pending.json", plain(found))


def test_the_status_is_that_recorded(tmp_path: Path, compare_recorded: Callable[..., None]) -> None:
    settings = read_settings("demo", {"data": str(tmp_path), "splits": {"guard_arcsec": 3}}, GIVEN)
    rows, newest = rows_of(settings), {"dataset_digest": hex_of("4", 32), "length": 9}
    rows["product"] += [
        kept("9", superseded_at=NOW, size_bytes=30_000_000),
        product("mast:p10", path=None, superseded_at=NOW),
    ]
    rows["placement"] += [make(records.Placement, tile_id=hex_of(one, 32), **newest) for one in "49"]
    of = {"settings_digest": settings.tiles.digest()}
    rows["tile"] += [*(tile(letter, **of) for letter in "cdf"), tile("e", **of, product_uri="mast:p9")]
    rows["split"] += [assignment(letter, "g2", "train") for letter in "df"]
    rows["rejection"].append(rejection("tile", hex_of("d", 32), "shards", "damaged", of["settings_digest"]))
    excluded = {"a": "sky_guard:overlap", "b": "sky_guard:overlap", "5": "late_link", "6": "proposal_cap"}
    rows["split"] += [assignment(letter, "g1", "excluded", reason) for letter, reason in excluded.items()]
    with writing_catalog(Layout(settings.root), publish_every_s=0) as catalog:
        catalog.upsert(rows)
        found = read_status(settings)
    assert read_status(settings) == found
    plain_status = asdict(found) | {"lines": list(status_lines(found))}
    compare_recorded("status.json", json.loads(json.dumps(plain(plain_status)).replace(str(tmp_path), "")))


def test_broken_rows_are_rejected_as_recorded(compare_recorded: Callable[..., None]) -> None:
    rows = valid_rows()
    own = replace(rows["rejection"][0], entity="tile", entity_id=hex_of("3", 32), stage="tiles")
    of_product: dict[str, list[Any]] = {
        "product": [
            product("mast:p1"),
            product("mast:p2", sha256="short"),
            product("mast:p3"),
            product("mast:p4", kind=None),
        ],
        "product_version": [replace(product_version(n), uri=f"mast:p{uri}") for n, uri in ((1, 1), (2, 2), (0, 3))],
        "tile": [
            *(tile("1"), tile("2", product_uri="mast:p2"), tile("3", ra_deg=360.0, view="side")),
            *(tile("4", path="x" * 999, chip=-1), tile("5", corners_deg=[1.0, 400.0, -400.0])),
            *(tile("6", product_uri="mast:p9", noise=-1.0), tile("7", noise=float("nan")), tile("9", unit=None)),
            tile("8", product_uri="mast:p3", valid_share=1.5),
        ],
        "rejection": [*rows["rejection"], own],
        "attempt": ["anything"],
        "other": ["anything"],
    }
    of_proposal: dict[str, list[Any]] = {
        "proposal": [proposal("1"), replace(proposal("2"), title=""), replace(proposal("3"), cycle=-1)],
        "observation": [
            *(observation("o1"), observation("o2", proposal_id="hst:2")),
            observation("o3", dec_deg=-91.0, proposal_id="hst:4"),
        ],
        "split": [assignment("1", "g1", "train"), assignment("2", "g1", "other"), assignment("3", "", "test")],
        "sample": [make(records.Sample), make(records.Sample, tile_id=hex_of("2", 32), captions=[])],
    }
    batches = {"product": ("product", of_product), "observation": ("proposal", of_proposal), "valid": ("product", rows)}
    found: dict[str, Any] = {}
    for name, (item, batch) in batches.items():
        kept = reject_broken_rows(batch, "tiles", item, "digest")
        found[name] = {table: len(left) for table, left in kept.items()}
        if name != "valid":
            found[f"{name}: rejected"] = [
                [one.entity, one.entity_id, one.stage, one.reason, one.detail] for one in kept["rejection"]
            ]
            checked = {
                table: contract_violations(table, part)
                for table, part in batch.items()
                if table in tables() and table != "attempt"
            }
            found[f"{name}: violations"] = [[*key, *one] for part in checked.values() for key, one in part.items()]
    for name, one in {
        "cast": make(records.Watermark, released_mjd="soon"),
        "null": make(records.Watermark, released_mjd=None),
        "large": make(records.Tile, chip=10**19),
        "time": make(records.Tile, cut_at="2024"),
    }.items():
        table = "tile" if isinstance(one, records.Tile) else "watermark"
        try:
            found[name] = str(to_arrow(table, [one, make(type(one)), one]).num_rows)
        except HubbleclipError as error:
            found[name] = str(error)
    found["rows"] = to_arrow("watermark", [make(records.Watermark)]).to_pylist()
    with pytest.raises(HubbleclipError) as caught:
        to_arrow("watermark", [make(records.Watermark)] * 2)
    found["key"] = str(caught.value)
    found |= {
        f"contract {one.name}": [asdict(one), [asdict(rule) for rule in one.row_rules()], str(one.schema())]
        for one in contract_tables(parsed(MADE))
    }
    compare_recorded("contract_rows.json", plain(found))
