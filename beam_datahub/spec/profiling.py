"""The part of a spec that says what is profiled, and what counts as a drift."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from beam_datahub.errors import InvalidValue, UnknownName
from beam_datahub.spec.model import ProfileSpec, SpecModel

_Text = Annotated[str, StringConstraints(min_length=1)]
_NAMES = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}
_Names = Annotated[
    tuple[_Text, ...],
    Field(min_length=1),
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, _NAMES]}),
]


def _share(value: Any) -> Any:
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", value)):
        return float(match[1]) / 100
    return value


_Share = Annotated[
    float,
    Field(gt=0, le=1),
    BeforeValidator(_share),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*%\s*$"},
            ]
        }
    ),
]


class WrittenDrift(SpecModel):
    """From where on a run differs so much from the earlier ones that it is a violation."""

    runs: int = Field(default=3, ge=2, le=100)
    """How many earlier runs there must be before anything is compared."""
    window: int = Field(default=10, ge=2, le=100)
    """How many of the newest earlier runs it is compared with."""
    null_ratio: _Share = 0.05
    """By how much the share of nulls, or of true values, may change."""
    distribution: float = Field(default=0.25, gt=0)
    """How large the population stability index of numbers, dates and the lengths of texts may become."""
    mean: float = Field(default=0.5, gt=0)
    """By how many standard deviations a mean may move."""
    distinct: float = Field(default=2.0, gt=1)
    """By which factor the number of distinct values may grow or shrink."""
    values: _Share = 0.05
    """The share from which on a value counts as frequent, whose coming or going is told."""
    volume: _Share = 0.3
    """By which share of their median the number of rows may change, where earlier runs did not vary more."""
    severity: Literal["low", "medium", "high", "critical"] = "medium"
    """How bad it is."""


class WrittenProfile(SpecModel):
    """What is profiled while the integration runs, and compared with earlier runs."""

    steps: _Names | None = None
    """The sources, steps and destinations whose records are profiled; all sources and destinations when left out."""
    columns: Literal["all"] | _Names | None = None
    """Only these columns, or `all`, where a source is to read those for it that no step uses; those in use when left out."""
    values: bool | None = None
    """Whether profiles show values of the data itself: extremes, quantiles, frequent values. When left out, they show none of
    columns whose `pii` is not masked; `true` shows these as well. Without values, frequent values and distributions are not
    compared."""
    drift: WrittenDrift | bool = True
    """From where on a difference to earlier runs is a violation; `false` compares nothing."""


def _profile(value: Any) -> Any:
    if value is True:
        return {}
    if isinstance(value, (str, list)):
        return {"steps": value}
    return value


Profiled = Annotated[
    WrittenProfile | Literal[False],
    BeforeValidator(_profile, json_schema_input_type=bool | str | list[str] | WrittenProfile),
]


def profile_spec(written: WrittenProfile | Literal[False] | None) -> ProfileSpec | None:
    """What a spec says of profiles; None where it wants none."""
    if not isinstance(written, WrittenProfile):
        return None
    drift = WrittenDrift() if written.drift is True else written.drift or None
    return ProfileSpec(
        steps=written.steps,
        columns=written.columns,
        values=written.values,
        drift=None if drift is None else drift.model_dump(),
    )


def check_profile(raw: Mapping[str, Any], steps: list[str], report: Any) -> None:
    """Report profiles of what has no end, and the steps to profile that a spec does not have."""
    given = raw.get("profile")
    if given not in (None, False) and raw.get("type") in ("real-time", "hybrid"):
        what = (
            f"an integration of type '{raw['type']}' keeps no profiles, which stand for all that a run reads: a stream has no end"
        )
        hint = "leave `profile` out; `beam-datahub profile SPEC` profiles what is there now"
        report(InvalidValue(what, hint=hint), ("profile",))
    keys: tuple[str | int, ...] = ("profile",)
    if isinstance(given, dict):
        given, keys = given.get("steps"), ("profile", "steps")
    named = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    for position, step in enumerate(named):
        if isinstance(step, str) and step not in steps and step.partition(".")[0] not in steps:
            at = keys if isinstance(given, str) else (*keys, position)
            report(UnknownName("source, step or destination", step, steps), at)
