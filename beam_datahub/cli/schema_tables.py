"""Schemas as SQL: from a CREATE TABLE, and to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_datahub.schemas.conversion import Columns


def table_of(text: str, dialect: str) -> Columns:
    """The columns of a CREATE TABLE in a dialect."""
    from beam_datahub.errors import InvalidValue
    from beam_datahub.schemas.conversion import Columns
    from beam_datahub.schemas.sql_columns import DIALECTS
    from beam_datahub.schemas.sql_table import table_columns

    if dialect not in DIALECTS:
        raise InvalidValue(f"there is no dialect '{dialect}'", hint=f"known: {', '.join(DIALECTS)}")
    lossy: list[str] = []
    found = table_columns(text, dialect, lambda path, what: lossy.append(f"{path}: {what}" if path else what))
    return Columns(found, tuple(lossy))


def columns_text(schema: Any, name: str, dialect: str | None) -> tuple[str, list[str]]:
    """The text of columns, in a dialect as a CREATE TABLE, and what that does not keep."""
    from beam_datahub.kernels.types import sql_type
    from beam_datahub.schemas.sql_columns import create_table

    if dialect is None:
        return "\n".join(f"{field.name}: {sql_type(field.type)}" for field in schema), []
    lossy: list[str] = []
    return create_table(schema, name, dialect, lambda path, what: lossy.append(f"{path}: {what}")), lossy
