"""Rows that a test gives, as a source: typed like the real one, and a value that does not fit is rejected as there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.capabilities import SourceCapabilities
from beam_datahub.component.config import Config
from beam_datahub.component.source import Block, Discovery, ReadRequest, Report, Source, Split
from beam_datahub.kernels.rejection import rejections
from beam_datahub.kernels.session import KernelSession, conform, single_batch
from beam_datahub.kernels.types import JSON, quoted, sql_type, with_article


class GivenSource(Source):
    """Rows as mappings, converted to a schema; a column that a row lacks is null."""

    name = "given"
    Connection = Config
    Options = Config
    capabilities = SourceCapabilities(columns=True)

    def __init__(self, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
        super().__init__(Config(), Config())
        self._rows, self._schema = tuple(dict(row) for row in rows), schema

    def check(self) -> Report:
        return Report((("rows", True, f"{len(self._rows)} rows"),))

    def discover(self) -> Discovery:
        return Discovery(self._schema, len(self._rows), 0)

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        yield Split("given")

    def read(self, split: Split, request: ReadRequest) -> Iterator[Block]:
        fields = list(request.projected)
        texts = [pa.array([_text(row.get(field.name), field.type) for row in self._rows], pa.string()) for field in fields]
        given = pa.table(texts, names=[field.name for field in fields])
        with KernelSession(threads=1) as session:
            session.put("given", given)
            values = conform(session.fetch(f"SELECT {', '.join(map(_converted, fields))} FROM given"), request.projected)
        wrong: dict[int, tuple[str, str]] = {}
        for field in fields:
            lost = pc.and_(pc.is_null(values[field.name]), pc.is_valid(given[field.name])).combine_chunks()
            for row in pc.indices_nonzero(lost).to_pylist():
                value = given[field.name][row].as_py()
                if not (field.type == JSON and value == "null"):
                    wrong.setdefault(row, (f"'{value}' is not {with_article(field.type)}", field.name))
        kept = pa.array([row for row in range(len(self._rows)) if row not in wrong], pa.int64())
        rows = sorted(wrong)
        refused = rejections(rows, "type_mismatch", [wrong[row][0] for row in rows], [wrong[row][1] for row in rows])
        yield Block(
            single_batch(values.take(kept)),
            rejected=refused if rows else None,
            positions=kept,
            originals=lambda positions: [json.dumps(self._rows[position], default=str) for position in positions],
        )


def _converted(field: pa.Field) -> str:
    name = quoted(field.name)
    text = f"CAST({name} AS JSON)" if pa.types.is_nested(field.type) else name
    return f"TRY_CAST({text} AS {sql_type(field.type)}) AS {name}"


def _text(value: Any, kind: pa.DataType) -> str | None:
    """A value of a YAML or JSON file as the text that a cast reads."""
    if value is None:
        return None
    if kind == JSON:
        return value if isinstance(value, str) and _is_json(value) else json.dumps(value, default=_iso)
    if pa.types.is_nested(kind) or isinstance(value, Mapping | list | tuple):
        return json.dumps(value, default=_iso)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return "".join(f"\\x{each:02X}" for each in value)
    return str(_iso(value)) if isinstance(value, date | time) else str(value)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _iso(value: Any) -> Any:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else repr(value)
