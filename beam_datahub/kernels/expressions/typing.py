"""Types of expressions: what DuckDB says they are, and the cast that makes them canonical."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Iterable, Sequence

import duckdb
import pyarrow as pa

from beam_datahub.errors import InvalidExpression, InvalidValue, nearest
from beam_datahub.kernels.expressions.allowed import SCALAR_NAMES
from beam_datahub.kernels.expressions.casts import error_mask_sql
from beam_datahub.kernels.expressions.syntax import Node, parse, sentence, walk
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import HIDDEN, JSON, canonical, literal, quoted, sql_type

_local = threading.local()

# What RE2 says of a pattern that it does not take.
_NO_PATTERN = re.compile(
    r"(missing [\])]|unexpected \)|invalid (perl operator|escape sequence|character class|character range|named capture"
    r"|repetition|nested repetition|group)|no argument for repetition|bad repetition|trailing \\|pattern too large)"
)
_ROW = quoted(f"{HIDDEN}row")


def typing_session() -> KernelSession:
    """This thread's session for typing; it holds no data."""
    session: KernelSession | None = getattr(_local, "session", None)
    if session is None:
        session = _local.session = KernelSession(threads=1)
    return session


def empty_relation(schema: pa.Schema, columns: Iterable[str]) -> str:
    """A FROM clause over no rows with these columns of `schema`."""
    nulls = ", ".join(f"CAST(NULL AS {sql_type(schema.field(name).type)}) AS {quoted(name)}" for name in columns)
    return f" FROM (SELECT {nulls}) AS input" if nulls else ""


def check_rowwise(sql: str, schema: pa.Schema, columns: Sequence[str], session: KernelSession) -> None:
    """Raise InvalidExpression when `sql` fails whatever the row: over no row at all, or in a way that no mask catches."""
    nulls = "".join(f", CAST(NULL AS {sql_type(schema.field(name).type)}) AS {quoted(name)}" for name in columns)
    samples = "".join(f", {_sample(schema.field(name).type)} AS {quoted(name)}" for name in columns)
    try:
        if not columns:
            session.scalar(f"SELECT hash({sql})")
        # No rows, but none that DuckDB could know of: what it cannot fold it says at once, here rather than in a run.
        session.scalar(f"SELECT count(v) FROM (SELECT {sql} AS v FROM (SELECT unnest([]::INTEGER[]) AS {_ROW}{nulls}) AS input)")
        session.scalar(f"SELECT {error_mask_sql(sql)} FROM (SELECT 1 AS {_ROW}{samples}) AS input")
    except duckdb.Error as error:
        raise _refused(error) from error


def _sample(kind: pa.DataType) -> str:
    """Some value of the type, as SQL."""
    if kind == JSON:
        return "CAST('{}' AS JSON)"
    if pa.types.is_list(kind):
        return f"[{_sample(kind.value_type)}]"
    if pa.types.is_map(kind):
        return f"map([{_sample(kind.key_type)}], [{_sample(kind.item_type)}])"
    if pa.types.is_struct(kind):
        return f"struct_pack({', '.join(f'{quoted(field.name)} := {_sample(field.type)}' for field in kind)})"
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        text = "2001-02-03"
    elif pa.types.is_time(kind):
        text = "01:02:03"
    else:
        text = "1 day" if pa.types.is_interval(kind) else "1"
    return f"CAST({literal(text)} AS {sql_type(kind)})"


def sql_types(select: str, relation: str, session: KernelSession) -> list[str]:
    """DuckDB's type of each value of a select list. Raises InvalidExpression where it does not bind."""
    try:
        found = session.scalar(f"SELECT list(column_type) FROM (DESCRIBE SELECT {select}{relation})")
    except duckdb.Error as error:
        raise _refused(error) from error
    return [str(item) for item in found] if isinstance(found, Sequence) else []


# What takes numbers, and what takes times: a text in one of them was most likely never converted.
_OF_NUMBERS = re.compile(r"[-+*/%]+|sum|avg|mean|median|stddev|variance|round|floor|ceil|abs|sqrt|power|pow|mod")
_OF_TIMES = re.compile("date_(trunc|part|diff)|datediff|year|month|week|day|dayname|hour|minute|strftime")


def _refused(error: duckdb.Error) -> InvalidExpression:
    said = sentence(error)
    if _NO_PATTERN.match(said):
        hint = "patterns are those of RE2: no look-around, no back-references"
        return InvalidExpression(f"not a regular expression that can be used: {said}", hint=hint)
    return InvalidExpression(said, hint=_hint(error))


