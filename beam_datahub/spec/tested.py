"""The tests of a spec: checks that they name what there is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from beam_datahub.errors import InvalidValue, MissingValue, SpecError, UnknownName
from beam_datahub.spec.graph import Graph
from beam_datahub.spec.model import TestSpec
from beam_datahub.spec.tree import Keys
from beam_datahub.spec.written import WrittenTest

EXPECTATIONS = ("expect", "rejected", "violations", "panes", "lineage")
_Report = Callable[[SpecError, Keys], None]


def test_spec(position: int, written: WrittenTest) -> TestSpec:
    """The test that `written` says, the `position`th of its spec."""
    fields = {name: getattr(written, name) for name in WrittenTest.model_fields}
    return TestSpec(at=("tests", position), **fields)


def check_tests(raw: Mapping[str, Any], graph: Graph, parameters: Iterable[str], report: _Report) -> None:
    """Report names of sources, steps, rules and parameters that the spec does not have."""
    tests = raw.get("tests")
    sources = [node.id for node in graph.sources]
    steps = [*sources, *(node.id for node in graph.transformations)]
    outputs = [*steps, *(node.id for node in graph.destinations)]
    for position, test in enumerate(tests if isinstance(tests, list) else []):
        if not isinstance(test, dict):
            continue
        at: Keys = ("tests", position)
        if "given" in test and not any(key in test for key in EXPECTATIONS):
            hint = "say which rows come out, or what is rejected"
            report(MissingValue("`expect` or `rejected` is missing", hint=hint), at)
        _known("source", test.get("given"), sources, (*at, "given"), report)
        for name in _names(test.get("expect")):
            if name not in outputs and name.partition(".")[0] not in steps:
                report(UnknownName("step or destination", name, outputs), (*at, "expect", name))
        _known("step", test.get("panes"), [node.id for node in graph.transformations], (*at, "panes"), report)
        rejected = test.get("rejected")
        for number, each in enumerate(rejected if isinstance(rejected, list) else []):
            step = each.get("step") if isinstance(each, dict) else None
            if isinstance(step, str) and step not in outputs:
                report(UnknownName("step", step, outputs), (*at, "rejected", number, "step"))
        rules = [str(rule.get("name")) for rule in raw.get("quality_rules") or () if isinstance(rule, dict)]
        _known("quality rule", test.get("violations"), rules, (*at, "violations"), report)
        _known("parameter", test.get("parameters"), list(parameters), (*at, "parameters"), report)
        _lineage(test.get("lineage"), outputs, sources, (*at, "lineage"), report)


def _names(value: Any) -> list[str]:
    return [str(name) for name in value] if isinstance(value, dict) else []


def _known(what: str, value: Any, known: list[str], at: Keys, report: _Report) -> None:
    for name in _names(value):
        if name not in known:
            report(UnknownName(what, name, known), (*at, name))


def _lineage(value: Any, outputs: list[str], sources: list[str], at: Keys, report: _Report) -> None:
    for name in _names(value):
        step, dot, _ = name.rpartition(".")
        if not dot:
            report(InvalidValue(f"'{name}' is no `step.column`", hint=f"write {outputs[-1]}.{name}"), (*at, name))
        elif step not in outputs and step.partition(".")[0] not in outputs:
            report(UnknownName("step or destination", step, outputs), (*at, name))
        origins = value[name] if isinstance(value[name], list) else [value[name]]
        for each in origins:
            source, dot, _ = str(each).partition(".")
            if not dot or source not in sources:
                report(UnknownName("source", source, sources), (*at, name))
