"""How an error of a worker reaches the launcher: engines pass on only text, so the facts travel inside it."""

from __future__ import annotations

import base64
import functools
import inspect
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from beam_datahub import errors
from beam_datahub.errors import DataHubError, ErrorGroup, Place

_MARK = re.compile(r"<<dh:([A-Za-z0-9+/=]+)>>")
_Function = TypeVar("_Function", bound=Callable[..., Any])


class WorkerFailure(Exception):
    """Carries a DataHubError as text through an engine."""


def packed(error: DataHubError) -> WorkerFailure:
    """`error` in a form that survives an engine's own wrapping."""
    return WorkerFailure(f"{error} <<dh:{base64.b64encode(json.dumps(_facts(error)).encode()).decode()}>>")


def _facts(error: DataHubError) -> dict[str, Any]:
    parts = [_facts(part) for part in error.errors] if isinstance(error, ErrorGroup) else []
    return {"kind": type(error).__name__, **error.facts(), "errors": parts}


def unpacked(failure: BaseException) -> DataHubError | None:
    """The DataHubError inside an engine's exception, if there is one."""
    seen: BaseException | None = failure
    while seen is not None:
        if isinstance(seen, DataHubError):
            return seen
        found = _MARK.search(str(seen))
        if found:
            return _revived(json.loads(base64.b64decode(found.group(1))))
        seen = seen.__cause__ or seen.__context__
    return None


def _revived(facts: dict[str, Any]) -> DataHubError:
    place = Place(facts["file"], facts["line"], tuple(facts["path"] or ())) if facts["path"] is not None else None
    if facts["errors"]:
        group = ErrorGroup([_revived(part) for part in facts["errors"]])
        return group if place is None else group.at(place)
    kind = getattr(errors, facts["kind"], errors.RunError)
    error: DataHubError = kind.__new__(kind)
    DataHubError.__init__(error, facts["reason"], hint=facts["hint"], place=place)
    return error


@contextmanager
def placed(place: Place | None) -> Iterator[None]:
    """Give the errors of an outside system the place of the spec that named it; one that has a place keeps it."""
    try:
        yield
    except DataHubError as error:
        if place is not None:
            error.at(place)
        raise


def carried(function: _Function) -> _Function:
    """Decorate a DoFn's method so that its DataHubErrors reach the launcher whole."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            result = function(*args, **kwargs)
        except DataHubError as error:
            raise packed(error) from error
        return _watched(result) if isinstance(result, Iterator) else result

    # Beam would read type hints off the wrapped method, and it cannot type `*sides`; the lowering states all types.
    del call.__wrapped__
    call.__annotations__ = {}
    # What a method is to be given besides, such as state and timers, Beam tells by the defaults of its parameters.
    parameters = inspect.signature(function).parameters.values()
    if any(each.default is not each.empty for each in parameters):
        plain = [each.replace(annotation=each.empty) for each in parameters]
        call.__signature__ = inspect.Signature(plain)  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


def _watched(items: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from items
    except DataHubError as error:
        raise packed(error) from error
