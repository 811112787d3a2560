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
    """The rows in which one of `columns` is `value`, written as text; in `inside`, a column with records as JSON, where given."""

    value: str
    columns: tuple[str, ...]
    inside: str | None = None

    def condition(self, schema: pa.Schema) -> str:
        """SQL that is true for the subject's rows of a relation of this schema, and false for all others."""
        if self.inside is not None:
            return self.json_condition(quoted(self.inside))
        names = [name for name in self.columns if name in schema.names]
        tests = [self._equals(quoted(name), schema.field(name).type) for name in names]
        return " OR ".join(f"coalesce({test}, false)" for test in tests) or "false"

    def json_condition(self, text: str, inside: str | None = None) -> str:
        """The same over `text`, SQL of a record as JSON text; `inside`: over the JSON text in this field of it."""
        if inside is not None:
            text = f"json_extract_string({_valid(text)}, {literal(_path(inside))})"
        values = [f"json_extract_string({_valid(text)}, {literal(_path(name))})" for name in self.columns]
        return f"coalesce({' OR '.join(f'{value} = {literal(self.value)}' for value in values) or 'false'}, false)"

    def mentioned(self, text: str) -> str:
        """SQL that is true where `text` is no JSON but has the value in it as a word."""
        pattern = rf"(^|[^0-9A-Za-z]){re.escape(self.value)}($|[^0-9A-Za-z])"
        return f"coalesce(NOT json_valid({text}) AND regexp_matches({text}, {literal(pattern)}), false)"

    def _equals(self, column: str, kind: pa.DataType) -> str:
        if kind == JSON:
            return f"({column} ->> '$') = {literal(self.value)}"
        text = f"CAST({column} AS VARCHAR) = {literal(self.value)}"
        if pa.types.is_integer(kind) and _WHOLE.fullmatch(self.value):
            return f"CAST({column} AS VARCHAR) = {literal(str(int(self.value)))}"
        if (pa.types.is_decimal(kind) or pa.types.is_floating(kind)) and _NUMBER.fullmatch(self.value):
            # Compared exactly: a value must not be rounded to the subject's.
            target = "DECIMAL(38,10)" if pa.types.is_decimal(kind) else sql_type(kind)
            return f"CAST({column} AS {target}) = TRY_CAST({literal(self.value)} AS {target})"
        return text


@dataclass(frozen=True)
class Held:
    """What was found of a subject, or removed: how many rows, in which files (or whatever holds them).

    `uncertain` rows mention the value in a form that cannot be read: nobody knows whose they are.
    """

    rows: int = 0
    locations: tuple[str, ...] = ()
    uncertain: int = 0


def _valid(text: str) -> str:
    return f"CASE WHEN json_valid({text}) THEN {text} END"


def _path(name: str) -> str:
    return '$."' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
