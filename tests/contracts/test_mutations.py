"""For each rule of the contracts a fault that breaks it, and no other rule."""

import re
from collections.abc import Callable
from typing import Any

import duckdb
import pytest
from valid_catalog import RUNS, hex_of, valid_rows

from hubbleclip.contracts.schema import RULE_PREDICATES, Table, tables, to_arrow
from hubbleclip.contracts.validation import check_columns, check_rules

D2, D1 = hex_of("2", 32), hex_of("1", 32)
FAULTS: dict[str, list[str]] = {
    "observation.proposal_exists": ["UPDATE observation SET proposal_id = 'hst:404' WHERE obs_id = 'o2'"],
    "observation.proposal_id.pattern": [
        "UPDATE observation SET proposal_id = 'hst' WHERE obs_id = 'o2'",
        "INSERT INTO rejection SELECT * REPLACE ('proposal' AS entity, 'hst' AS entity_id) FROM rejection",
    ],
    "product.no_path_without_content": ["UPDATE product SET sha256 = NULL WHERE uri = 'mast:p2'"],
    "product.content_is_dated": ["UPDATE product SET fetched_at = NULL WHERE uri = 'mast:p2'"],
    "product.content_in_history": ["UPDATE product SET version = 3 WHERE uri = 'mast:p2'"],
    "product.proposal_of_its_observation": ["UPDATE product SET proposal_id = 'hst:2' WHERE uri = 'mast:p1'"],
    "tile.white_above_black": [f"UPDATE tile SET white = black WHERE tile_id = '{hex_of('7', 32)}'"],
    "tile.four_corners_or_none": [f"UPDATE tile SET corners_deg = [1.0, 2.0] WHERE tile_id = '{hex_of('7', 32)}'"],
    "tile.centre_with_corners": [f"UPDATE tile SET ra_deg = NULL WHERE tile_id = '{hex_of('7', 32)}'"],
    "tile.colour_has_parts": ["UPDATE tile SET part_uris = NULL WHERE view = 'colour'"],
    "abstract_summary.ungrounded_were_named": ["UPDATE abstract_summary SET num_named = 4 WHERE is_model"],
    "abstract_summary.objects.maxItems": [
        "UPDATE abstract_summary SET objects = repeat(objects, 7)[:7], ungrounded = [], num_named = 7 + len(target_names)"
    ],
    "abstract_summary.target_names.maxItems": [
        "UPDATE abstract_summary SET target_names = ['M31', 'M32', 'M33', 'M51', 'M82', 'M87'], ungrounded = [],"
        " num_named = 6 + len(objects)"
    ],
    "abstract_summary.num_named.maximum": [
        "UPDATE abstract_summary SET ungrounded = repeat(['x'], 12 - len(objects) - len(target_names)), num_named = 12"
    ],
    "abstract_summary.tokens_of_models": ["UPDATE abstract_summary SET prompt_tokens = 5 WHERE NOT is_model"],
    "split.excluded_has_reason": ["UPDATE split SET reason = NULL WHERE split = 'excluded'"],
    "split.group_in_one_split": ["UPDATE split SET group_id = 'g1', split = 'val' WHERE group_id = 'g4'"],
    "split.proposal_in_one_split": [
        "UPDATE split SET split = 'val' WHERE group_id = 'g4'",
        f"UPDATE tile SET proposal_id = 'hst:1' WHERE tile_id = '{hex_of('4', 32)}'",
    ],
    "attempt.tried_in_order": ["UPDATE attempt SET next_try_at = last_at - INTERVAL 1 HOUR"],
    "attempt.waiting_or_given_up": [
        "INSERT INTO rejection SELECT a.entity, a.entity_id, a.stage, r.* EXCLUDE (entity, entity_id, stage)"
        " FROM attempt a, rejection r"
    ],
    "dataset.num_samples.minimum": [f"UPDATE dataset SET num_samples = -1 WHERE digest = '{D2}'"],
    "dataset.samples_sum_up": [f"UPDATE dataset SET num_samples = 5 WHERE digest = '{D1}'"],
    "dataset.shards_sum_up": [f"UPDATE dataset SET num_shards = 5 WHERE digest = '{D1}'"],
    "dataset.new_samples_of_a_child": ["UPDATE dataset SET num_new_samples = NULL WHERE parent_digest IS NOT NULL"],
    "shard.samples_are_placed": ["DELETE FROM placement"],
    "shard.key.unique": [
        f"INSERT INTO shard FROM shard WHERE dataset_digest = '{D2}'",
        f"UPDATE dataset SET num_shards = 2 WHERE digest = '{D2}'",
    ],
    "shard.dataset_digest.required": [
        f"UPDATE shard SET dataset_digest = NULL WHERE dataset_digest = '{D2}'",
        f"UPDATE dataset SET num_shards = 0 WHERE digest = '{D2}'",
    ],
    "shard.dataset_digest.in_dataset": [
        f"UPDATE shard SET dataset_digest = 'gone' WHERE dataset_digest = '{D2}'",
        f"UPDATE dataset SET num_shards = 0 WHERE digest = '{D2}'",
    ],
    "placement.key.unique": [
        "INSERT INTO placement FROM placement",
        f"UPDATE shard SET num_samples = 2 WHERE dataset_digest = '{D1}'",
        f"UPDATE dataset SET num_samples = 2 WHERE digest = '{D1}'",
    ],
    "placement.dataset_digest.required": [
        "INSERT INTO placement SELECT * REPLACE (NULL AS dataset_digest) FROM placement"
    ],
    "placement.shard.required": [
        f"INSERT INTO placement SELECT * REPLACE ('{D2}' AS dataset_digest, NULL AS shard) FROM placement"
    ],
    "placement.dataset_digest_shard.in_shard": [
        "INSERT INTO placement SELECT * REPLACE ('gone' AS dataset_digest) FROM placement"
    ],
    "placement.within_its_shard": ["UPDATE placement SET length = 5000"],
    "placement.in_its_split": [f"UPDATE shard SET split = 'val' WHERE dataset_digest = '{D1}'"],
    "sample.captions_named": ["UPDATE sample SET caption_kinds = ['abstract', 'title']"],
    "sample.captions.minItems": ["UPDATE sample SET caption_kinds = [], captions = []"],
    "sample.split_as_assigned": [f"UPDATE sample SET group_id = 'g4' WHERE tile_id = '{hex_of('2', 32)}'"],
    "sample.split.validValues": [
        f"UPDATE sample SET split = 'excluded' WHERE tile_id = '{hex_of('2', 32)}'",
        f"UPDATE split SET split = 'excluded', reason = 'overlap' WHERE tile_id = '{hex_of('2', 32)}'",
    ],
    "run.best_within_steps": [f"UPDATE run SET best_step = 10, steps = 5 WHERE run_id = '{RUNS[0]}'"],
    "run.ended_after_start": ["UPDATE run SET ended_at = started_at - INTERVAL 1 HOUR"],
    "run.run_id.required": ["INSERT INTO run SELECT * REPLACE (NULL AS run_id) FROM run LIMIT 1"],
    "run.run_id.pattern": [
        f"UPDATE {table} SET run_id = 'z' WHERE run_id = '{RUNS[2]}'" for table in ("run", "checkpoint")
    ],
    "run.run_id_best_step.in_checkpoint": [f"DELETE FROM checkpoint WHERE run_id = '{RUNS[2]}'"],
    "checkpoint.run_id.required": ["INSERT INTO checkpoint SELECT * REPLACE (NULL AS run_id) FROM checkpoint LIMIT 1"],
    "metric.interval_holds_value": ["UPDATE metric SET value = 0.9"],
    "metric.interval_has_two_ends": ["UPDATE metric SET low = NULL"],
    "promotion.compared_unless_first": ["UPDATE promotion SET low = NULL WHERE previous_run_id IS NOT NULL"],
    "promotion.interval_holds_difference": ["UPDATE promotion SET difference = 5 WHERE previous_run_id IS NOT NULL"],
}
"""Faults that cannot be derived from the contract."""

