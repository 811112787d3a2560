"""What Beam looks up anew for every step while it builds a pipeline, looked up once: a quarter of a second of every run."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms import core, userstate

_Arguments = tuple[list[str], list[Any]]
_States = tuple[set[Any], set[Any]]


class RememberedOptions(PipelineOptions):
    """Options that keep their views, for each of which Beam would parse the command line again: a hundred times a pipeline."""

    def view_as(self, cls: type[Any]) -> Any:
        """The options as those of `cls`; all views share one set of values."""
        views = _VIEWS.setdefault(self, {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        return views[cls]


# Beside the options, which travel to workers and are copied.
_VIEWS: weakref.WeakKeyDictionary[RememberedOptions, dict[type[Any], Any]] = weakref.WeakKeyDictionary()


@functools.cache
def remember_arguments() -> None:
    """Beam asks for the arguments of each method of a step dozens of times, and `inspect` works them out every time."""
    usual: Callable[[Any], _Arguments] = core.get_function_args_defaults
    known: weakref.WeakKeyDictionary[Any, _Arguments] = weakref.WeakKeyDictionary()

    @functools.wraps(usual)
    def remembered(function: Any) -> _Arguments:
        # Of a method the function behind it tells: every step has methods of its own.
        if not inspect.ismethod(function):
            return usual(function)
        behind = function.__func__
        found = known.get(behind)
        if found is None:
            found = known[behind] = usual(function)
        return list(found[0]), list(found[1])

    vars(core)["get_function_args_defaults"] = remembered


@functools.cache
def remember_states() -> None:
    """Beam searches all methods of a step for state and timers, six times a step; they are the class's."""
    usual: Callable[[Any], _States] = userstate.get_dofn_specs
    known: weakref.WeakKeyDictionary[type[Any], _States] = weakref.WeakKeyDictionary()

    @functools.wraps(usual)
    def remembered(dofn: Any) -> _States:
        # A method of the object alone, not of its class, is looked at every time.
        if any(map(inspect.ismethod, vars(dofn).values())):
            return usual(dofn)
        found = known.get(type(dofn))
        if found is None:
            found = known[type(dofn)] = usual(dofn)
        return set(found[0]), set(found[1])

    vars(userstate)["get_dofn_specs"] = remembered
