"""What the compiler lends to a transformation: typed expressions, and errors placed in the spec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from beam_datahub.errors import DataHubError, Place, SpecError, UnknownColumn
from beam_datahub.kernels.expressions import Expression, compile_expression, compile_predicate, data_type
from beam_datahub.kernels.types import literal
from beam_datahub.kernels.windows import Windowing


class StepScope:
    """A component.transform.Scope that collects errors; `place` turns keys under `config` into a place of the spec."""

    def __init__(self, place: Callable[..., Place], folder: str, windowing: Windowing | None = None) -> None:
        self._place = place
        self._folder = folder
        self.windowing = windowing
        self.errors: list[DataHubError] = []

    def expression(self, value: Any, schema: pa.Schema, *at: str | int) -> Expression:
        """`value` typed against `schema`, or a null stand-in after an error."""
        try:
            return compile_expression(value, schema)
        except SpecError as error:
            self.error(error, *at)
            return Expression(text=str(value), sql="NULL", type=pa.string(), can_fail=False)

    def predicate(self, value: Any, schema: pa.Schema, *at: str | int) -> Expression:
        """`value` as a boolean expression, or `true` after an error."""
        try:
            return compile_predicate(value, schema)
        except SpecError as error:
            self.error(error, *at)
            return Expression(text=str(value), sql="true", type=pa.bool_(), can_fail=False)

    def column(self, name: str, schema: pa.Schema, *at: str | int) -> str:
        """The column's own spelling, or the first column after an error."""
        if name in schema.names:
            return name
        folded = {known.casefold(): known for known in schema.names}
        if name.casefold() in folded:
            return str(folded[name.casefold()])
        self.error(UnknownColumn(name, schema.names), *at)
        return str(schema.names[0]) if schema.names else literal(name)

    def data_type(self, sql: str, *at: str | int) -> pa.DataType:
        """The canonical type, or text after an error."""
        try:
            return data_type(sql)
        except SpecError as error:
            self.error(error, *at)
            return pa.string()

    def error(self, error: SpecError, *at: str | int) -> None:
        """Report an error at a place under `config`."""
        self.errors.append(error.at(self._place(*at)))

    def resolve(self, relative: str) -> str:
        """A path relative to the spec's folder."""
        return str(Path(self._folder, relative))
