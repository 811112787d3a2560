"""What a database as a destination is told: the table, how rows meet what is there, and the columns that keep a history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import pyarrow as pa
from pydantic import Field

from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.columns import Names
from beam_datahub.component.config import Config
from beam_datahub.component.sink import WriteRequest
from beam_datahub.errors import InvalidValue, UnknownColumn
from beam_datahub.kernels.types import TIMESTAMP, sql_type

HISTORY_MODES = (WriteMode.SCD1, WriteMode.SCD2, WriteMode.SCD3)
KEYED_MODES = (WriteMode.MERGE, *HISTORY_MODES)


class DatabaseWriteOptions(Config):
    """Where rows go and how they meet what is there."""

    table: str
    """The table: `orders` or `sales.orders`. It is made when it is not there."""

    last_by: str | None = None
    """With `merge`: of several rows with one key in a run, the one with the highest value of this column wins. With `scd1`,
    `scd2` and `scd3`: the same of several changes of one key at one moment."""

    delete_marker: str | None = None
    """A BOOLEAN column: where it is true, the row with that key is gone. `merge` removes the row, `scd2` ends its last version;
    neither writes the marker. `scd1` and `scd3` keep the row, with its marker."""

    delete_where: str | None = None
    """With `delete_insert`, in place of `key`: a condition in the database's own SQL, such as `day >= '2025-01-01'`. The rows
    that meet it are deleted, and all rows that are written must meet it."""

    effective_at: str | None = None
    """With `scd1`, `scd2` and `scd3`: the DATE or TIMESTAMP column that says when a change took place. With `scd2` it becomes
    `valid_from`; without it, changes take place when the run is published."""

    track: Names | None = Field(default=None, min_length=1)
    """With `scd2`: the columns whose changes begin a new version; all when left out. With `scd3`: the columns whose previous
    values are kept."""

    valid_from: str = "valid_from"
    """With `scd2`: the name of the column that says since when a version is valid."""

    valid_to: str = "valid_to"
    """With `scd2`: the name of the column that says up to when (exclusive) a version is valid, NULL for the current one."""

    is_current: str = "is_current"
    """With `scd2`: the name of the BOOLEAN column that is true for the current version of a key."""

    previous_prefix: str = Field(default="previous_", min_length=1)
    """With `scd3`: what precedes a tracked column's name in the name of the column of its previous values."""

    evolve: Literal["add", "widen", "none"] = "add"
    """How a table that is there may be changed: `add` new columns, `widen` types that are too narrow as well, or `none`."""


# The modes that each option is for.
_FOR: dict[str, tuple[WriteMode, ...]] = {
    "last_by": KEYED_MODES,
    "delete_marker": KEYED_MODES,
    "delete_where": (WriteMode.DELETE_INSERT,),
    "effective_at": HISTORY_MODES,
    "track": (WriteMode.SCD2, WriteMode.SCD3),
    "valid_from": (WriteMode.SCD2,),
    "valid_to": (WriteMode.SCD2,),
    "is_current": (WriteMode.SCD2,),
    "previous_prefix": (WriteMode.SCD3,),
}


def check_options(options: DatabaseWriteOptions, request: WriteRequest) -> None:
    """Refuse options that do not fit the mode, and columns that cannot do what they are named for.

    Raises InvalidValue, UnknownColumn.
    """
    mode, schema = request.mode, request.schema
    for option, modes in _FOR.items():
        if option in options.model_fields_set and getattr(options, option) is not None and mode not in modes:
            raise InvalidValue(f"`{option}` is for write_mode {_listed(modes)}, not for {mode}", hint="leave it out")
    _check_key(options, request)
    for name in (options.last_by, options.delete_marker, options.effective_at, *(options.track or ())):
        if name is not None and name not in schema.names:
            raise UnknownColumn(name, schema.names)
    marker, effective = options.delete_marker, options.effective_at
    if marker is not None and not pa.types.is_boolean(schema.field(marker).type):
        raise InvalidValue(f"the delete marker '{marker}' is not BOOLEAN", hint="compute one in a mapping before")
    if effective is not None:
        kind = schema.field(effective).type
        if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
            hint = f"cast it before: `{effective}: {effective}::timestamp`"
            raise InvalidValue(f"`effective_at` names '{effective}', which is {sql_type(kind)} and no moment", hint=hint)
    if mode == WriteMode.SCD1 and effective is None:
        hint = "name the column that says when a change took place, or take write_mode merge"
        raise InvalidValue("write_mode scd1 needs `effective_at`", hint=hint)
    if mode == WriteMode.SCD3 and options.track is None:
        raise InvalidValue("write_mode scd3 needs the columns whose previous values are kept", hint="name them: `track: [city]`")
    for option, name in (("delete_marker", marker), ("effective_at", effective)):
        if name is not None and name in request.key:
            raise InvalidValue(f"`{option}` names '{name}', which is part of the key", hint="they are two columns")
    for name in options.track or ():
        if name in (*request.key, marker, effective):
            raise InvalidValue(f"`track` names '{name}', which is {'part of the key' if name in request.key else 'no value'}")
    if mode in HISTORY_MODES:
        _check_names(options, request)


