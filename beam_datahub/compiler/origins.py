"""Column lineage of a plan: the source columns that each column comes from, and the expressions on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from beam_datahub.compiler.plan import Node, Plan, Read, Write
from beam_datahub.kernels.types import is_hidden


@dataclass(frozen=True)
class Made:
    """An expression that took part in a column: the step, the step's column, and the text of the expression."""

    step: str
    column: str
    expression: str


@dataclass(frozen=True)
class ColumnOrigin:
    """Where a column comes from: (source, column) pairs, and the expressions on the way in the order of the steps."""

    sources: tuple[tuple[str, str], ...] = ()
    made: tuple[Made, ...] = ()

    @property
    def expression(self) -> str | None:
        """The last expression on the way; None for a column that was only passed on."""
        return self.made[-1].expression if self.made else None


_Item = TypeVar("_Item")
Origins = Mapping[str, Mapping[str, ColumnOrigin]]


def column_origins(plan: Plan) -> Origins:
    """Node id → column → origin, for every node of a logical plan (before the passes)."""
    found: dict[str, dict[str, ColumnOrigin]] = {}
    for node in plan:
        before = [found[plan.node(reference).id] for reference in node.inputs]
        found[node.id] = {name: _origin(node, name, before) for name in node.schema.names}
    return {node: {name: origin for name, origin in each.items() if not is_hidden(name)} for node, each in found.items()}


def _origin(node: Node, name: str, before: list[dict[str, ColumnOrigin]]) -> ColumnOrigin:
    if isinstance(node.operator, Read):
        return ColumnOrigin(((node.id, name),))
    if isinstance(node.operator, Write):
        return before[0].get(name, ColumnOrigin()) if before else ColumnOrigin()
    pairs = node.lineage.get(name, ())
    parents = [before[index][column] for index, column in pairs if column in before[index]]
    made = _unique(each for parent in parents for each in parent.made)
    if name in node.expressions:
        # A step may compile to several operators; the last of them has the text that the user wrote.
        made = [each for each in made if each.step != node.step]
        made.append(Made(node.step, name, node.expressions[name]))
    return ColumnOrigin(tuple(_unique(pair for parent in parents for pair in parent.sources)), tuple(made))


def _unique(items: Iterable[_Item]) -> list[_Item]:
    return list(dict.fromkeys(items))
