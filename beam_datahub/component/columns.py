"""Column names in options: found in the input with a guess where they are wrong, and checked where they are new."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Annotated, NamedTuple

import pyarrow as pa
from pydantic import BeforeValidator

from beam_datahub.errors import InvalidValue
from beam_datahub.kernels.types import HIDDEN, is_hidden, visible

if TYPE_CHECKING:
    from beam_datahub.component.transform import Scope


class Doubt(NamedTuple):
    """Why the data is hardly read as it is meant, and the option that would change that."""

    reason: str
    option: str
    value: int | str


class ColumnsSeen(NamedTuple):
    """The columns that data has, as a quick look found them. `whole`: none can lie in what the look left out. `folds`: names that
    differ only in case are the same. With `doubts` the names are none of the data's.
    """

    names: tuple[str, ...]
    whole: bool = True
    folds: bool = False
    doubts: tuple[Doubt, ...] = ()

    def missing(self, wanted: Iterable[str]) -> list[str]:
        """Those of `wanted` that the data does not have."""
        known = {name.casefold() if self.folds else name for name in self.names}
        return [name for name in wanted if (name.casefold() if self.folds else name) not in known]


def listed(value: object) -> object:
    """A list of the one name that stands in place of a list."""
    # A number is no name, but is better told so than that it is no list.
    return [value] if isinstance(value, str | int | float | date) else value


# One name, or a list of them.
Names = Annotated[tuple[str, ...], BeforeValidator(listed, json_schema_input_type=str | list[str])]
# The same, or names with what they stand for.
NamesOrMapping = Annotated[
    tuple[str, ...] | dict[str, str], BeforeValidator(listed, json_schema_input_type=str | list[str] | dict[str, str])
]


def find_column(name: str, schema: pa.Schema, scope: Scope, *at: str | int) -> str | None:
    """`name` as `schema` spells it; None, once the error is reported, where there is no such column."""
    shown = visible(schema)
    found = scope.column(name, shown, *at)
    return found if found.casefold() == name.casefold() and found in shown.names else None


def find_columns(names: Sequence[str], schema: pa.Schema, scope: Scope, *at: str | int) -> list[str]:
    """Those of `names` that `schema` has, as it spells them; the others and doubles are reported, numbered below `at`."""
    found: list[str] = []
    for index, name in enumerate(names):
        column = find_column(name, schema, scope, *at, index)
        if column is None:
            continue
        if column in found:
            scope.error(InvalidValue(f"the column '{column}' is named twice"), *at, index)
            continue
        found.append(column)
    return found


def is_free(name: str, taken: Iterable[str], scope: Scope, *at: str | int, hint: str | None = None) -> bool:
    """Whether an output column may be called `name`; an error is reported where it may not."""
    if not name.strip():
        scope.error(InvalidValue("a column needs a name"), *at)
    elif is_hidden(name):
        scope.error(InvalidValue(f"no column's name may start with '{HIDDEN}', as '{name}' does"), *at)
    elif name.casefold() in {other.casefold() for other in taken}:
        scope.error(
            InvalidValue(f"there would be two columns called '{name}'", hint=hint or "names differ by more than case"), *at
        )
    else:
        return True
    return False


def unused_name(wish: str, taken: Iterable[str]) -> str:
    """`wish`, with a number added where a column of that name is there already."""
    known = {name.casefold() for name in taken}
    name, number = wish, 2
    while name.casefold() in known:
        name, number = f"{wish}_{number}", number + 1
    return name


def unchanged(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """The lineage of columns that come out as they went in."""
    return {name: (name,) for name in schema.names}
