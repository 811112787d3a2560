"""Compares tables as a user means them: the order and the representation of rows do not matter, their values do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from beam_datahub.testing.values import DIGITS, meant, shown

Rows = Sequence[Mapping[str, Any]]
# A row as the meanings of its values, in the order of the columns.
Meant = tuple[Any, ...]


@dataclass(frozen=True)
class Difference:
    """Rows of one side alone, each as often as it occurs there, as meanings in the order of `columns`; values of `private` ones
    are not shown.
    """

    columns: tuple[str, ...]
    missing: tuple[Meant, ...] = ()
    unexpected: tuple[Meant, ...] = ()
    private: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected)

    def pairs(self) -> Iterator[tuple[Meant | None, Meant | None]]:
        """Missing and unexpected rows, those that are at least half alike side by side; the others with None."""
        left = list(self.unexpected)
        for row in self.missing:
            twin = max(left, key=lambda other: alike(row, other), default=None)
            if twin is None or alike(row, twin) * 2 < len(self.columns):
                yield row, None
                continue
            left.remove(twin)
            yield row, twin
        yield from ((None, row) for row in left)

    def text(self, row: Meant) -> str:
        """A row as it could stand in a YAML file."""
        return "{" + ", ".join(f"{name}: {self.shown(name, value)}" for name, value in zip(self.columns, row, strict=True)) + "}"

    def cells(self, one: Meant, other: Meant) -> Iterator[tuple[str, str, str]]:
        """The columns in which two rows differ, with both values."""
        for name, a, b in zip(self.columns, one, other, strict=True):
            if a != b:
                yield name, self.shown(name, a), self.shown(name, b)

    def shown(self, name: str, value: Any) -> str:
        """A value of a column as it could stand in a YAML file."""
        return "'***'" if name in self.private and value is not None else shown(value)


@dataclass(frozen=True)
class _Side:
    columns: tuple[str, ...]
    types: Mapping[str, pa.DataType] = field(default_factory=dict)


def difference(expected: pa.Table | Rows, found: pa.Table | Rows, *, digits: int = DIGITS) -> Difference:
    """What tells two sides apart that have the same columns; rows as mappings take the types of the other side.

    A column that a row lacks is null there. Numbers are equal when their values are, floating point to `digits` digits.
    """
    sides = [_side(expected), _side(found)]
    columns = tuple(dict.fromkeys(name for side in sides for name in side.columns))
    kinds = [_kind(name, *sides) for name in columns]
    wanted, came = (Counter(_meant_rows(side, columns, kinds, digits)) for side in (expected, found))
    return Difference(columns, tuple((wanted - came).elements()), tuple((came - wanted).elements()))


def alike(one: Meant, other: Meant) -> int:
    """In how many columns two rows are the same."""
    return sum(a == b for a, b in zip(one, other, strict=True))


def row_texts(table: pa.Table) -> list[str]:
    """The rows of a table as texts that are equal for equal rows, in the order of the texts."""
    names = tuple(table.column_names)
    rows = _meant_rows(table, names, [table.schema.field(name).type for name in names], DIGITS)
    return sorted(map(Difference(names).text, rows))


def _side(rows: pa.Table | Rows) -> _Side:
    if isinstance(rows, pa.Table):
        return _Side(tuple(rows.column_names), {each.name: each.type for each in rows.schema})
    return _Side(tuple(dict.fromkeys(name for row in rows for name in row)))


def _kind(name: str, one: _Side, other: _Side) -> pa.DataType | None:
    """The type by which values of a column are compared; None compares them by what they are."""
    kinds = [side.types[name] for side in (one, other) if name in side.types]
    if len(set(kinds)) == 1:
        return kinds[0]
    if kinds and all(pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_integer(kind) for kind in kinds):
        return pa.float64() if any(map(pa.types.is_floating, kinds)) else pa.decimal128(38, 10)
    if kinds and all(pa.types.is_timestamp(kind) or pa.types.is_date(kind) for kind in kinds):
        return next((kind for kind in kinds if pa.types.is_timestamp(kind)), None)
    return None


def _meant_rows(
    rows: pa.Table | Rows, columns: Sequence[str], kinds: Sequence[pa.DataType | None], digits: int
) -> Iterable[Meant]:
    if isinstance(rows, pa.Table):
        values = [_values(rows, name) for name in columns]
        cells = [[meant(value, kind, digits) for value in each] for each, kind in zip(values, kinds, strict=True)]
        return zip(*cells, strict=True) if cells else (() for _ in range(rows.num_rows))
    return [tuple(meant(row.get(name), kind, digits) for name, kind in zip(columns, kinds, strict=True)) for row in rows]


def _values(table: pa.Table, name: str) -> list[Any]:
    if name not in table.column_names:
        return [None] * table.num_rows
    column = table.column(name)
    try:
        found: list[Any] = column.to_pylist()
    except (OverflowError, ValueError):
        # A point in time outside of the years that Python's datetime knows.
        found = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64()).to_pylist()
    return found