BAD: dict[str, Callable[[Any, Any], Any]] = {
    "required": lambda good, bound: None,
    "minimum": lambda good, bound: bound - 1,
    "maximum": lambda good, bound: bound + 1,
    "exclusiveMinimum": lambda good, bound: bound,
    "exclusiveMaximum": lambda good, bound: bound,
    "minLength": lambda good, bound: good[: bound - 1],
    "maxLength": lambda good, bound: good + good[-1] * bound,
    "pattern": lambda good, bound: next(t for c in "z " if not re.search(bound, t := c * len(good))),
    "minItems": lambda good, bound: good[: bound - 1],
    "maxItems": lambda good, bound: good + [good[-1]] * bound,
    "validValues": lambda good, bound: good + "x",
}
"""By kind of rule: a value that breaks it, derived from a valid one and the bound."""


def rules_of(table: Table) -> list[str]:
    columns = [f"{table.name}.{column.name}.{rule.name}" for column in table.columns for rule in column.rules]
    return columns + [f"{table.name}.{rule.name}" for rule in table.row_rules()]


RULES = {name: rules_of(table) for name, table in tables().items()}
ROW_RULES = {f"{name}.{rule.name}": rule.sql for name, table in tables().items() for rule in table.row_rules()}
WORDS = {name: set(re.findall(r"\w+", sql)) for name, sql in ROW_RULES.items()}


