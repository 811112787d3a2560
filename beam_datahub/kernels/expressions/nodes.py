"""The nodes that a path has reached, as SQL: one value, or a list of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from beam_datahub.errors import InvalidExpression, UnknownColumn
from beam_datahub.kernels.expressions.casts import checked_json_sql
from beam_datahub.kernels.expressions.resolve import Names
from beam_datahub.kernels.types import JSON, literal, quoted

Step = tuple[Any, ...]

# DuckDB's paths count in 32 bits.
_FARTHEST = 2**31


@dataclass(frozen=True)
class Nodes:
    """One value (`many` false), null when absent; or the list of all nodes found, never null.

    `kind` is the type of a node. `can_fail`: JSON has been read on the way, and fails there where it is damaged.
    """

    sql: str
    kind: pa.DataType
    many: bool = False
    can_fail: bool = False

    def follow(self, steps: Sequence[Step]) -> Nodes | None:
        """The nodes that lie `steps` further on; None when SQL cannot tell just as RFC 9535 means it."""
        nodes = self
        for step in steps:
            if not nodes._has_sql(step):
                return None
            nodes = nodes._take(step)
        return nodes

    def result(self) -> tuple[str, pa.DataType]:
        """The SQL and the type of the outcome."""
        return (self.sql, pa.list_(self.kind)) if self.many else (self.sql, self.kind)

    def project(self, fields: Mapping[str, Sequence[Step]]) -> Nodes:
        """New objects with `fields`, one for each node that has fields at all."""
        if pa.types.is_list(self.kind) and not self.many:
            raise InvalidExpression("a projection builds objects from objects, not from a list", hint="write [*] before it")
        node = Nodes("x" if self.many else self.sql, self.kind)
        parts: dict[str, Nodes] = {}
        for name, steps in fields.items():
            part = node.follow(steps)
            if part is None:
                raise InvalidExpression(
                    f"the field '{name}' of the projection cannot be reached", hint="names '' and '*' do not go here"
                )
            parts[name] = part
        if self.kind == JSON:
            built = f"json_object({', '.join(f'{literal(name)}, {part.sql}' for name, part in parts.items())})"
            present = f"json_type({node.sql if self.can_fail else checked_json_sql(node.sql, JSON)}) = 'OBJECT'"
            kind: pa.DataType = JSON
        else:
            built = f"struct_pack({', '.join(f'{quoted(name)} := {part.sql}' for name, part in parts.items())})"
            present = f"{node.sql} IS NOT NULL"
            kind = pa.struct([pa.field(name, part.kind) for name, part in parts.items()])
        can_fail = self.can_fail or any(part.can_fail for part in parts.values())
        if self.many:
            sql = f"list_transform(list_filter({self.sql}, lambda x: {present}), lambda x: {built})"
        else:
            sql = f"CASE WHEN {present} THEN {built} END"
        return Nodes(sql, kind, self.many, can_fail)

    def _has_sql(self, step: Step) -> bool:
        """Whether DuckDB's own functions take the step exactly as RFC 9535 means it."""
        kind = self.kind
        if step[0] == "other":
            return False
        if kind == JSON:
            if step[0] == "name":
                # DuckDB takes a quoted * for the wildcard and no empty name, and ends a path at a NUL.
                return step[1] not in ("", "*") and "\x00" not in step[1]
            return all(abs(bound) < _FARTHEST for bound in step[1:3] if isinstance(bound, int))
        if step[0] == "wild" and pa.types.is_struct(kind):
            return len({field.type for field in kind}) == 1 and not self.many
        return True

    def _take(self, step: Step) -> Nodes:
        if self.kind == JSON:
            return self._take_json(step)
        if step[0] == "name":
            return self._take_name(step[1])
        if step[0] == "index":
            return self._take_index(step[1])
        return self._take_several(step)

    def _take_json(self, step: Step) -> Nodes:
        if step[0] in ("name", "index"):
            path = literal(_json_path(step))
            if not self.many:
                return Nodes(f"json_extract({self.sql}, {path})", JSON, can_fail=True)
            found = f"list_transform({self.sql}, lambda x: json_extract(x, {path}))"
            return Nodes(f"list_filter({found}, lambda x: x IS NOT NULL)", JSON, True, can_fail=True)
        value = "x" if self.many else self.sql
        if not self.can_fail:
            value = checked_json_sql(value, JSON)
        elements = f"json_extract({value}, '$[*]')"
        if step[0] == "slice":
            some = f"{elements}[{step[1] + 1}:{step[2] if step[2] is not None else ''}]"
        else:
            some = f"CASE WHEN json_type({value}) = 'OBJECT' THEN json_extract({value}, '$.*') ELSE {elements} END"
        return self._gathered(some, JSON, can_fail=True)

    def _gathered(self, some: str, kind: pa.DataType, *, can_fail: bool) -> Nodes:
        """The nodes of the lists `some`, one list for each node (as `x`) or for the only one."""
        can_fail = can_fail or self.can_fail
        if not self.many:
            return Nodes(f"coalesce({some}, [])", kind, True, can_fail)
        return Nodes(f"flatten(list_transform({self.sql}, lambda x: coalesce({some}, [])))", kind, True, can_fail)

    def _take_name(self, name: str) -> Nodes:
        if pa.types.is_struct(self.kind):
            names = Names(pa.schema(list(self.kind)))
            found = names.find(name)
            if found is None:
                raise UnknownColumn(name, names.schema.names)
            kind = names.schema.field(found).type
            return self._each(lambda node: f"struct_extract({node}, {literal(found)})", kind, lambda node: f"{node} IS NOT NULL")
        if pa.types.is_map(self.kind) and self.kind.key_type == pa.string():
            key = literal(name)
            return self._each(
                lambda node: f"map_extract_value({node}, {key})", self.kind.item_type, lambda node: f"map_contains({node}, {key})"
            )
        raise self._nothing(f"'{name}'")

    def _take_index(self, index: int) -> Nodes:
        if not pa.types.is_list(self.kind):
            raise self._nothing(f"[{index}]")
        bound = f"> {index}" if index >= 0 else f">= {-index}"
        place = index + 1 if index >= 0 else index
        return self._each(
            lambda node: f"list_extract({node}, {place})", self.kind.value_type, lambda node: f"len({node}) {bound}"
        )

    def _take_several(self, step: Step) -> Nodes:
        value = "x" if self.many else self.sql
        if pa.types.is_list(self.kind):
            some = value if step[0] == "wild" else f"{value}[{step[1] + 1}:{step[2] if step[2] is not None else ''}]"
            return self._gathered(some, self.kind.value_type, can_fail=False)
        if step[0] == "wild" and pa.types.is_map(self.kind):
            return self._gathered(f"map_values({value})", self.kind.item_type, can_fail=False)
        if step[0] == "wild" and pa.types.is_struct(self.kind):
            parts = ", ".join(f"struct_extract({value}, {literal(field.name)})" for field in self.kind)
            return self._gathered(f"CASE WHEN {value} IS NOT NULL THEN [{parts}] END", self.kind.field(0).type, can_fail=False)
        raise self._nothing("[*]" if step[0] == "wild" else str(step[3]))

    def _each(self, take: Callable[[str], str], kind: pa.DataType, has: Callable[[str], str]) -> Nodes:
        """The part of each node that `take` takes, of those nodes that have it."""
        if not self.many:
            return replace(self, sql=take(self.sql), kind=kind)
        kept = f"list_filter({self.sql}, lambda x: {has('x')})"
        return replace(self, sql=f"list_transform({kept}, lambda x: {take('x')})", kind=kind)

    def _nothing(self, step: str) -> InvalidExpression:
        what = "a list" if pa.types.is_list(self.kind) else "an object" if pa.types.is_nested(self.kind) else f"a {self.kind}"
        hint = "write [*] for all its elements, or [0] for the first" if pa.types.is_list(self.kind) else None
        if self.kind == pa.string():
            hint = "if it is JSON as text, cast the column to json first"
        return InvalidExpression(f"the path finds nothing at {step}: it has come to {what}", hint=hint)


def _json_path(step: Step) -> str:
    if step[0] == "index":
        return f"$[{step[1]}]"
    escaped = step[1].replace("\\", "\\\\").replace('"', '\\"')
    return f'$."{escaped}"'
