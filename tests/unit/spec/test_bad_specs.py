from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from beam_datahub.errors import DataHubError, ErrorGroup
from beam_datahub.spec import loads

SPEC: dict[str, Any] = {
    "name": "x",
    "type": "batch",
    "description": "d",
    "parameters": {"p": {"type": "integer", "default": 1, "choices": [1, 2]}},
    "sources": {
        "a": {"connector": "csv", "schema": {"id": "bigint"}, "contract": {"types": "freeze"}},
        "b": {"connector": "csv"},
    },
    "transformations": [
        {"id": "m", "type": "mapping", "input": "a", "config": {"fields": {"x": "${param.p}"}}},
        {"type": "union", "dependencies": ["m", "b"]},
    ],
    "destinations": [{"id": "out", "connector": "csv", "write_mode": "merge", "key": ["id"]}, {"connector": "csv", "input": "m"}],
    "dead_letter": {"connector": "jsonl", "connection": {"path": "bad"}},
    "max_rejected": "5%",
    "tests": [{"name": "t", "given": {"a": [{"id": 1}]}, "expect": {"out": []}, "rejected": [{"step": "m"}]}],
}
WRONG = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["m", "a", "out", "${param.q}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, each in pairs for path in paths(each, (*at, key)))]


def replaced(path: tuple[Any, ...], wrong: Any) -> Any:
    if not path:
        return wrong
    spec = copy.deepcopy(SPEC)
    here = spec
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = wrong
    return spec


@given(st.sampled_from(paths(SPEC)), WRONG)
def test_whatever_stands_in_a_spec_the_errors_are_placed(path: tuple[Any, ...], wrong: Any) -> None:
    try:
        loads(json.dumps(replaced(path, wrong), indent=1), name="a.json", environment={})
    except DataHubError as error:
        for each in error.errors if isinstance(error, ErrorGroup) else (error,):
            assert each.place is not None
            assert each.place.file == "a.json"
            assert "pydantic" not in str(each)
            assert "Input should" not in str(each)


@given(st.sampled_from(paths(SPEC)[1:]))
def test_a_spec_that_lacks_something_loads_or_says_so(path: tuple[Any, ...]) -> None:
    spec = copy.deepcopy(SPEC)
    here = spec
    for key in path[:-1]:
        here = here[key]
    del here[path[-1]]
    with contextlib.suppress(DataHubError):
        loads(json.dumps(spec), name="a.json", environment={})
