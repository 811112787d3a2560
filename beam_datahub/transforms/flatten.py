"""Turns nested values into rows and columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.columns import find_column, find_columns, is_free, unchanged
from beam_datahub.component.config import Config, Example
from beam_datahub.component.operators import Applied, Apply, BatchKernel, Column, Operator, Rows
from beam_datahub.component.registry import register
from beam_datahub.component.transform import Scope, Transform
from beam_datahub.errors import InvalidValue
from beam_datahub.kernels.expressions import Expression, column, read_json_sql
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import JSON, literal, quoted, sql_type, visible


class FlattenConfig(Config):
    """Options of a flatten."""

    unnest: str | None = None
    """A list column, or a JSON column that holds arrays: each element becomes a row of its own, with the other columns
    repeated. An element that is a struct is then spread into columns, as by `structs`."""

    element: str | None = None
    """The SQL type of a JSON array's elements, as `struct(sku varchar, quantity integer)`; `json` without it. Keys
    that an object lacks are null; a row whose value is no array of such elements is rejected (`cast_failed`)."""

    outer: bool = False
    """Whether a row whose list is null or empty stays, with a null element, instead of being filtered."""

    position: str | None = None
    """The name of an added column with the element's place in its list, from 1."""

    structs: Literal["all"] | tuple[str, ...] = ()
    """Struct columns to spread into columns, at every depth: a list, or `all`."""

    separator: str = "_"
    """What stands between the names of a struct and of its field in the name of the new column."""

    prefix: str | None = None
    """What stands before the names of an unnested struct's fields, in place of the list's name and the separator; it may
    be empty."""


@register("transform", "flatten", since="0.1.0")
class Flatten(Transform):
    """Turns the elements of a list into rows, and the fields of structs into columns."""

    Config = FlattenConfig
    config: FlattenConfig
    examples = (
        Example(
            title="A row for each item of an order",
            config={"unnest": "items", "position": "line"},
            given={"input": [{"id": 1, "items": [{"sku": "a", "n": 2}, {"sku": "b", "n": 1}]}, {"id": 2, "items": []}]},
            schema={"input": {"id": "bigint", "items": "struct(sku varchar, n bigint)[]"}},
            expect=[
                {"id": 1, "items_sku": "a", "items_n": 2, "line": 1},
                {"id": 1, "items_sku": "b", "items_n": 1, "line": 2},
            ],
        ),
        Example(
            title="Nested fields become columns",
            config={"structs": "all"},
            given={"input": [{"id": 1, "customer": {"name": "Ada", "address": {"city": "Ulm"}}}, {"id": 2, "customer": None}]},
            schema={"input": {"id": "bigint", "customer": "struct(name varchar, address struct(city varchar))"}},
            expect=[
                {"id": 1, "customer_name": "Ada", "customer_address_city": "Ulm"},
                {"id": 2, "customer_name": None, "customer_address_city": None},
            ],
        ),
        Example(
            title="Arrays in JSON; a row without elements stays, one that is no such array is rejected",
            config={"unnest": "tags", "element": "integer", "outer": True},
            given={"input": [{"id": 1, "tags": "[7, 8]"}, {"id": 2, "tags": "null"}, {"id": 3, "tags": '["x"]'}]},
            schema={"input": {"id": "bigint", "tags": "json"}},
            expect=[{"id": 1, "tags": 7}, {"id": 1, "tags": 8}, {"id": 2, "tags": None}],
            rejected=("cast_failed",),
        ),
    )

    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        (schema,) = inputs.values()
        schema = visible(schema)
        operators: list[Operator] = []
        spread: set[str] = set()
        if self.config.unnest is not None:
            name = find_column(self.config.unnest, schema, scope, "unnest")
            if name is None:
                return [Rows()]
            operators += self._unnest(name, schema, scope)
            schema = operators[-1].schema if isinstance(operators[-1], Apply) else schema
            if pa.types.is_struct(schema.field(name).type):
                spread.add(name)
        elif not self.config.structs:
            scope.error(InvalidValue("there is nothing to flatten", hint="name a list in `unnest`, or `structs`"))
        spread.update(self._structs(schema, scope))
        if spread:
            operators.append(self._spread(schema, spread, scope))
        return operators or [Rows()]

    def _unnest(self, name: str, schema: pa.Schema, scope: Scope) -> list[Operator]:
        operators: list[Operator] = []
        kind = schema.field(name).type
        if kind == JSON:
            element = scope.data_type(self.config.element or "json", "element")
            wanted = pa.list_(pa.field("item", element))
            operators.append(_converted(name, schema, wanted))
            schema = schema.set(schema.get_field_index(name), pa.field(name, wanted))
        elif not pa.types.is_list(kind):
            hint = "convert the text with a `cast` to json before" if kind == pa.string() else None
            scope.error(InvalidValue(f"'{name}' is {sql_type(kind)}, and no list", hint=hint), "unnest")
            return [Rows()]
        elif self.config.element is not None:
            scope.error(InvalidValue(f"the elements of '{name}' have a type already", hint="leave out `element`"), "element")
        index = schema.get_field_index(name)
        after = schema.set(index, pa.field(name, schema.field(name).type.value_type))
        lineage = unchanged(schema)
        position = self.config.position
        if position is not None and is_free(position, schema.names, scope, "position"):
            after = after.insert(index + 1, pa.field(position, pa.int64()))
            lineage[position] = (name,)
        else:
            position = None
        made = (name,) if position is None else (name, position)
        return [*operators, Apply(_Unnest(name, after, position, outer=self.config.outer), after, lineage, made=made)]

    def _structs(self, schema: pa.Schema, scope: Scope) -> list[str]:
        if self.config.structs == "all":
            return [f.name for f in schema if pa.types.is_struct(f.type)]
        found = find_columns(self.config.structs, schema, scope, "structs")
        for name in found:
            if not pa.types.is_struct(schema.field(name).type):
                scope.error(InvalidValue(f"'{name}' is {sql_type(schema.field(name).type)}, and no struct"), "structs")
        return [name for name in found if pa.types.is_struct(schema.field(name).type)]

    def _spread(self, schema: pa.Schema, names: set[str], scope: Scope) -> Rows:
        columns: list[Column] = []
        for source in schema:
            parts = [column(source.name, schema)]
            if source.name in names:
                parts = _leaves(parts[0])
            unnested = self.config.unnest is not None and source.name.casefold() == self.config.unnest.casefold()
            for part in parts:
                path = part.text.split("\x00")
                title = self.config.separator.join(path)
                if unnested and self.config.prefix is not None and len(path) > 1:
                    title = self.config.prefix + self.config.separator.join(path[1:])
                taken = [made.name for made in columns]
                hint = "give another `separator`, or a `prefix` for what is unnested"
                if is_free(title, taken, scope, *(("unnest",) if unnested else ("structs",)), hint=hint):
                    columns.append(Column(title, Expression(".".join(path), part.sql, part.type, part.columns, can_fail=False)))
        return Rows(tuple(columns))


