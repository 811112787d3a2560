"""Runs one transformation over given rows through the whole compiler and the direct engine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.kernels.expressions import data_type
from beam_datahub.kernels.types import JSON, canonical_schema
from beam_datahub.runtime.collect import Collected, collect, step_outputs
from beam_datahub.runtime.launch import RunRequest
from beam_datahub.runtime.rows import RowsSource
from beam_datahub.runtime.run_id import new_run_id
from beam_datahub.spec import loads

Given: TypeAlias = Sequence[Mapping[str, Any]] | pa.Table


@dataclass(frozen=True)
class StepRun:
    """What a step gave: `rows` (or `branches` of a route), `rejected` dead-letter records, `books` per step."""

    rows: list[dict[str, Any]]
    branches: dict[str, list[dict[str, Any]]]
    rejected: list[dict[str, Any]]
    books: dict[str, dict[str, int]]
    schema: pa.Schema
    collected: Collected


def as_table(rows: Given, types: Mapping[str, str] | None = None) -> pa.Table:
    """Rows as a table in canonical types; `types` (SQL names) say what the values alone do not tell."""
    if isinstance(rows, pa.Table):
        return rows.cast(canonical_schema(rows.schema))
    names = list(dict.fromkeys([*(name for row in rows for name in row), *(types or {})]))
    columns, fields = [], []
    for name in names:
        values = [row.get(name) for row in rows]
        wanted = data_type(types[name]) if types and name in types else None
        array = _array(values, wanted)
        fields.append(pa.field(name, array.type))
        columns.append(array)
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _array(values: list[Any], wanted: pa.DataType | None) -> pa.Array:
    if wanted == JSON:
        texts = [None if value is None else value if isinstance(value, str) else json.dumps(value) for value in values]
        return pa.ExtensionArray.from_storage(JSON, pa.array(texts, pa.string()))
    if wanted is not None:
        try:
            return pa.array(values, wanted)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return pa.array([None if v is None else str(v) for v in values], pa.string()).cast(wanted)
    found = pa.array(values)
    return found.cast(canonical_schema(pa.schema([pa.field("c", found.type)])).field(0).type)


def run_step(
    type: str,
    config: Mapping[str, Any],
    given: Mapping[str, Given],
    *,
    schema: Mapping[str, Mapping[str, str]] | None = None,
    slice_rows: int | None = None,
    request: RunRequest | None = None,
    window: Mapping[str, Any] | None = None,
) -> StepRun:
    """Run the transformation `type` over `given` (input name → rows; the order is that of its inputs).

    Inputs that the config names itself (an enrichment's `with`) are not inputs of the step. `slice_rows` cuts the input
    into batches of so many rows. `window` is the step's. Raises what `validate` would.
    """
    tables = {name: as_table(rows, (schema or {}).get(name)) for name, rows in given.items()}
    mentioned = json.dumps(config, default=str)
    referenced = {name for name in list(tables)[1:] if type == "enrichment" and f'"{name}"' in mentioned}
    step = {"id": "step", "type": type, "input": [name for name in tables if name not in referenced], "config": config}
    spec = {
        "name": "step",
        "sources": {name: {"connector": "inline", "connection": {}, "rows": []} for name in tables},
        "transformations": [{**step, "window": window} if window is not None else step],
        "destinations": [{"id": "out", "connector": "console", "input": "step"}],
    }
    document = loads(json.dumps(spec, default=str), name="step.yaml")
    sources = {name: RowsSource(table, slice_rows) for name, table in tables.items()}
    plan = build(document, BuildOptions(sources=sources, outputs=False))
    references = {reference: reference for reference in step_outputs(plan, "step")}
    collected = collect(plan, references, request or RunRequest(new_run_id()))
    branches = {name.rpartition(".")[2]: table.to_pylist() for name, table in collected.tables.items() if name != "step"}
    first = next(iter(collected.tables.values()))
    return StepRun(
        rows=collected.tables["step"].to_pylist() if "step" in collected.tables else [],
        branches=branches,
        rejected=collected.rejected.to_pylist(),
        books=collected.result.books,
        schema=first.schema,
        collected=collected,
    )