def _check_key(options: DatabaseWriteOptions, request: WriteRequest) -> None:
    mode = request.mode
    if mode in KEYED_MODES and not request.key:
        raise InvalidValue(f"write_mode {mode} needs the columns that identify a row", hint="name them: `key: [id]`")
    if mode == WriteMode.DELETE_INSERT and bool(request.key) == (options.delete_where is not None):
        reason = ", not both" if request.key else ": what is to be deleted"
        hint = "`key: [day]` deletes the rows whose keys occur, `delete_where: day >= '2025-01-01'` those that meet a condition"
        raise InvalidValue(f"write_mode delete_insert needs a `key` or `delete_where`{reason}", hint=hint)


def _check_names(options: DatabaseWriteOptions, request: WriteRequest) -> None:
    """No column of the history has the name of another one."""
    taken: set[str] = set()
    for name in table_schema(options, request).names:
        if name.casefold() in taken:
            option = next((each for each in ("valid_from", "valid_to", "is_current") if getattr(options, each) == name), "track")
            hint = f"give it another name: `{option}`" if option != "track" else "give it another `previous_prefix`"
            raise InvalidValue(f"the table would have two columns '{name}'", hint=hint)
        taken.add(name.casefold())


def _listed(modes: Sequence[WriteMode]) -> str:
    return modes[0] if len(modes) == 1 else f"{', '.join(modes[:-1])} and {modes[-1]}"


def table_schema(options: DatabaseWriteOptions, request: WriteRequest) -> pa.Schema:
    """The columns that the table gets."""
    return pa.schema(list(_fields(options, request)))


def _fields(options: DatabaseWriteOptions, request: WriteRequest) -> Iterator[pa.Field]:
    given = request.schema
    if request.mode == WriteMode.SCD2:
        effective = options.effective_at
        moment = TIMESTAMP if effective is None else given.field(effective).type
        yield from (field for field in given if field.name not in (options.delete_marker, effective))
        yield pa.field(options.valid_from, moment)
        yield pa.field(options.valid_to, moment)
        yield pa.field(options.is_current, pa.bool_())
    elif request.mode == WriteMode.MERGE:
        yield from (field for field in given if field.name != options.delete_marker)
    else:
        yield from given
        if request.mode == WriteMode.SCD3:
            yield from (pa.field(options.previous_prefix + name, given.field(name).type) for name in options.track or ())


def table_key(options: DatabaseWriteOptions, request: WriteRequest) -> tuple[str, ...]:
    """The columns that tell rows of the table apart; none where nothing does."""
    if request.mode not in KEYED_MODES:
        return ()
    return (*request.key, options.valid_from) if request.mode == WriteMode.SCD2 else request.key


def needed(options: DatabaseWriteOptions, request: WriteRequest) -> dict[str, str]:
    """The columns that must have a value in every row, each with what is said of a row where it has none."""
    found: dict[str, str] = {}
    if request.mode in (*KEYED_MODES, WriteMode.DELETE_INSERT):
        found = {name: f"the key column '{name}' is null" for name in request.key}
    if options.effective_at is not None:
        found[options.effective_at] = f"'{options.effective_at}' is null, which says when the change took place"
    return found