def _leaves(value: Expression) -> list[Expression]:
    """The fields of a struct at every depth; their `text` is the path, joined by NUL."""
    found: list[Expression] = []
    for inner in value.type:
        part = Expression(
            f"{value.text}\x00{inner.name}",
            f"struct_extract({value.sql}, {literal(inner.name)})",
            inner.type,
            value.columns,
            can_fail=False,
        )
        found += _leaves(part) if pa.types.is_struct(inner.type) else [part]
    return found


def _converted(name: str, schema: pa.Schema, wanted: pa.DataType) -> Rows:
    cast = Expression(name, read_json_sql(quoted(name), wanted), wanted, (name,))
    return Rows(
        tuple(Column(f.name, cast, "cast_failed") if f.name == name else Column(f.name, column(f.name, schema)) for f in schema)
    )


class _Unnest(BatchKernel):
    """Gives each element of a list its own row."""

    def __init__(self, name: str, schema: pa.Schema, position: str | None, *, outer: bool) -> None:
        self._name, self._schema, self._position, self._outer = name, schema, position, outer

    def apply(self, batch: pa.RecordBatch, session: KernelSession) -> Applied:
        lists = batch.column(self._name)
        parents, elements = pc.list_parent_indices(lists).cast(pa.int64()), pc.list_flatten(lists)
        positions = _positions(parents)
        if self._outer:
            # The value of an empty list is null, at its row's place among the others.
            empty = pc.indices_nonzero(pc.fill_null(pc.equal(pc.list_value_length(lists), 0), True)).cast(pa.int64())
            nulls = pa.nulls(len(empty), pa.int64())
            sources = pa.concat_arrays([parents, empty])
            order = pc.sort_indices(
                pa.table({"row": sources, "place": pa.concat_arrays([positions, nulls])}),
                [("row", "ascending"), ("place", "ascending")],
            )
            takes = pa.concat_arrays([pa.array(range(len(elements)), pa.int64()), nulls]).take(order)
            parents, positions = sources.take(order), pa.concat_arrays([positions, nulls]).take(order)
            elements = elements.take(takes)
        columns = []
        for f in self._schema:
            if f.name == self._name:
                columns.append(elements)
            elif f.name == self._position:
                columns.append(positions)
            else:
                columns.append(batch.column(f.name).take(parents))
        return Applied(pa.RecordBatch.from_arrays(columns, schema=self._schema), parents)


def _positions(parents: pa.Array) -> pa.Array:
    """1, 2, 3 … within each run of equal parents."""
    import numpy as np

    rows = parents.to_numpy()
    if not len(rows):
        return pa.array([], pa.int64())
    starts = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]])
    lengths = np.diff(np.r_[starts, len(rows)])
    return pa.array(np.arange(len(rows)) - np.repeat(starts, lengths) + 1, pa.int64())
