"""Adds columns that are looked up in another source or step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import BeforeValidator, Field

from beam_datahub.component.asking import Asking, LookupCache
from beam_datahub.component.columns import NamesOrMapping, find_column, is_free
from beam_datahub.component.config import Config, Example
from beam_datahub.component.matching import On, matched_keys
from beam_datahub.component.operators import Join, JoinKind, Operator, Rows
from beam_datahub.component.registry import register
from beam_datahub.component.transform import Scope, Transform
from beam_datahub.errors import InvalidValue
from beam_datahub.kernels.types import visible

_UNMATCHED = {"null": "keep", "drop": "drop", "reject": "reject"}


def _spelled(value: object) -> object:
    # In YAML, a bare null is no text.
    return "null" if value is None else value


class EnrichmentConfig(Config):
    """Options of an enrichment."""

    with_: str = Field(alias="with")
    """The source or step to look up in, the *reference*."""

    on: On
    """The columns to match: `column`, a list of columns of the same name on both sides, or a mapping of a column of the
    input → a column of the reference. A null matches nothing."""

    add: NamesOrMapping | None = None
    """The reference's columns to add: a list, or a mapping new name → column. Without it, all but those in `on`."""

    missing: Annotated[Literal["null", "reject", "drop"], BeforeValidator(_spelled)] = "null"
    """What becomes of a row without a match: the added columns are `null`, or the row is rejected (`missing_reference`)
    or dropped."""

    duplicates: Literal["reject", "expand"] = "reject"
    """What becomes of a row with several matches: `reject` refuses it (`ambiguous_reference`), `expand` gives a row for
    each match."""

    lookup: Literal["auto", "batch", "whole"] = "auto"
    """How a reference that is a table of a database is looked up: `whole` reads all of it, `batch` asks for the keys of each
    batch alone. With `auto` the plan decides by what it knows of both sides, and says so."""

    cache: LookupCache = LookupCache()
    """What a lookup by batch remembers of earlier answers."""

    requests_per_second: float | None = Field(default=None, gt=0)
    """How many queries a lookup by batch sends at most, in each worker process."""

    timeout_seconds: float | None = Field(default=60, gt=0)
    """How long a query of a lookup by batch may take; it is then tried again, as what a short outage breaks. null: for ever."""


_CUSTOMERS: list[dict[str, Any]] = [
    {"id": 1, "email": "ada@example.org", "tier": "gold"},
    {"id": 2, "email": "bo@example.org", "tier": None},
]


@register("transform", "enrichment", since="0.1.0")
class Enrichment(Transform):
    """Looks each row up in another source or step and adds columns of what it finds there."""

    Config = EnrichmentConfig
    config: EnrichmentConfig
    input_count = (2, 2)
    examples = (
        Example(
            title="Add the customer's e-mail and tier to each order",
            config={"with": "customers", "on": {"customer_id": "id"}, "add": ["email", "tier"]},
            given={"input": [{"order_id": 10, "customer_id": 1}, {"order_id": 11, "customer_id": 9}], "customers": _CUSTOMERS},
            schema={"customers": {"id": "bigint", "email": "varchar", "tier": "varchar"}},
            expect=[
                {"order_id": 10, "customer_id": 1, "email": "ada@example.org", "tier": "gold"},
                {"order_id": 11, "customer_id": 9, "email": None, "tier": None},
            ],
        ),
        Example(
            title="An order of an unknown customer is rejected",
            config={"with": "customers", "on": {"customer_id": "id"}, "add": {"contact": "email"}, "missing": "reject"},
            given={"input": [{"order_id": 10, "customer_id": 1}, {"order_id": 11, "customer_id": 9}], "customers": _CUSTOMERS},
            expect=[{"order_id": 10, "customer_id": 1, "contact": "ada@example.org"}],
            rejected=("missing_reference",),
        ),
        Example(
            title="A reference that has a key twice does not silently double rows",
            config={"with": "prices", "on": "sku", "add": ["price"]},
            given={
                "input": [{"sku": "a"}, {"sku": "b"}],
                "prices": [{"sku": "a", "price": 1}, {"sku": "b", "price": 2}, {"sku": "b", "price": 3}],
            },
            expect=[{"sku": "a", "price": 1}],
            rejected=("ambiguous_reference",),
        ),
    )

    def references(self) -> tuple[str, ...]:
        return (self.config.with_,)

    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        if len(inputs) < 2:
            scope.error(
                InvalidValue("the input cannot be its own reference", hint="put a step between, such as a mapping"), "with"
            )
            return [Rows()]
        left, right = (visible(schema) for schema in inputs.values())
        left_keys, right_keys = matched_keys(self.config.on, left, right, scope)
        columns = [(name, 0, name) for name in left.names]
        for name, source, at in self._added(right, right_keys):
            found = find_column(source, right, scope, *at)
            hint = f"choose the columns and their names: `add: {{{self.config.with_}_{name}: {source}}}`"
            if found is not None and is_free(name, (taken for taken, _, _ in columns), scope, *at, hint=hint):
                columns.append((name, 1, found))
        if len(columns) == len(left.names):
            scope.error(InvalidValue("nothing is added", hint="name the reference's columns in `add`"), "add")
        return [
            Join(
                JoinKind.LEFT,
                left_keys,
                right_keys,
                tuple(columns),
                unmatched=_UNMATCHED[self.config.missing],
                ambiguous="reject" if self.config.duplicates == "reject" else "keep",
                asking=Asking(
                    self.config.lookup, self.config.cache, self.config.requests_per_second, self.config.timeout_seconds
                ),
            )
        ]

    def _added(self, right: pa.Schema, keys: Sequence[str]) -> list[tuple[str, str, tuple[str | int, ...]]]:
        """(new name, column, place) of each column to add."""
        add = self.config.add
        if add is None:
            return [(name, name, ("with",)) for name in right.names if name not in keys]
        if isinstance(add, dict):
            return [(name, source, ("add", name)) for name, source in add.items()]
        return [(name, name, ("add", index)) for index, name in enumerate(add)]
