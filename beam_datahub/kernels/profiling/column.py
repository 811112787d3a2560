"""The profile of one column: what it holds, as counts and sketches that merge."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pyarrow as pa

from beam_datahub.kernels.profiling.sketches import Distinct, Frequent, Lengths, Moments, Ranks
from beam_datahub.kernels.types import JSON, TIMESTAMPTZ, sql_type

NUMBERS = ("integer", "float", "decimal")
TIMES = ("date", "time", "timestamp", "timestamptz")


def kind_of(data_type: pa.DataType) -> str:
    """How values of a type are profiled."""
    t = pa.types
    if t.is_boolean(data_type):
        return "boolean"
    if t.is_integer(data_type):
        return "integer"
    if t.is_floating(data_type):
        return "float"
    if t.is_decimal(data_type):
        return "decimal"
    if t.is_date(data_type):
        return "date"
    if t.is_time(data_type):
        return "time"
    if t.is_timestamp(data_type):
        return "timestamptz" if data_type == TIMESTAMPTZ else "timestamp"
    if data_type == JSON:
        return "json"
    if t.is_string(data_type):
        return "text"
    if t.is_binary(data_type):
        return "binary"
    if t.is_list(data_type) or t.is_map(data_type):
        return "list"
    return "other"


@dataclass
class ColumnProfile:
    """What a column holds. `least` and `most` are plain numbers (days, microseconds), decimals, texts or hexadecimal bytes.

    `rows` counts the values, nulls included: the rows of the batch, or the elements of its lists. Numbers that are no
    number or infinite take part in no mean, deviation or quantile.
    """

    type: str
    kind: str
    rows: int = 0
    nulls: int = 0
    nans: int = 0
    infinite: int = 0
    zeros: int = 0
    negative: int = 0
    true: int = 0
    least: Any = None
    most: Any = None
    moments: Moments = field(default_factory=Moments)
    ranks: Ranks = field(default_factory=Ranks)
    lengths: Lengths = field(default_factory=Lengths)
    distinct: Distinct = field(default_factory=Distinct)
    frequent: Frequent = field(default_factory=Frequent)
    patterns: Frequent = field(default_factory=Frequent)
    shapes: Frequent = field(default_factory=Frequent)

    @classmethod
    def of(cls, data_type: pa.DataType) -> ColumnProfile:
        """The profile of no values of a type."""
        return cls(sql_type(data_type), kind_of(data_type))

    def saw(self, least: Any, most: Any) -> None:
        """Take the extremes of some values; None of none."""
        if least is not None:
            self.least = least if self.least is None else min(self.least, least)
        if most is not None:
            self.most = most if self.most is None else max(self.most, most)

    def merge(self, other: ColumnProfile) -> None:
        """Take what another profile of the same type saw. Raises ValueError for another type."""
        if (self.type, self.kind) != (other.type, other.kind):
            raise ValueError(f"profiles of {self.type} and {other.type} do not merge")
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.saw(other.least, other.most)
        for name in ("moments", "ranks", "lengths", "distinct", "frequent", "patterns", "shapes"):
            getattr(self, name).merge(getattr(other, name))

    def to_json(self) -> dict[str, Any]:
        """The profile as a JSON object."""
        return {
            "type": self.type,
            "kind": self.kind,
            **{name: getattr(self, name) for name in _COUNTS},
            "least": _plain(self.least),
            "most": _plain(self.most),
            "moments": _moments(self.moments),
            "ranks": self.ranks.to_json(),
            "lengths": {
                "least": self.lengths.least,
                "most": self.lengths.most,
                "moments": _moments(self.lengths.moments),
                "ranks": self.lengths.ranks.to_json(),
                "empty": self.lengths.empty,
            },
            "distinct": self.distinct.to_json(),
            "frequent": self.frequent.to_json(),
            "patterns": self.patterns.to_json(),
            "shapes": self.shapes.to_json(),
        }

    @classmethod
    def from_json(cls, parts: dict[str, Any]) -> ColumnProfile:
        """The profile that `to_json` wrote."""
        kind, lengths = parts["kind"], parts["lengths"]
        return cls(
            type=parts["type"],
            kind=kind,
            **{name: int(parts[name]) for name in _COUNTS},
            least=_typed(kind, parts["least"]),
            most=_typed(kind, parts["most"]),
            moments=Moments(*parts["moments"]),
            ranks=Ranks.from_json(parts["ranks"]),
            lengths=Lengths(
                least=lengths["least"],
                most=lengths["most"],
                moments=Moments(*lengths["moments"]),
                ranks=Ranks.from_json(lengths["ranks"]),
                empty=int(lengths["empty"]),
            ),
            distinct=Distinct.from_json(parts["distinct"]),
            frequent=Frequent.from_json(parts["frequent"]),
            patterns=Frequent.from_json(parts["patterns"]),
            shapes=Frequent.from_json(parts["shapes"]),
        )


_COUNTS = ("rows", "nulls", "nans", "infinite", "zeros", "negative", "true")


def _moments(moments: Moments) -> list[Any]:
    return [moments.count, moments.mean, moments.squares]


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal) else value


def _typed(kind: str, value: Any) -> Any:
    if value is None:
        return None
    return Decimal(value) if kind == "decimal" else value
