"""Engines that a user has named: `.beam-datahub/engines.yaml` gives each its engine, its cluster and its options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from beam_datahub.errors import InvalidValue, Place
from beam_datahub.spec.tree import read_text, read_tree
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
    tree = read_tree(read_text(path), str(path))
    if tree.errors:
        raise tree.errors[0]
    listed = tree.value.get("engines") if isinstance(tree.value, dict) and set(tree.value) == {"engines"} else None
    if not isinstance(listed, dict):
        raise InvalidValue("must be `engines:` and below it a name for each", place=Place(str(path), 1))
    found = {}
    for name, given in listed.items():
        try:
            found[str(name)] = Profile.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            keys = ("engines", str(name), *first["loc"])
            raise InvalidValue(first["msg"], place=tree.place(*keys)) from error
    return found
