"""How the options of joins and enrichments name the columns that rows are matched on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from beam_datahub.component.columns import find_column
from beam_datahub.errors import InvalidValue
from beam_datahub.kernels.types import sql_type
from beam_datahub.kernels.widening import widest

if TYPE_CHECKING:
    from beam_datahub.component.transform import Scope

# One column of the same name on both sides, several of them, or left column → right column.
On = str | tuple[str, ...] | dict[str, str]


def matched_keys(on: On, left: pa.Schema, right: pa.Schema, scope: Scope) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of both sides that `on` pairs; what does not exist or cannot be equal is reported."""
    pairs = on if isinstance(on, dict) else {name: name for name in ([on] if isinstance(on, str) else on)}
    if not pairs:
        scope.error(InvalidValue("there is nothing to match the rows on", hint="name at least one column"), "on")
    found: list[tuple[str, str]] = []
    for index, (left_name, right_name) in enumerate(pairs.items()):
        at: tuple[str | int, ...] = (
            ("on", left_name) if isinstance(on, dict) else ("on",) if isinstance(on, str) else ("on", index)
        )
        left_key, right_key = find_column(left_name, left, scope, *at), find_column(right_name, right, scope, *at)
        if left_key is None or right_key is None:
            continue
        check_comparable(left_key, left, right_key, right, scope, *at)
        found.append((left_key, right_key))
    return tuple(pair[0] for pair in found), tuple(pair[1] for pair in found)


def check_comparable(left_name: str, left: pa.Schema, right_name: str, right: pa.Schema, scope: Scope, *at: str | int) -> None:
    """Report two columns whose types can never hold equal values, such as text and numbers."""
    left_type, right_type = left.field(left_name).type, right.field(right_name).type
    if widest([left_type, right_type]) is None:
        scope.error(
            InvalidValue(
                f"'{left_name}' is {sql_type(left_type)} and '{right_name}' is {sql_type(right_type)}: they can never be equal",
                hint="convert one of them with a `cast` before",
            ),
            *at,
        )
