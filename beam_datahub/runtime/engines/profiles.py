"""Engines that a user has named: `.beam-datahub/engines.yaml` gives each its engine, its cluster and its options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from beam_datahub.spec.settings_file import section
from beam_datahub.store.location import FOLDER, project_folder

FILE = "engines.yaml"


def _option(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(_written(name, each) for name, each in value.items())
    return value


def _written(name: str, value: Any) -> str:
    if value is True:
        return f"--{name}"
    return f"--{name}={value}"


class Profile(BaseModel):
    """An engine under a name of the user's."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    engine: str
    """The engine that it is: direct, prism, flink, spark or dataflow."""
    master: str | None = None
    """The cluster: `HOST:PORT` of Flink, `spark://HOST:PORT` of Spark."""
    options: Annotated[tuple[str, ...], BeforeValidator(_option)] = ()
    """Options for Beam, as a mapping such as `{parallelism: 8}` or as a list such as `[--parallelism=8]`."""


def profiles_file() -> Path:
    """The project's file of profiles."""
    return project_folder() / FOLDER / FILE


def profiles() -> Mapping[str, Profile]:
    """The profiles of the project by name; none where there is no file. Raises UnreadableSpec, InvalidValue."""
    path = profiles_file()
    if not path.is_file():
        return {}
    with section(path, "engines", "a name for each") as (findings, listed):
        found = {str(name): findings.validate(Profile, given, ("engines", str(name))) for name, given in listed.items()}
    return {name: profile for name, profile in found.items() if profile is not None}
