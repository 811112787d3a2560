"""Runs the tests that a spec carries: given rows stand in for the sources, and what comes out is compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.compiler.plan import Plan
from beam_datahub.errors import (
    DataHubError,
    InvalidValue,
    Place,
    QualityFailed,
    SourceMissing,
    UnknownColumn,
    UnreadableData,
    nearest,
)
from beam_datahub.kernels.expressions import data_type
from beam_datahub.lineage.tracing import step_lineage
from beam_datahub.runtime.collect import Collected, collect
from beam_datahub.runtime.launch import RunRequest, run
from beam_datahub.runtime.run_id import new_run_id
from beam_datahub.spec import FileRows, SpecDocument, TestSpec, Timeline
from beam_datahub.spec.document import document as respecified
from beam_datahub.testing.comparing import Difference, difference
from beam_datahub.testing.given import GivenSource
from beam_datahub.testing.given_files import file_rows, from_file
from beam_datahub.testing.steps import as_table
from beam_datahub.testing.timelines import TimelineSource, compare_panes, runner_of, streams_of, with_watched, without_twins
from beam_datahub.testing.verdicts import (
    ROWS_SHOWN,
    compare_lineage,
    compare_rejected,
    compare_violations,
    counted,
    origins,
)


@dataclass(frozen=True)
class Found:
    """What a test gave: the rows of each name that it expects rows of, what was rejected and judged, and the origins of the
    columns that it names.
    """

    collected: Collected
    origins: Mapping[str, list[str] | None]


@dataclass(frozen=True)
class TestOutcome:
    """What came of one test. `problems` is empty where it holds; lines that begin with `-` were expected and did not
    come, those with `+` came and were not expected. `found` is None where the run failed.
    """

    __test__ = False  # pytest would take it for a test class

    name: str
    place: Place
    problems: tuple[str, ...] = ()
    seconds: float = 0.0
    test: TestSpec | None = None
    found: Found | None = None

    @property
    def holds(self) -> bool:
        """Whether everything came as expected."""
        return not self.problems


def run_tests(
    document: SpecDocument, request: RunRequest | None = None, *, chosen: Callable[[str], bool] | None = None
) -> list[TestOutcome]:
    """Run the tests of a spec whose names are `chosen` (default: all), on the direct engine unless `request` says otherwise.

    Raises what `validate` would.
    """
    tests = [test for test in document.integration.tests if chosen is None or chosen(test.name)]
    schemas: dict[str, dict[str, pa.Schema | DataHubError]] = {}
    outcomes = []
    for test in tests:
        own = with_parameters(document, test.parameters)
        key = repr(sorted(test.parameters.items()))
        if key not in schemas:
            schemas[key] = {name: _schema(own, name) for name in own.integration.sources}
        began = time.monotonic()
        outcome = _run(own, test, schemas[key], request or RunRequest(new_run_id()))
        outcomes.append(replace(outcome, seconds=round(time.monotonic() - began, 3), test=test))
    return outcomes


def with_parameters(document: SpecDocument, parameters: Mapping[str, Any]) -> SpecDocument:
    """A spec with other values of some of its parameters."""
    if not parameters:
        return document
    values = {**document.parameters, **parameters}
    found = respecified(document.tree, document.path, document.folder, values, None, document.grafts)
    found.connections = document.connections
    return found


def _schema(document: SpecDocument, source: str) -> pa.Schema | DataHubError:
    """The declared or discovered schema of a source; why it is not known where the data is not at hand."""
    spec = document.integration.sources[source]
    if spec.columns is not None:
        return pa.schema([(name, data_type(text)) for name, text in spec.columns.items()])
    alone = document.changed(sources={source: spec}, transformations=(), quality_rules=(), profile=None)
    try:
        plan = build(alone, BuildOptions(outputs=False))
        return plan.nodes[source].schema if source in plan.nodes else InvalidValue("it reads several tables")
    except DataHubError as error:
        return error


def _run(
    document: SpecDocument, test: TestSpec, schemas: Mapping[str, pa.Schema | DataHubError], request: RunRequest
) -> TestOutcome:
    place = document.place(*test.at)
    document, twins = with_watched(document, test)
    document, plan = given_plan(document, test, schemas)
    outputs = {**_outputs(document, test, plan), **{twin: twin for twin in twins.values()}}
    quality = test.violations is not None
    player = runner_of(document, test)
    try:
        collected = without_twins(collect(plan, outputs, request, quality=quality, runner=player or run), twins)
        # That a rule fails the run is one of the things that a test may expect.
        if collected.result.error is not None and not (quality and isinstance(collected.result.error, QualityFailed)):
            raise collected.result.error
    except DataHubError as error:
        return TestOutcome(test.name, place, (f"the run failed: {error}",))
    problems: list[str] = []
    for name, rows in test.expect.items():
        table = collected.tables[name]
        try:
            expected = file_rows(rows, table.schema, document) if isinstance(rows, FileRows) else rows
        except (SourceMissing, UnreadableData) as error:
            problems.append(f"{name}: {error.reason}")
            continue
        problems += compare_rows(name, table, expected)
    for name, twin in twins.items():
        problems += compare_panes(name, collected.tables[twin], test.panes[name], compare_rows)
    problems += compare_rejected(collected, test.rejected)
    problems += compare_violations(collected, test.violations)
    found = Found(collected, _origins(document, plan, test))
    problems += compare_lineage(found.origins, test.lineage)
    return TestOutcome(test.name, place, tuple(problems), found=found)


def given_plan(
    document: SpecDocument, test: TestSpec, schemas: Mapping[str, pa.Schema | DataHubError]
) -> tuple[SpecDocument, Plan]:
    """The spec and its plan with what a test gives in place of the sources. Raises what `validate` would."""
    files = {
        name: from_file(document.integration.sources[name], given)
        for name, given in test.given.items()
        if isinstance(given, FileRows)
    }
    document = document.changed(sources={**document.integration.sources, **files}, profile=None)
    sources = {name: _source(document, test, name, schema) for name, schema in schemas.items() if name not in files}
    return document, build(document, BuildOptions(sources=sources, outputs=False, follows=streams_of(test)))


def _origins(document: SpecDocument, plan: Plan, test: TestSpec) -> dict[str, list[str] | None]:
    inputs = {sink.id: sink.input[0] for sink in document.integration.destinations}
    traced = step_lineage(plan) if test.lineage else {}
    found = {}
    for name in test.lineage:
        step, _, column = name.rpartition(".")
        found[name] = origins(traced, inputs.get(step, step), column)
    return found


def _source(document: SpecDocument, test: TestSpec, name: str, schema: pa.Schema | DataHubError) -> GivenSource:
    given = test.given.get(name, ())
    rows = given.rows if isinstance(given, Timeline) else given if isinstance(given, tuple) else ()
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
    return TimelineSource(given, schema) if isinstance(given, Timeline) else GivenSource(rows, schema)


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


def compare_rows(name: str, table: pa.Table, expected: pa.Table | Sequence[Mapping[str, Any]]) -> list[str]:
    """What differs between the rows that came and those expected, in any order; nothing when they are the same.

    All columns are compared: numbers by value, dates and times as points in time, nested values by their content. A column
    that an expected row leaves out is null there.
    """
    if isinstance(expected, pa.Table):
        names, rows = expected.column_names, expected.num_rows
    else:
        names, rows = list(dict.fromkeys(column for row in expected for column in row)), len(expected)
    known = table.schema.names
    problems = [f"{name} has no column '{column}'{_guess(column, table)}" for column in names if column not in known]
    surplus = [column for column in known if column not in names]
    if rows and surplus and not problems:
        problems.append(f"{name} also has the columns {', '.join(surplus)}, which no expected row names")
    if problems:
        return problems
    apart = difference(expected, table)
    if not apart:
        return []
    return [f"{name}: {counted(rows, 'row')} expected, {table.num_rows} came", *_shown(apart)]


def _guess(column: str, table: pa.Table) -> str:
    guess = nearest(column, table.schema.names)
    return f"; did you mean '{guess}'?" if guess else f"; it has {', '.join(table.schema.names)}"


def _shown(apart: Difference) -> list[str]:
    """The rows of both sides, those that belong together one below the other with the cells in which they differ."""
    lines: list[str] = []
    pairs = list(apart.pairs())
    for missing, unexpected in pairs[:ROWS_SHOWN]:
        lines += [f"- {apart.text(missing)}"] if missing is not None else []
        lines += [f"+ {apart.text(unexpected)}"] if unexpected is not None else []
        if missing is not None and unexpected is not None:
            cells = [f"{name}: {a} expected, {b} came" for name, a, b in apart.cells(missing, unexpected)]
            lines.append(f"    {'; '.join(cells)}")
    return [*lines, f"… and {len(pairs) - ROWS_SHOWN} more"] if len(pairs) > ROWS_SHOWN else lines
