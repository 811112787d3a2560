"""Runs the tests that a spec carries: given rows stand in for the sources, and what comes out is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.compiler.plan import Plan
from beam_datahub.errors import DataHubError, InvalidValue, Place, UnknownColumn, nearest
from beam_datahub.kernels.expressions import data_type
from beam_datahub.runtime.collect import Collected, collect
from beam_datahub.runtime.launch import RunRequest, new_run_id
from beam_datahub.spec import RejectedSpec, SpecDocument, TestSpec
from beam_datahub.testing.comparing import Difference, difference
from beam_datahub.testing.given import GivenSource
from beam_datahub.testing.steps import as_table

# A difference shows so many rows of either side.
_ROWS_SHOWN = 20


@dataclass(frozen=True)
class TestOutcome:
    """What came of one test. `problems` is empty where it holds; lines that begin with `-` were expected and did not
    come, those with `+` came and were not expected.
    """

    __test__ = False  # pytest would take it for a test class

    name: str
    place: Place
    problems: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether everything came as expected."""
        return not self.problems


def run_tests(document: SpecDocument, request: RunRequest | None = None) -> list[TestOutcome]:
    """Run all tests of a spec, on the direct engine unless `request` says otherwise. Raises what `validate` would."""
    schemas = {name: _schema(document, name) for name in document.integration.sources} if document.integration.tests else {}
    return [_run(document, test, schemas, request or RunRequest(new_run_id())) for test in document.integration.tests]


def _schema(document: SpecDocument, source: str) -> pa.Schema | DataHubError:
    """The declared or discovered schema of a source; why it is not known where the data is not at hand."""
    spec = document.integration.sources[source]
    if spec.columns is not None:
        return pa.schema([(name, data_type(text)) for name, text in spec.columns.items()])
    alone = document.changed(sources={source: spec}, transformations=())
    try:
        return build(alone, BuildOptions(outputs=False)).nodes[source].schema
    except DataHubError as error:
        return error


def _run(
    document: SpecDocument, test: TestSpec, schemas: Mapping[str, pa.Schema | DataHubError], request: RunRequest
) -> TestOutcome:
    place = document.place(*test.at)
    sources = {name: _source(document, test, name, schema) for name, schema in schemas.items()}
    plan = build(document, BuildOptions(sources=sources, outputs=False))
    outputs = _outputs(document, test, plan)
    try:
        collected = collect(plan, outputs, request)
        if collected.result.error is not None:
            raise collected.result.error
    except DataHubError as error:
        return TestOutcome(test.name, place, (f"the run failed: {error}",))
    problems: list[str] = []
    for name, rows in test.expect.items():
        problems += compare_rows(name, collected.tables[name], rows)
    problems += _compare_rejected(collected, test.rejected)
    return TestOutcome(test.name, place, tuple(problems))


def _source(document: SpecDocument, test: TestSpec, name: str, schema: pa.Schema | DataHubError) -> GivenSource:
    rows = test.given.get(name, ())
    at = (*test.at, "given", name)
    if isinstance(schema, DataHubError):
        if not rows:
            raise InvalidValue(
                f"the columns of '{name}' are not known: {schema.reason}", hint="declare them under `schema` of the source"
            ).at(document.place(*at))
        schema = as_table(rows).schema
    for position, row in enumerate(rows):
        for column in row:
            if column not in schema.names:
                raise UnknownColumn(column, schema.names).at(document.place(*at, position))
    return GivenSource(rows, schema)


def _outputs(document: SpecDocument, test: TestSpec, plan: Plan) -> dict[str, str]:
    """What to collect: everything that is expected, and every destination, since any step before one may reject."""
    inputs = {sink.id: sink.input[0] for sink in document.integration.destinations}
    found = {}
    for name in test.expect:
        found[name] = inputs.get(name, name)
        try:
            plan.node(found[name])
        except KeyError:
            place = document.place(*test.at, "expect", name)
            raise InvalidValue(f"'{name}' gives no rows", hint="name a destination, a step or a branch").at(place) from None
    return {**inputs, **found}


def compare_rows(name: str, table: pa.Table, expected: Sequence[Mapping[str, Any]]) -> list[str]:
    """What differs between the rows that came and those expected, in any order; nothing when they are the same.

    All columns are compared: numbers by value, dates and times as points in time, nested values by their content. A column
    that an expected row leaves out is null there.
    """
    names = list(dict.fromkeys(column for row in expected for column in row))
    known = table.schema.names
    problems = [f"{name} has no column '{column}'{_guess(column, table)}" for column in names if column not in known]
    surplus = [column for column in known if column not in names]
    if expected and surplus and not problems:
        problems.append(f"{name} also has the columns {', '.join(surplus)}, which no expected row names")
    if problems:
        return problems
    apart = difference(expected, table)
    if not apart:
        return []
    return [f"{name}: {_counted(len(expected), 'row')} expected, {table.num_rows} came", *_shown(apart)]


def _guess(column: str, table: pa.Table) -> str:
    guess = nearest(column, table.schema.names)
    return f"; did you mean '{guess}'?" if guess else f"; it has {', '.join(table.schema.names)}"


def _shown(apart: Difference) -> list[str]:
    """The rows of both sides, those that belong together one below the other with the cells in which they differ."""
    lines: list[str] = []
    pairs = list(apart.pairs())
    for missing, unexpected in pairs[:_ROWS_SHOWN]:
        lines += [f"- {apart.text(missing)}"] if missing is not None else []
        lines += [f"+ {apart.text(unexpected)}"] if unexpected is not None else []
        if missing is not None and unexpected is not None:
            cells = [f"{name}: {a} expected, {b} came" for name, a, b in apart.cells(missing, unexpected)]
            lines.append(f"    {'; '.join(cells)}")
    return [*lines, f"… and {len(pairs) - _ROWS_SHOWN} more"] if len(pairs) > _ROWS_SHOWN else lines


def _compare_rejected(collected: Collected, expected: int | tuple[RejectedSpec, ...] | None) -> list[str]:
    letters = collected.rejected.to_pylist()
    if expected is None:
        return []
    if isinstance(expected, int):
        if len(letters) == expected:
            return []
        return [
            f"rejected: {_counted(expected, 'record')} expected, {len(letters)} came",
            *(f"+ {_letter(each)}" for each in letters),
        ]
    left = list(letters)
    missing = []
    # The most particular ones choose first, so that a vague one does not take what another needs.
    for wanted in sorted(expected, key=lambda each: -len(each.model_dump(exclude_none=True))):
        found = next((letter for letter in left if _fits(letter, wanted)), None)
        if found is None:
            missing.append(wanted)
        else:
            left.remove(found)
    if not missing and not left:
        return []
    return [
        f"rejected: {_counted(len(expected), 'record')} expected, {len(letters)} came",
        *(f"- {_wanted(each)}" for each in missing),
        *(f"+ {_letter(each)}" for each in left[:_ROWS_SHOWN]),
    ]


def _fits(letter: Mapping[str, Any], wanted: RejectedSpec) -> bool:
    given = wanted.model_dump(exclude_none=True)
    message = given.pop("message", None)
    return all(letter[key] == value for key, value in given.items()) and (message is None or message in (letter["message"] or ""))


def _wanted(wanted: RejectedSpec) -> str:
    return ", ".join(f"{key} {value}" for key, value in wanted.model_dump(exclude_none=True).items()) or "any record"


def _letter(letter: Mapping[str, Any]) -> str:
    column = f", column {letter['column']}" if letter["column"] else ""
    return f"step {letter['step']}, reason {letter['reason']}{column}, message {letter['message']}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
