"""Runs a function of the user's own Python module."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from beam_datahub.component.columns import is_free
from beam_datahub.component.config import Config, Example
from beam_datahub.component.loaded_module import UserFunction, find_function, written_function
from beam_datahub.component.operators import Applied, Apply, BatchKernel, Operator, Rows
from beam_datahub.component.registry import register
from beam_datahub.component.retry import Retry
from beam_datahub.component.transform import Scope, Transform
from beam_datahub.errors import InvalidValue, MissingDependency, SpecError, UnknownName
from beam_datahub.kernels.conforming import Misfit, conform_rows, conform_table, python_rows
from beam_datahub.kernels.rejection import rejections, with_attempts
from beam_datahub.kernels.session import KernelSession, conform, single_batch
from beam_datahub.kernels.types import empty_table, visible, without_json


class PythonConfig(Config):
    """Options of a Python step."""

    module: str | None = None
    """The module: the path of a `.py` file, which is shipped to the workers, or the dotted name of an installed one."""

    code: str | None = None
    """The text of the module itself, in place of `module`."""

    function: str
    """The name of the function."""

    over: Literal["rows", "arrow", "pandas"] = "rows"
    """What the function takes. `rows`: a dict, and it returns a dict, None to leave the row out, or several dicts.
    `arrow`: a `pyarrow.RecordBatch`, and it returns one with a row for each row, or a pair of it and the input's row
    number for each of its rows. `pandas`: a `DataFrame` with Arrow types whose index tells the rows apart, and it returns
    one whose index still does. What it makes of a row must not depend on the other rows: batches have any size."""

    schema_: dict[str, str] | None = Field(default=None, alias="schema")
    """The columns that the function returns, name → SQL type; those of the input without it. A row that does not fit is
    rejected (`type_mismatch`)."""

    retry: Retry | None = None
    """What becomes of rows on which the function raises something that may pass, such as a service that does not answer: they are
    tried again together, after pauses, before they are rejected. Without it every row is tried once."""


_CODE_ROWS = """
def words(row):
    return [{"id": row["id"], "word": word} for word in row["text"].split()]
"""
_CODE_ARROW = """
import pyarrow.compute as pc

def shout(batch):
    return batch.set_column(1, "text", pc.utf8_upper(batch["text"]))
"""
_CODE_ASKS = """
asked = []

def rate(row):
    asked.append(row["currency"])
    if row["currency"] == "XXX" or asked.count("CHF") == 1:
        raise TimeoutError("the service does not answer")
    return {"currency": row["currency"], "rate": {"EUR": 1.0, "CHF": 0.95}[row["currency"]]}
