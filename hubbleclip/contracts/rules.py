"""Rules on the values of a column, which are evaluated on a whole Arrow column at once.

The rules come from `logicalTypeOptions` and `validValues` of the Open Data Contract Standard.
A new kind of rule is added as one line of `RULE_PREDICATES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

REQUIRED = "required"
RULE_PREDICATES: dict[str, Callable[[Any, Any], Any]] = {
    REQUIRED: lambda values, _: pc.is_valid(values),
    "minimum": pc.greater_equal,
    "maximum": pc.less_equal,
    "exclusiveMinimum": pc.greater,
    "exclusiveMaximum": pc.less,
    "minLength": lambda values, bound: pc.greater_equal(pc.utf8_length(values), bound),
    "maxLength": lambda values, bound: pc.less_equal(pc.utf8_length(values), bound),
    "pattern": pc.match_substring_regex,
    "minItems": lambda values, bound: pc.greater_equal(pc.list_value_length(values), bound),
    "maxItems": lambda values, bound: pc.less_equal(pc.list_value_length(values), bound),
    "validValues": lambda values, bound: pc.is_in(values, value_set=pa.array(bound)),
}
"""For each kind of rule, a function that returns whether each value satisfies the bound. A null breaks only the rule
`required`. A NaN breaks every minimum and maximum.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnRule:
    """One rule on the values of a column or, if `of_items` is true, on the items of the column's lists."""

    kind: str
    bound: Any
    of_items: bool = False

    @property
    def name(self) -> str:
        """Name of the rule, such as `minimum`, or `items.minimum` for the items of lists."""
        return f"items.{self.kind}" if self.of_items else self.kind

    def broken_rows(self, values: pa.ChunkedArray) -> list[int]:
        """List the rows that break the rule."""
        if not self.of_items:
            return self._broken(values)
        items = self._broken(pc.list_flatten(values))
        # A row may have several invalid items; dict.fromkeys removes repeated row numbers and keeps the order.
        rows = pc.list_parent_indices(values) if items else pa.array([], pa.int64())
        return list(dict.fromkeys(rows.take(items).to_pylist())) if items else []

    def _broken(self, values: pa.ChunkedArray) -> list[int]:
        """List the positions of values that break the rule."""
        holds = RULE_PREDICATES[self.kind](values, self.bound)
        if pc.all(holds).as_py() is not False:  # all() is None for an empty column
            return []
        broken = pc.and_(pc.invert(holds), pc.is_valid(values)) if self.kind != REQUIRED else pc.invert(holds)
        positions: list[int] = pc.indices_nonzero(pc.fill_null(broken, fill_value=False)).to_pylist()
        return positions
