"""What every component must keep, as checks that a third party can run on its own: each raises AssertionError."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from typing import Any, cast

import pyarrow as pa
from pydantic import ValidationError

from beam_datahub.component.config import Config, Example
from beam_datahub.component.registry import component
from beam_datahub.component.transform import Transform
from beam_datahub.testing.comparing import Difference, difference
from beam_datahub.testing.steps import StepRun, as_table, run_step


def check_example(type: str, example: Example) -> None:
    """The example gives the rows and the rejects that it promises."""
    found = _run(type, example)
    expected = example.expect or []
    outputs = cast(Mapping[str, Any], expected) if isinstance(expected, Mapping) else {"": expected}
    for branch, rows in outputs.items():
        apart = difference(rows, _table(found, branch))
        assert not apart, f"{type}, {example.title}: {_told(apart)}"
    reasons = sorted(record["reason"] for record in found.rejected)
    assert reasons == sorted(example.rejected), f"{type}, {example.title}: rejected {found.rejected}"


def check_slicing(type: str, example: Example) -> None:
    """One row a batch gives the same rows and the same rejects as all rows in one."""
    whole, sliced = _run(type, example), _run(type, example, slice_rows=1)
    assert whole.schema == sliced.schema
    for name, rows in whole.collected.tables.items():
        apart = difference(rows, sliced.collected.tables[name])
        assert not apart, f"{type}, {example.title}: the cut of the input changes the rows: {_told(apart)}"
    assert _refusals(whole) == _refusals(sliced), f"{type}, {example.title}: the cut of the input changes the rejects"


def _table(run: StepRun, branch: str = "") -> pa.Table:
    return run.collected.tables[f"step.{branch}" if branch else "step"]


def _told(apart: Difference) -> str:
    missing, unexpected = (", ".join(map(apart.text, rows)) or "nothing" for rows in (apart.missing, apart.unexpected))
    return f"missing {missing}; unexpected {unexpected}"


def _refusals(run: StepRun) -> list[tuple[Any, ...]]:
    return sorted((str(r["reason"]), str(r["column"]), str(r["original"])) for r in run.rejected)


def check_empty(type: str, example: Example) -> None:
    """No rows in: the promised schema comes out, and nothing fails."""
    given = {name: as_table(rows, (example.schema or {}).get(name)) for name, rows in (example.given or {}).items()}
    if any(table.num_columns == 0 for table in given.values()):
        return
    promised = _run(type, example).schema
    found = run_step(type, example.config, {name: table.slice(0, 0) for name, table in given.items()}, window=example.window)
    assert found.schema == promised, f"{type}, {example.title}: {found.schema} is not {promised}"
    assert not found.rejected


def check_unknown_option(model: type[Config]) -> None:
    """An option that does not exist is refused."""
    try:
        model.model_validate({"no_such_option": 1})
        refused = False
    except ValidationError as error:
        refused = any(each["type"] == "extra_forbidden" for each in error.errors())
    assert refused, f"{model.__name__} takes unknown options"


def check_documented(model: type[Config]) -> None:
    """Every option says what it is."""
    bare = [name for name, field in model.model_fields.items() if not field.description]
    assert not bare, f"{model.__name__} has undocumented options: {', '.join(bare)}"


def check_pickles(type: str, example: Example) -> None:
    """A configured transformation can be sent to a worker."""
    kind = component("transform", type)
    assert issubclass(kind, Transform)
    config = kind.Config.model_validate(example.config)
    again = pickle.loads(pickle.dumps(kind(config)))
    assert again.config == config


def _run(type: str, example: Example, slice_rows: int | None = None) -> StepRun:
    given: dict[str, Any] = dict(example.given or {})
    config = json.loads(json.dumps(example.config, default=str))
    return run_step(type, config, given, schema=example.schema, slice_rows=slice_rows, window=example.window)