"""


@register("transform", "python", since="0.1.0")
class Python(Transform):
    """Runs a function of the user's module over rows, Arrow batches or pandas frames.

    A row on which it raises is rejected (`python_failed`) with the exception's type and message. A batch on which it
    raises is halved until the rows at fault stand alone. With `retry`, rows that fail for a reason that may pass are tried again
    first; meanwhile the other rows of their batch wait for them.
    """

    Config = PythonConfig
    config: PythonConfig
    examples = (
        Example(
            title="A function over rows: a dict, nothing, or several; a row on which it raises is rejected",
            config={
                "code": _CODE_ROWS,
                "function": "words",
                "schema": {"id": "bigint", "word": "varchar"},
            },
            given={"input": [{"id": 1, "text": "good day"}, {"id": 2, "text": ""}, {"id": 3, "text": None}]},
            expect=[{"id": 1, "word": "good"}, {"id": 1, "word": "day"}],
            rejected=("python_failed",),
        ),
        Example(
            title="A function over Arrow batches",
            config={"code": _CODE_ARROW, "function": "shout", "over": "arrow"},
            given={"input": [{"id": 1, "text": "good day"}]},
            expect=[{"id": 1, "text": "GOOD DAY"}],
        ),
        Example(
            title="A function that asks a service: a row for which it does not answer is tried again, and then rejected",
            config={
                "code": _CODE_ASKS,
                "function": "rate",
                "schema": {"currency": "varchar", "rate": "double"},
                "retry": {"attempts": 3, "backoff": {"initial_interval": "10 ms", "max_interval": "1 s"}, "on": ["TimeoutError"]},
            },
            given={"input": [{"currency": "EUR"}, {"currency": "CHF"}, {"currency": "XXX"}]},
            expect=[{"currency": "EUR", "rate": 1.0}, {"currency": "CHF", "rate": 0.95}],
            rejected=("python_failed",),
        ),
        Example(
            title="A function over pandas frames that leaves rows out",
            config={"code": "def adults(frame):\n    return frame[frame.age >= 18]\n", "function": "adults", "over": "pandas"},
            given={"input": [{"name": "Ada", "age": 36}, {"name": "Bo", "age": 7}]},
            expect=[{"name": "Ada", "age": 36}],
        ),
    )

    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        (schema,) = inputs.values()
        schema = visible(schema)
        after = self._schema(schema, scope)
        if self.config.over == "pandas":
            _require_pandas()
        try:
            function = self._function(scope)
        except SpecError as error:
            scope.error(error, "function" if isinstance(error, UnknownName) else "code" if self.config.code else "module")
            return [Rows()]
        kinds: dict[str, Callable[[UserFunction, pa.Schema, pa.Schema, Retry | None], _Call]] = {
            "rows": _OverRows,
            "arrow": _OverArrow,
            "pandas": _OverPandas,
        }
        kernel = kinds[self.config.over](function, schema, after, self.config.retry)
        return [Apply(kernel, after, {name: tuple(schema.names) for name in after.names}, can_reject=True)]

    def _function(self, scope: Scope) -> UserFunction:
        module, code = self.config.module, self.config.code
        if module is not None and code is None:
            return find_function(module, self.config.function, scope.resolve(module) if module.endswith(".py") else None)
        if module is None and code is not None:
            return written_function(code, self.config.function)
        raise InvalidValue("give either `module` or `code`")

    def _schema(self, schema: pa.Schema, scope: Scope) -> pa.Schema:
        if self.config.schema_ is None:
            return schema
        fields: list[pa.Field] = []
        for name, sql in self.config.schema_.items():
            if is_free(name, [f.name for f in fields], scope, "schema", name):
                fields.append(pa.field(name, scope.data_type(sql, "schema", name)))
        return pa.schema(fields)


def _require_pandas() -> None:
    try:
        import pandas  # noqa: F401
    except ImportError as error:
        raise MissingDependency("`over: pandas` needs pandas", hint="pip install 'beam-datahub[pandas]'") from error


_NONE = pa.array([], pa.int64())


@dataclass
class _Tried:
    """What one attempt made of rows: tables beside the row that each of theirs comes from, the rows that are rejected, and those
    that may go through when they are tried again, with what was raised.
    """

    tables: list[pa.Table] = field(default_factory=list)
    parents: list[pa.Array] = field(default_factory=list)
    failed: list[pa.Table] = field(default_factory=list)
    passing: dict[int, str] = field(default_factory=dict)


class _Call(BatchKernel):
    """What the kernels share: the function, loaded when the kernel is opened, the schemas around it, and its attempts."""

    def __init__(self, function: UserFunction, before: pa.Schema, after: pa.Schema, retry: Retry | None) -> None:
        self._function, self._before, self._after, self._retry = function, before, after, retry
        self._loaded: Callable[..., Any] | None = None

    def open(self, session: KernelSession) -> None:
        self._loaded = self._function.load()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}

    def call(self, value: Any) -> Any:
        """What the function returns for `value`."""
        assert self._loaded is not None
        return self._loaded(value)

    def apply(self, batch: pa.RecordBatch, session: KernelSession) -> Applied:
        batch = batch.select(self._before.names)
        made = self.attempt(batch, session)
        if made.passing:
            self._try_again(batch, made, session)
        table, parents = pa.concat_tables([empty_table(self._after), *made.tables]), pa.concat_arrays([_NONE, *made.parents])
        if len(made.parents) > 1:
            table, parents = _in_order(table, parents)
        return Applied(single_batch(table), parents, _sorted(made.failed))

    def _try_again(self, batch: pa.RecordBatch, made: _Tried, session: KernelSession) -> None:
        """Try the rows that failed for a reason that may pass, as the policy says, and add what becomes of them."""
        assert self._retry is not None

        def attempt(number: int) -> bool:
            if number > 1:
                rows = pa.array(list(made.passing), pa.int64())
                found = self.attempt(batch.take(rows), session)
                made.tables += found.tables
                made.parents += [rows.take(parents) for parents in found.parents]
                told = [
                    each.set_column(0, each.schema.field(0), rows.take(each["row"].combine_chunks())) for each in found.failed
                ]
                made.failed += [with_attempts(each, number) for each in told]
                made.passing = {rows[row].as_py(): words for row, words in found.passing.items()}
            return bool(made.passing)

        attempts = self._retry.rounds(attempt)
        if made.passing:
            found = rejections(list(made.passing), "python_failed", list(made.passing.values()))
            made.failed.append(with_attempts(found, attempts))

    @abstractmethod
    def attempt(self, batch: pa.RecordBatch, session: KernelSession) -> _Tried:
        """Call the function with the rows of `batch` once."""

    def fails(self, made: _Tried, row: int, error: BaseException) -> None:
        """Note that the function raised on a row."""
        if isinstance(error, Misfit):
            made.failed.append(rejections([row], "type_mismatch", str(error), error.column))
        elif self._retry is not None and self._retry.may_pass(error):
            made.passing[row] = _words(error)
        else:
            made.failed.append(rejections([row], "python_failed", _words(error)))


class _OverRows(_Call):
    """Calls the function row by row."""

    def attempt(self, batch: pa.RecordBatch, session: KernelSession) -> _Tried:
        made = _Tried()
        values: list[Mapping[str, Any]] = []
        parents: list[int] = []
        for row, given in enumerate(python_rows(batch)):
            try:
                if isinstance(given, Misfit):
                    raise given
                results = _results(self.call(given))
            except (Exception, SystemExit) as error:
                self.fails(made, row, error)
                continue
            values += results
            parents += [row] * len(results)
        table, misfits = conform_rows(values, parents, self._after)
        made.failed += [rejections([row], "type_mismatch", message, column) for row, (message, column) in misfits.items()]
        made.tables.append(table)
        made.parents.append(pa.array([row for row in parents if row not in misfits], pa.int64()))
        return made


def _results(value: Any) -> list[Mapping[str, Any]]:
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [value]
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        results = list(value)
        stray = next((item for item in results if not isinstance(item, Mapping)), None)
        if stray is None:
            return results
        value = stray
    raise Misfit(f"the function returned {type(value).__name__}, and not a dict, None or several dicts")


class _OverBatches(_Call):
    """Calls the function batch by batch, and with halves of a batch on which it fails."""

    def attempt(self, batch: pa.RecordBatch, session: KernelSession) -> _Tried:
        made = _Tried()
        pending = [(0, batch)] if batch.num_rows else []
        while pending:
            start, part = pending.pop()
            try:
                table, rows = self.convert(part)
                table = conform_table(table, self._after, session)
            except (Exception, SystemExit) as error:
                if part.num_rows > 1:
                    middle = part.num_rows // 2
                    pending += [(start + middle, part.slice(middle)), (start, part.slice(0, middle))]
                else:
                    self.fails(made, start, error)
                continue
            made.tables.append(table)
            made.parents.append(pc.add(rows, start))
        return made

    @abstractmethod
    def convert(self, batch: pa.RecordBatch) -> tuple[pa.Table, pa.Array]:
        """What the function makes of `batch`, ordered by the rows of it that each row comes from, and these."""


class _OverArrow(_OverBatches):
    """Calls the function with record batches."""

    def convert(self, batch: pa.RecordBatch) -> tuple[pa.Table, pa.Array]:
        result, rows = self.call(batch), None
        if isinstance(result, tuple):
            result, rows = result
        table = pa.Table.from_batches([result]) if isinstance(result, pa.RecordBatch) else result
        if not isinstance(table, pa.Table):
            raise Misfit(f"the function returned {type(table).__name__}, and not a record batch")
        return _ordered(table, rows, batch.num_rows)


class _OverPandas(_OverBatches):
    """Calls the function with data frames."""

    def convert(self, batch: pa.RecordBatch) -> tuple[pa.Table, pa.Array]:
        import pandas as pd

        plain = pa.schema([(f.name, without_json(f.type)) for f in batch.schema])
        frame = conform(pa.Table.from_batches([batch]), plain).to_pandas(types_mapper=pd.ArrowDtype)
        result = self.call(frame)
        if not isinstance(result, pd.DataFrame):
            raise Misfit(f"the function returned {type(result).__name__}, and not a DataFrame")
        table = pa.Table.from_pandas(result, preserve_index=False)
        count = len(result)
        # An index of 0, 1, 2 … beside another number of rows was made anew and tells nothing.
        fresh = count != batch.num_rows and list(result.index) == list(range(count))
        known = pd.api.types.is_integer_dtype(result.index.dtype) and not fresh
        rows = pa.array(result.index.to_numpy(), pa.int64()) if known and count else None
        return _ordered(table, rows, batch.num_rows)


class _Unaligned(ValueError):
    """The function returned another number of rows, and one cannot tell which is which."""


def _ordered(table: pa.Table, rows: Any, count: int) -> tuple[pa.Table, pa.Array]:
    if rows is None:
        if count == 1:
            return table, pa.array([0] * table.num_rows, pa.int64())
        if table.num_rows != count:
            # Halving the batch finds out, at the price of more calls.
            raise _Unaligned(f"{table.num_rows} rows came back for {count}")
        return table, pa.array(range(count), pa.int64())
    found = rows.combine_chunks() if isinstance(rows, pa.ChunkedArray) else pa.array(rows)
    found = found.cast(pa.int64())
    if (
        len(found) != table.num_rows
        or found.null_count
        or pc.any(pc.or_(pc.less(found, 0), pc.greater_equal(found, count))).as_py()
    ):
        raise Misfit("the function returned row numbers that do not belong to its rows")
    return _in_order(table, found)


def _in_order(table: pa.Table, rows: pa.Array) -> tuple[pa.Table, pa.Array]:
    """`table` in the order of the rows that its own come from, and these."""
    order = pc.sort_indices(
        pa.table({"row": rows, "place": pa.array(range(len(rows)))}), [("row", "ascending"), ("place", "ascending")]
    )
    return table.take(order), rows.take(order)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:1000]


def _sorted(failed: Sequence[pa.Table]) -> pa.Table | None:
    return pa.concat_tables(failed, promote_options="default").sort_by("row") if failed else None