@pytest.fixture(scope="module")
def valid() -> duckdb.DuckDBPyConnection:
    """The valid catalog, without the constraints that DuckDB itself would keep."""
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("PRAGMA disable_optimizer")  # planning takes longer than counting so few rows
    for name, rows in valid_rows().items():
        arrow = to_arrow(name, rows)
        connection.register("incoming", arrow)
        connection.execute(f'CREATE TABLE "{name}" AS FROM incoming')
        connection.unregister("incoming")
    for name, sql in ROW_RULES.items():
        connection.execute(f'PREPARE "{name}" AS {sql}')  # planning them at each fault would take the longest
    return connection


def broken(catalog: duckdb.DuckDBPyConnection, touched: set[str]) -> set[str]:
    """Broken rules among those that look at one of the touched tables."""
    looking = [name for name, words in WORDS.items() if touched & words]
    broken = {name for name in looking if catalog.execute(f'EXECUTE "{name}"').fetchall() != [(0,)]}
    for table in (tables()[name] for name in touched):
        rows = catalog.sql(f'FROM "{table.name}"').to_arrow_table()
        broken |= {f"{c.table}.{c.rule}" for c in check_columns(table, rows.__getitem__) if c.num_broken}
    return broken


def make_fault(catalog: duckdb.DuckDBPyConnection, name: str) -> set[str]:
    """Break one rule; the tables that were changed."""
    table_name, _, rule_name = name.partition(".")
    if name in FAULTS:
        for statement in FAULTS[name]:
            catalog.execute(statement)
        return {re.match(r"(?:UPDATE|INSERT INTO|DELETE FROM) (\w+)", s)[1] for s in FAULTS[name]}
    if rule_name == "key.unique":
        catalog.execute(f'INSERT INTO "{table_name}" SELECT * FROM "{table_name}" ORDER BY rowid DESC LIMIT 1')
        return {table_name}
    column = rule_name.split(".")[0]
    if ".in_" in rule_name:
        change_last(catalog, table_name, column, lambda good: "gone")
    else:
        change_last(catalog, table_name, column, bad_value(table_name, column, rule_name))
    return {table_name}


def bad_value(table_name: str, column_name: str, rule_name: str) -> Callable[[Any], Any]:
    column = next(c for c in tables()[table_name].columns if c.name == column_name)
    rule = next(r for r in column.rules if f"{column_name}.{r.name}" == rule_name)
    return lambda good: (
        [BAD[rule.kind](good[0], rule.bound), *good[1:]] if rule.of_items else BAD[rule.kind](good, rule.bound)
    )


def change_last(catalog: duckdb.DuckDBPyConnection, table: str, column: str, change: Callable[[Any], Any]) -> None:
    """Change a column of its last row that has a value there, else of the last."""
    [(row, good)] = catalog.execute(
        f'SELECT rowid, "{column}" FROM "{table}" ORDER BY "{column}" IS NULL, rowid DESC LIMIT 1'
    ).fetchall()
    catalog.execute(f'UPDATE "{table}" SET "{column}" = ? WHERE rowid = ?', [change(good), row])


def test_the_valid_catalog_keeps_every_rule(valid: duckdb.DuckDBPyConnection) -> None:
    checked = list(check_rules(lambda sql: valid.sql(sql).to_arrow_table()))
    assert [c for c in checked if c.num_broken] == []
    assert {(c.table, c.num_rows) for c in checked} == {(name, len(rows)) for name, rows in valid_rows().items()}
    assert {f"{c.table}.{c.rule}" for c in checked} == {name for names in RULES.values() for name in names}


@pytest.mark.parametrize("table", RULES)
def test_a_fault_breaks_its_rule_and_no_other(valid: duckdb.DuckDBPyConnection, table: str) -> None:
    found = {}
    for name in RULES[table]:
        valid.begin()
        found[name] = broken(valid, make_fault(valid, name))
        valid.rollback()
    assert found == {name: {name} for name in RULES[table]}


def test_every_kind_of_rule_has_a_fault() -> None:
    assert set(BAD) == set(RULE_PREDICATES)
