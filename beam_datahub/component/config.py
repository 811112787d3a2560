"""What every component's options share: frozen, no unknown keys, one attribute docstring per option."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

import beam_datahub


def _known_formats(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    from beam_datahub.kernels.time_formats import time_format

    for text in (value,) if isinstance(value, str) else value:
        time_format(text)
    return value


# One or several strptime formats.
TimeFormats = Annotated[str | tuple[str, ...], AfterValidator(_known_formats)]


class Config(BaseModel):
    """Options of a component; the docstring under an attribute is its documentation everywhere."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=beam_datahub.documents_options, populate_by_name=True
    )


@dataclass(frozen=True)
class Example:
    """An example that the docs show and the tests run.

    `config` is what stands under `config:` of a transformation, or beside `connector:` of a source or destination.
    `given` maps an input name to rows; the input of a one-input transformation is called `input`. `expect` are the rows
    that come out (a mapping branch → rows for `route`), `rejected` the reason codes of the rows that are refused.
    `schema` gives SQL types to columns of `given`, by input name, where the rows alone do not tell them. `window` is what stands
    under `window:` of a transformation.
    """

    title: str
    config: dict[str, Any]
    given: dict[str, list[dict[str, Any]]] | None = None
    expect: list[dict[str, Any]] | dict[str, list[dict[str, Any]]] | None = None
    rejected: tuple[str, ...] = ()
    schema: dict[str, dict[str, str]] | None = None
    window: dict[str, Any] | None = None