def _hint(error: duckdb.Error) -> str | None:
    text = str(error)
    if "does not exist" in text and "Function with name" in text:
        name = text.split("Function with name", 1)[1].split()[0]
        guess = nearest(name, SCALAR_NAMES)
        return f"did you mean '{guess}'?" if guess else None
    if "add explicit type cast" in text or "explicit cast is required" in text:
        return f"convert the value first, for example cast(x as {_wanted_type(text)})"
    return None


def _wanted_type(text: str) -> str:
    """The type to which a text is to be converted, by what DuckDB says of a call or a comparison that does not bind."""
    compared = re.search(r"compare values of type (\w+)(?:\([^)]*\))? and type (\w+)", text)
    if compared:
        return next((kind.lower() for kind in compared.groups() if kind != "VARCHAR"), "varchar")
    called = re.search(r"argument types '([^']*?)\(([^']*)\)'", text)
    if called and "VARCHAR" in called[2] and _OF_NUMBERS.fullmatch(called[1]):
        return "double"
    if called and "VARCHAR" in called[2] and _OF_TIMES.fullmatch(called[1]):
        return "timestamp"
    return "varchar"


@functools.lru_cache(maxsize=2048)
def arrow_type(name: str) -> pa.DataType:
    """The canonical Arrow type of a type that DuckDB itself has named. Raises InvalidExpression where there is none."""
    if "VARIANT" in name:
        if name == "VARIANT":
            return JSON
        raise InvalidExpression(f"no column can hold {name}", hint="convert it to json")
    try:
        return canonical(typing_session().describe(f"SELECT CAST(NULL AS {name}) AS v").field(0).type)
    except (TypeError, pa.ArrowException, duckdb.Error) as error:
        raise InvalidExpression(f"no column can hold {name}", hint="convert it to json or varchar") from error


@functools.lru_cache(maxsize=2048)
def is_canonical(name: str) -> bool:
    """Whether DuckDB's type `name` is already the one that edges use."""
    held = sql_type(arrow_type(name))
    return name == held or sql_types(f"CAST(NULL AS {held})", "", typing_session()) == [name]


def canonical_sql(sql: str, name: str) -> str:
    """`sql`, whose DuckDB type is `name`, cast to the canonical type where it is another."""
    return sql if is_canonical(name) else f"CAST({sql} AS {sql_type(arrow_type(name))})"


_TYPE_NAMES = (
    "bigint", "binary", "blob", "bool", "boolean", "bytea", "char", "date", "datetime", "decimal", "double", "float", "float4",
    "float8", "hugeint", "int", "int1", "int2", "int4", "int8", "integer", "interval", "json", "list", "logical", "long", "map",
    "numeric", "real", "short", "smallint", "string", "struct", "text", "time", "timestamp", "timestamptz", "tinyint", "ubigint",
    "uinteger", "usmallint", "utinyint", "uuid", "varbinary", "varchar",
)  # fmt: skip


def data_type(sql: str) -> pa.DataType:
    """The canonical Arrow type of a SQL type name such as `bigint`, `decimal(12,2)`, `json` or `struct(a int, b varchar[])`.

    Raises InvalidValue for anything else.
    """
    return _data_type(sql)


@functools.lru_cache(maxsize=2048)
def _data_type(sql: str) -> pa.DataType:
    session = typing_session()
    wrong = f"'{sql}' is not a type"
    try:
        node = parse(f"CAST(NULL AS {sql})", session)
    except InvalidExpression as error:
        raise InvalidValue(wrong, hint=_type_hint(sql)) from error
    if (
        node["class"] != "CAST"
        or node["child"].get("literal", {}).get("kind") != "NULL_LITERAL"
        or not _is_type(node["type_expr"])
    ):
        raise InvalidValue(wrong, hint=_type_hint(sql))
    try:
        (name,) = sql_types(f"CAST(NULL AS {sql}\n)", "", session)
        return arrow_type(name)
    except InvalidExpression as error:
        raise InvalidValue(
            wrong if "does not exist" in error.reason else f"{wrong}: {error.reason}", hint=_type_hint(sql)
        ) from error


# Types of DuckDB that Arrow columns do not have.
_NO_COLUMN = frozenset(("union", "geometry", "null", "any", "table", "lambda"))


def _type_hint(sql: str) -> str:
    guess = nearest(sql.split("(")[0].split("[")[0].strip(), _TYPE_NAMES)
    return f"did you mean '{guess}'?" if guess else "types are those of SQL, such as bigint, varchar, date, json"


def _is_type(node: Node) -> bool:
    names = {str(part["type_name"]).casefold() for part in walk(node) if part["class"] == "TYPE"}
    return not names & _NO_COLUMN and all(part["class"] in ("TYPE", "CONSTANT") for part in walk(node))
