"""The contract of a transformation: typed config in, logical operators out; it knows neither Beam nor the engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from beam_datahub.component.config import Config, Example
from beam_datahub.component.operators import Operator
from beam_datahub.errors import SpecError
from beam_datahub.kernels.expressions import Expression
from beam_datahub.kernels.windows import Windowing

# A place inside a step's `config`: the keys that lead there.
At = Sequence[str | int]


class Scope(Protocol):
    """What the compiler lends to a transformation while it compiles: typed expressions and placed errors.

    Errors are collected, so that all are reported in one go: after one, the value returned is a harmless stand-in.
    """

    def expression(self, value: Any, schema: pa.Schema, *at: str | int) -> Expression:
        """`value` (one of the four forms, or `{value: literal}`) typed against `schema`; `at` is its place in `config`."""

    def predicate(self, value: Any, schema: pa.Schema, *at: str | int) -> Expression:
        """Like `expression`, and boolean."""

    def column(self, name: str, schema: pa.Schema, *at: str | int) -> str:
        """`name` as `schema` spells it (names match without regard to case); an error with a guess where it is absent."""

    def data_type(self, sql: str, *at: str | int) -> pa.DataType:
        """The canonical Arrow type of a SQL type name such as `decimal(12,2)` or `json`."""

    def error(self, error: SpecError, *at: str | int) -> None:
        """Report `error`, placed at `at` in `config`."""

    @property
    def windowing(self) -> Windowing | None:
        """The windows of event time in which the step works: its inputs have the columns `windows.START` and `windows.END`."""

    def resolve(self, relative: str) -> str:
        """The path of a file that the spec names relative to itself."""


class Transform(ABC):
    """A transformation type. Subclasses set `Config`, `examples` and `input_count` and implement `compile`."""

    name: ClassVar[str]
    Config: ClassVar[type[Config]]
    examples: ClassVar[tuple[Example, ...]] = ()
    input_count: ClassVar[tuple[int, int | None]] = (1, 1)
    """How many inputs it takes: least and most (None: any number)."""
    works_in_windows: ClassVar[bool] = False
    """Whether it may have a `window`: then it keeps rows of different windows apart."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def references(self) -> tuple[str, ...]:
        """Names of further inputs that the config mentions (an enrichment's `with`); they follow those of `input`."""
        return ()

    def branches(self) -> tuple[str, ...]:
        """Names of the outputs of a transformation that has several; a consumer names one as `step.branch`."""
        return ()

    @abstractmethod
    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        """The operators for inputs of these schemas, in the order of `input` and then `references()`."""
