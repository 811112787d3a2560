"""The contract of a quality rule: typed options in, a test of rows or of a whole table out; it knows no engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import pyarrow as pa

from beam_datahub.component.config import Config
from beam_datahub.component.inspection import Test
from beam_datahub.component.transform import Scope
from beam_datahub.kernels.expressions import Expression


@dataclass(frozen=True)
class RuleExample:
    """An example that the docs show and the tests run.

    `options` stand beside `type:`. `given` are the rows of the step, `others` those of the inputs that the options name,
    `fails` the values of `shown` in the rows that fail (all columns' values as a tuple where it names several), or, for a
    rule about a whole table, `holds` whether it passes. `schema` gives SQL types to columns of `given`.
    """

    title: str
    options: dict[str, Any]
    given: list[dict[str, Any]]
    shown: str | tuple[str, ...] | None = None
    fails: tuple[Any, ...] = ()
    holds: bool | None = None
    where: str | None = None
    others: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    schema: dict[str, str] | None = None


class RuleScope(Scope, Protocol):
    """What the compiler lends to a rule while it compiles; `at` are keys beside the rule's `type`."""

    def hidden(self, name: str) -> str:
        """A column name of the rule's own, which no user column has."""


class Rule(ABC):
    """A type of quality rule. Subclasses set `Config`, `about` and `examples`, and implement `compile`."""

    name: ClassVar[str]
    Config: ClassVar[type[Config]]
    examples: ClassVar[tuple[RuleExample, ...]] = ()
    about: ClassVar[Literal["rows", "table"]] = "rows"
    """Whether it tells for every row if it fails, or judges the table as a whole: then there is no threshold, nothing to
    reject, and one failure at most."""
    takes_where: ClassVar[bool] = True

    def __init__(self, config: Any) -> None:
        self.config = config

    def references(self) -> tuple[str, ...]:
        """Names of other inputs that the options mention, each with the option that does: its last key is the option."""
        return ()

    @abstractmethod
    def compile(
        self, schema: pa.Schema, where: Expression | None, others: Mapping[str, pa.Schema], scope: RuleScope
    ) -> Test | None:
        """The test for a step with this schema; None once an error is reported. `where` is for tests that look beyond a row:
        the compiler applies it to single rows.
        """
