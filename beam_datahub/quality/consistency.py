"""Tells the records that contradict themselves or name what is not there."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from pydantic import Field

from beam_datahub.component.config import Config
from beam_datahub.component.inspection import Lookup, RowTest
from beam_datahub.component.matching import On, matched_keys
from beam_datahub.component.registry import register
from beam_datahub.component.rule import Rule, RuleExample, RuleScope
from beam_datahub.errors import InvalidValue, MissingValue
from beam_datahub.kernels.expressions import Expression
from beam_datahub.kernels.types import quoted


class ConsistencyConfig(Config):
    """Options of a consistency rule: a condition, or another input that must have the key."""

    that: str | None = None
    """A condition over the columns that must be true; a record for which it is false, null or an error fails."""

    with_: str | None = Field(default=None, alias="with")
    """A source or step that must have a record of the same key."""

    on: On | None = None
    """The key: a column of the same name on both sides, a list of them, or a mapping of columns here to columns there. A record
    with a null in its key is not checked."""


@register("rule", "consistency", since="0.1.0")
class Consistency(Rule):
    """A condition over several columns holds, or a key that a record names exists in another input."""

    Config = ConsistencyConfig
    config: ConsistencyConfig
    examples = (
        RuleExample(
            title="Nothing ends before it starts",
            options={"that": "ended >= started"},
            given=[{"started": 1, "ended": 2}, {"started": 3, "ended": 2}, {"started": 4, "ended": None}],
            shown="started",
            fails=(3, 4),
        ),
        RuleExample(
            title="Every order names a customer that exists",
            options={"with": "customers", "on": {"customer": "id"}},
            given=[{"id": 1, "customer": "ada"}, {"id": 2, "customer": "bo"}, {"id": 3, "customer": None}],
            others={"customers": [{"id": "ada"}, {"id": "ada"}, {"id": None}]},
            shown="id",
            fails=(2,),
        ),
    )

    def references(self) -> tuple[str, ...]:
        """The other input."""
        return (self.config.with_,) if self.config.with_ is not None else ()

    def compile(
        self, schema: pa.Schema, where: Expression | None, others: Mapping[str, pa.Schema], scope: RuleScope
    ) -> RowTest | None:
        """The condition holds, or the key is found."""
        config = self.config
        if (config.that is None) == (config.with_ is None):
            reason = "`that` and `with` are both given" if config.that is not None else "there is no condition"
            hint = "they are two kinds of rule: write two" if config.that is not None else "give `that`, or `with` and `on`"
            scope.error(InvalidValue(reason, hint=hint))
            return None
        if config.that is not None:
            return RowTest(scope.predicate(config.that, schema, "that"), f"not so: {config.that}")
        if config.on is None:
            scope.error(MissingValue("`on` is missing", hint=f"name the columns that '{config.with_}' is looked up by"))
            return None
        there = str(config.with_)
        left, right = matched_keys(config.on, schema, others[there], scope)
        if not left:
            return None
        found = scope.hidden("found")
        mark = Lookup(there, left, right, {found: ("count", right[0])})
        keys = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in left)
        applies = Expression("the key is there", keys, pa.bool_(), left, can_fail=False)
        passes = Expression("the key is found", f"{quoted(found)} IS NOT NULL", pa.bool_(), (found,), can_fail=False)
        message = f"{' and '.join(map(repr, left))} names nothing in '{there}'"
        return RowTest(passes, message, applies, left[0], mark=mark)
