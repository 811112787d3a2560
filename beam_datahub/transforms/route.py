"""Sends each row to one of several branches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
from pydantic import Field

from beam_datahub.component.config import Config, Example
from beam_datahub.component.operators import Operator
from beam_datahub.component.operators import Route as RouteOperator
from beam_datahub.component.registry import register
from beam_datahub.component.transform import Scope, Transform
from beam_datahub.errors import InvalidValue


class RouteConfig(Config):
    """Options of a route."""

    branches: dict[str, str]
    """The branches in order: name → condition. A row goes to the first one whose condition is true for it; later steps
    and destinations take a branch as `input: step.branch`."""

    default: str | None = None
    """The branch for rows that meet no condition, one of `branches` or a further one. Without it, they are rejected
    (`no_route`)."""

    copy_: bool = Field(default=False, alias="copy")
    """Whether a row goes to every branch whose condition is true, instead of the first only."""


@register("transform", "route", since="0.1.0")
class Route(Transform):
    """Sends each row to the first branch whose condition it meets."""

    Config = RouteConfig
    config: RouteConfig
    examples = (
        Example(
            title="Small and large orders go different ways; what is neither takes the default",
            config={"branches": {"large": "total >= 100", "small": "total < 100"}, "default": "unknown"},
            given={"input": [{"id": 1, "total": 250}, {"id": 2, "total": 5}, {"id": 3, "total": None}]},
            expect={"large": [{"id": 1, "total": 250}], "small": [{"id": 2, "total": 5}], "unknown": [{"id": 3, "total": None}]},
        ),
        Example(
            title="Without a default, a row that no branch takes is rejected",
            config={"branches": {"eu": "country in ('DE', 'FR')", "us": "country = 'US'"}},
            given={"input": [{"country": "FR"}, {"country": "US"}, {"country": "JP"}]},
            expect={"eu": [{"country": "FR"}], "us": [{"country": "US"}]},
            rejected=("no_route",),
        ),
        Example(
            title="A copy for every branch whose condition is true",
            config={"branches": {"everything": "true", "alarms": "level = 'error'"}, "copy": True},
            given={"input": [{"level": "info"}, {"level": "error"}]},
            expect={"everything": [{"level": "info"}, {"level": "error"}], "alarms": [{"level": "error"}]},
        ),
    )

    def branches(self) -> tuple[str, ...]:
        default = self.config.default
        return tuple(dict.fromkeys([*self.config.branches, *([default] if default else [])]))

    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        (schema,) = inputs.values()
        if not self.config.branches:
            scope.error(InvalidValue("a route needs at least one branch"), "branches")
        for name in self.branches():
            if not name or "." in name:
                at = ("branches", name) if name in self.config.branches else ("default",)
                scope.error(InvalidValue(f"'{name}' cannot be a branch's name", hint="it needs a name without a dot"), *at)
        branches = tuple(
            (name, scope.predicate(condition, schema, "branches", name)) for name, condition in self.config.branches.items()
        )
        return [RouteOperator(branches, self.config.default or None, self.config.copy_)]
