"""Orders of rows as users write them (`placed_at desc`), made total so that no result hangs on the order of arrival."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from beam_datahub.kernels.types import quoted

_ITEM = re.compile(r"^(?P<name>.*?)(?:\s+(?P<direction>asc|desc))?$", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Ordering:
    """Rows by one column; rows without a value come last in either direction."""

    column: str
    descending: bool = False

    @property
    def sql(self) -> str:
        """As an item of a SQL ORDER BY."""
        return f"{quoted(self.column)} {'DESC' if self.descending else 'ASC'} NULLS LAST"

    def reversed(self) -> Ordering:
        """The same column the other way round."""
        return Ordering(self.column, not self.descending)


def parse_ordering(text: str) -> Ordering:
    """`text` read as `column`, `column asc` or `column desc`; a column may have spaces in its name."""
    found = _ITEM.match(text.strip())
    assert found is not None
    return Ordering(found["name"], (found["direction"] or "asc").lower() == "desc")


def total_order(orderings: Sequence[Ordering], columns: Iterable[str]) -> str:
    """A SQL ORDER BY list by `orderings` and then by every other one of `columns`: only equal rows are left tied."""
    named = {ordering.column for ordering in orderings}
    rest = [Ordering(column) for column in columns if column not in named]
    return ", ".join(ordering.sql for ordering in [*orderings, *rest])
