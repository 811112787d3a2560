"""What a destination is asked about one person: the rows that are theirs, to be handed out or removed."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa

from beam_datahub.kernels.types import JSON, literal, quoted, sql_type

_WHOLE = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")


@dataclass(frozen=True)
class Subject:
    """The rows in which one of `columns` is `value`, written as text; in `inside`, a column with records as JSON, where given.

    `others` are further columns, each with the value that it has instead, because a step made it so. `mentions`: rows belong to
    the subject as well where `inside` is no JSON and has one of the values in it as a word.
    """

    value: str
    columns: tuple[str, ...]
    inside: str | None = None
    others: tuple[tuple[str, str], ...] = ()
    mentions: bool = False

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Columns, each with the value that is the subject's."""
        return (*((name, self.value) for name in self.columns), *self.others)

    def condition(self, schema: pa.Schema) -> str:
        """SQL that is true for the subject's rows of a relation of this schema, and false for all others."""
        if self.inside is not None:
            return self.json_condition(quoted(self.inside))
        pairs = [(name, value) for name, value in self.pairs if name in schema.names]
        tests = [_equals(quoted(name), schema.field(name).type, value) for name, value in pairs]
        return " OR ".join(f"coalesce({test}, false)" for test in tests) or "false"

    def json_condition(self, text: str, inside: str | None = None) -> str:
        """The same over `text`, SQL of a record as JSON text; `inside`: over the JSON text in this field of it."""
        if inside is not None:
            text = f"json_extract_string({_valid(text)}, {literal(_path(inside))})"
        tests = [
            f"coalesce(json_extract_string({_valid(text)}, {literal(_path(name))}) = {literal(value)}, false)"
            for name, value in self.pairs
        ]
        if self.mentions:
            tests.append(self.mentioned(text))
        return f"({' OR '.join(tests) or 'false'})"

    def mentioned(self, text: str) -> str:
        """SQL that is true where `text` is no JSON but has one of the values in it as a word."""
        words = "|".join(re.escape(value) for value in dict.fromkeys(value for _, value in self.pairs))
        pattern = rf"(^|[^0-9A-Za-z])({words})($|[^0-9A-Za-z])"
        return f"coalesce(NOT json_valid({text}) AND regexp_matches({text}, {literal(pattern)}), false)"


@dataclass(frozen=True)
class Held:
    """What was found of a subject, or removed: how many rows, in which files (or whatever holds them).

    `uncertain` rows mention the value in a form that cannot be read: nobody knows whose they are.
    """

    rows: int = 0
    locations: tuple[str, ...] = ()
    uncertain: int = 0


def _equals(column: str, kind: pa.DataType, value: str) -> str:
    if kind == JSON:
        return f"({column} ->> '$') = {literal(value)}"
    if pa.types.is_integer(kind) and _WHOLE.fullmatch(value):
        return f"CAST({column} AS VARCHAR) = {literal(str(int(value)))}"
    if (pa.types.is_decimal(kind) or pa.types.is_floating(kind)) and _NUMBER.fullmatch(value):
        # Compared exactly: a value must not be rounded to the subject's.
        target = "DECIMAL(38,10)" if pa.types.is_decimal(kind) else sql_type(kind)
        return f"CAST({column} AS {target}) = TRY_CAST({literal(value)} AS {target})"
    return f"CAST({column} AS VARCHAR) = {literal(value)}"


def _valid(text: str) -> str:
    return f"CASE WHEN json_valid({text}) THEN {text} END"


def _path(name: str) -> str:
    return '$."' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
