"""Personal data in a plan: the tags of each column, from the sources through every step to the destinations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING

import pyarrow as pa

from beam_datahub.compiler.plan import Node, Plan, Read, Write
from beam_datahub.component.operators import Aggregate, Apply, PerKey, Protection, Rows
from beam_datahub.kernels.types import is_hidden

if TYPE_CHECKING:
    from beam_datahub.compiler.carried import Carried


class Level(IntEnum):
    """How much of a value a column shows: nothing, a stated part or less exact form, or all."""

    HIDDEN = 0
    LOWERED = 1
    CLEAR = 2


@dataclass(frozen=True)
class Tag:
    """Personal data in a column: its kind, how much of it shows, and the source and column that it comes from.

    `fields` is where it is inside a struct. `way` are the steps with the column's name in each, the source first.
    """

    kind: str
    level: Level
    source: str
    column: str
    fields: tuple[str, ...] = ()
    way: tuple[tuple[str, str], ...] = ()

    @property
    def origin(self) -> str:
        """The column of the source, as `customers.email`."""
        return f"{self.source}.{self.column}"


Tags = Mapping[str, Mapping[str, tuple[Tag, ...]]]
# Source → column, or field of a struct as `column.field` → kinds.
Declared = Mapping[str, Mapping[str, tuple[str, ...]]]

_PROTECTED = {Protection.HIDDEN: Level.HIDDEN, Protection.LOWERED: Level.LOWERED}


def personal_tags(plan: Plan, declared: Declared) -> Tags:
    """Node id → column → tags, for every node of a logical plan (before the passes); columns without any are left out."""
    found: dict[str, dict[str, tuple[Tag, ...]]] = {}
    for node in plan:
        before = [found.get(plan.node(reference).id, {}) for reference in node.inputs]
        tags = _of_node(node, before, declared.get(node.id, {}), plan)
        found[node.id] = {name: _through(node, name, each) for name, each in tags.items() if each and not is_hidden(name)}
    return found


def _of_node(
    node: Node, before: list[dict[str, tuple[Tag, ...]]], declared: Mapping[str, tuple[str, ...]], plan: Plan
) -> dict[str, tuple[Tag, ...]]:
    # It brings a parser of SQL along, which plans without personal data do not need.
    from beam_datahub.compiler.carried import Carried, carried, carried_by_measure, carried_by_query, only_measures

    operator = node.operator
    if isinstance(operator, Read):
        return _declared(node, declared)
    if isinstance(operator, Write):
        return dict(before[0]) if before else {}
    if isinstance(operator, Rows) and operator.columns is not None:
        found = {}
        for column in operator.columns:
            protection = column.protection
            names = column.expression.columns
            reads = tuple(map(Carried, names)) if protection is not None else carried(column.expression)
            found[column.name] = _protected(_carried(reads, before[0]), protection)
        return found
    if isinstance(operator, Aggregate):
        measures = {each.name: _carried(carried_by_measure(each), before[0]) for each in operator.measures}
        return {**{key: before[0].get(key, ()) for key in operator.keys}, **measures}
    found = {}
    for name in node.schema.names:
        pairs = node.lineage.get(name, ())
        tags = _merged(tag for index, column in pairs for tag in before[index].get(column, ()))
        if isinstance(operator, Apply):
            tags = _protected(tags, operator.protection.get(name))
        elif isinstance(operator, PerKey):
            queried = carried_by_query(operator.sql, name, [column for _, column in pairs])
            if queried is not None:
                tags = _carried(queried, before[0])
            elif _counts(node, name, plan) and only_measures(operator.sql):
                tags = ()
        found[name] = tags
    return found


def _declared(node: Node, declared: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[Tag, ...]]:
    found: dict[str, tuple[Tag, ...]] = {}
    for path, kinds in declared.items():
        name = path if path in node.schema.names else path.partition(".")[0]
        fields = () if path == name else tuple(path[len(name) + 1 :].split("."))
        found[name] = (*found.get(name, ()), *(Tag(kind, Level.CLEAR, node.id, path, fields) for kind in kinds))
    return found


def _carried(reads: Iterable[Carried], before: Mapping[str, tuple[Tag, ...]]) -> tuple[Tag, ...]:
    """The tags of what is carried; a tag inside of a struct goes along only where its field does."""
    found = []
    for each in reads:
        for tag in before.get(each.column, ()):
            shorter = min(len(tag.fields), len(each.path))
            if tag.fields[:shorter] != each.path[:shorter]:
                continue
            level = min(tag.level, Level.LOWERED) if each.coarse else tag.level
            found.append(replace(tag, fields=tag.fields[len(each.path) :], level=level))
    return _merged(found)


def _protected(tags: tuple[Tag, ...], protection: Protection | None) -> tuple[Tag, ...]:
    if protection is None:
        return tags
    if protection is Protection.RESTORED:
        return tuple(replace(tag, level=Level.CLEAR) for tag in tags)
    return tuple(replace(tag, level=min(tag.level, _PROTECTED[protection])) for tag in tags)


def _merged(tags: Iterable[Tag]) -> tuple[Tag, ...]:
    """Each kind of each origin once, with as much as any of them shows."""
    found: dict[tuple[str, str, str, tuple[str, ...]], Tag] = {}
    for tag in tags:
        key = (tag.kind, tag.source, tag.column, tag.fields)
        if key not in found or found[key].level < tag.level:
            found[key] = tag
    return tuple(found.values())


def _counts(node: Node, name: str, plan: Plan) -> bool:
    """Whether a column is a number made of texts, as a count or a rank is."""
    kind = node.schema.field(name).type
    if pa.types.is_boolean(kind):
        return True
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return False
    sources = [(plan.node(node.inputs[index]).schema, column) for index, column in node.lineage.get(name, ())]
    return all(column in schema.names and pa.types.is_string(schema.field(column).type) for schema, column in sources)


def _through(node: Node, name: str, tags: tuple[Tag, ...]) -> tuple[Tag, ...]:
    step = (node.step, name)
    return tuple(tag if tag.way and tag.way[-1] == step else replace(tag, way=_extended(tag.way, step)) for tag in tags)


def _extended(way: tuple[tuple[str, str], ...], step: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    # A step may compile to several operators: the last of them has the name that the user knows.
    return (*way[:-1], step) if way and way[-1][0] == step[0] else (*way, step)
