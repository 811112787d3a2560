"""Texts of PostgreSQL's log as the values that reading a table gives."""

from __future__ import annotations

import json
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.database import TableColumn
from beam_datahub.io.postgresql.session import PostgresqlSession
from beam_datahub.io.postgresql.types import select_item
from beam_datahub.kernels.types import JSON, TIMESTAMPTZ, sql_type
from beam_datahub.kernels.workbench import over

# The server's number of the type text[].
_TEXTS = 1009


def valued(column: TableColumn, texts: pa.Array, session: PostgresqlSession) -> pa.Array:
    """A column's texts in its own type; those that have no such value stay texts, for the source's contract to judge."""
    detail, kind = str(column.detail), column.type
    if detail.startswith("list"):
        item = kind.value_type if detail == "list" else pa.string()
        return _lists(texts, TableColumn("item", "", item, detail="as is"))
    if detail in ("record", "shape") or column.declared == "money":
        return _asked(column, texts, session)
    if column.declared == "inet":
        # As text, an address has its mask always; in the log only where it is none of a single host.
        mask = pc.if_else(pc.match_substring(texts, ":"), "/128", "/32")
        return pc.if_else(pc.match_substring(texts, "/"), texts, pc.binary_join_element_wise(texts, mask, ""))
    if detail != "as is":
        return texts.cast(pa.int64()) if kind == pa.int64() else texts
    return _plain(texts, kind)


def _plain(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    t = pa.types
    if kind in (pa.string(), JSON):
        return texts
    if t.is_boolean(kind):
        return pc.equal(texts, "t")
    if t.is_binary(kind):
        return _over(texts, "unhex(substr(c, 3))", kind)
    try:
        if t.is_time(kind):
            moments = pc.binary_join_element_wise("1970-01-01 ", texts, "").cast(pa.timestamp("us"))
            return moments.view(pa.int64()).view(kind)
        if not t.is_interval(kind):
            return texts.cast(kind)
    except pa.ArrowInvalid:
        # Far years, infinity, 24:00.
        pass
    try:
        if t.is_time(kind):
            return _over(texts, "CAST(c AS TIME)", kind)
        if t.is_interval(kind):
            # What is below zero has a sign in each of its parts, also where it is a plus.
            return _over(texts, "CAST(replace(c, '+', '') AS INTERVAL)", kind)
        if t.is_date(kind) or t.is_timestamp(kind):
            era = "' BC$', ' (BC)'" if kind != TIMESTAMPTZ else "'([+-][0-9:]+) BC$', ' (BC)\\1'"
            return _over(texts, f"CAST(regexp_replace(c, {era}) AS {sql_type(kind)})", kind)
    except duckdb.Error:
        pass
    return texts


def _over(texts: pa.Array, sql: str, kind: pa.DataType) -> pa.Array:
    found = over(pa.table({"c": texts}), f"SELECT {sql} AS c FROM t").column(0).combine_chunks()
    return found.cast(kind) if found.type != kind else found


def _lists(texts: pa.Array, item: TableColumn) -> pa.Array:
    from psycopg.adapt import Transformer
    from psycopg.pq import Format

    load = Transformer().get_loader(_TEXTS, Format.TEXT).load
    values: list[Any] = [None if text is None else load(text.encode()) for text in texts.to_pylist()]

    lists = pa.array(values, pa.list_(pa.field("item", pa.string())))
    if item.type == pa.string():
        return lists
    items = _plain(lists.values, item.type)
    return pa.ListArray.from_arrays(lists.offsets, items, mask=lists.is_null() if lists.null_count else None)


def _asked(column: TableColumn, texts: pa.Array, session: PostgresqlSession) -> pa.Array:
    """Values that only the server can spell as a query would."""
    dialect = session.dialect
    given = dialect.literal(json.dumps(texts.to_pylist()))
    name = dialect.quoted(column.name)
    rows = session.fetch(
        f"SELECT {select_item(column, dialect)} FROM (SELECT n, v::{column.declared} AS {name} "
        f"FROM json_array_elements_text({given}::json) WITH ORDINALITY AS u (v, n)) AS s ORDER BY n"
    )
    return pa.array([row[0] for row in rows], pa.binary() if column.detail == "shape" else None)
