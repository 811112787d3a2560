"""An error of a worker reaches the launcher with all that a user needs."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from beam_datahub import errors
from beam_datahub.component.failure import packed, unpacked
from beam_datahub.errors import CyclicSteps, DataHubError, ErrorGroup, Place, UnknownColumn, UnknownName

_OTHERWISE_MADE: dict[type, tuple[Any, ...]] = {
    ErrorGroup: ([errors.SchemaDrift("a", hint="b"), errors.StepFailed("c")],),
    UnknownName: ("step", "fliter", ["filter"]),
    UnknownColumn: ("amuont", ["amount"]),
    CyclicSteps: (["a", "b"],),
}


def kinds(kind: type[DataHubError] = DataHubError) -> list[type[DataHubError]]:
    return [kind, *(each for child in kind.__subclasses__() if child.__module__ == errors.__name__ for each in kinds(child))]


def made(kind: type[DataHubError]) -> DataHubError:
    return kind(*_OTHERWISE_MADE.get(kind, ("it broke: «<<x>>»",))).at(Place("a.yaml", 3, ("steps", 0)))


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_an_error_is_the_same_behind_an_engine_and_behind_pickling(kind: type[DataHubError]) -> None:
    error = made(kind)
    try:
        raise RuntimeError(f"Traceback: WorkerFailure: {packed(error)} [while running 'x']")
    except RuntimeError as failure:
        found = unpacked(failure)
    for again in (found, pickle.loads(pickle.dumps(error))):
        assert type(again) is kind
        assert (str(again), again.facts(), again.exit_status) == (str(error), error.facts(), error.exit_status)
        if isinstance(again, ErrorGroup) and isinstance(error, ErrorGroup):
            assert [str(part) for part in again.errors] == [str(part) for part in error.errors]
            assert [part.hint for part in again.errors] == [part.hint for part in error.errors]


def test_an_error_without_a_mark_is_no_error_of_ours() -> None:
    assert unpacked(ValueError("<<dh:")) is None
