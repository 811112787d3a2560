"""Functions that the kernel session adds to DuckDB's own.

A function over Python code must not raise: DuckDB's TRY would not tell on which row. It answers with a value that the
SQL around it then fails on.
"""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from duckdb.func import ARROW

if TYPE_CHECKING:
    from jsonpath_rfc9535 import JSONPathQuery

JSON_PATH = "dh_json_path"


def register_functions(connection: duckdb.DuckDBPyConnection) -> None:
    """Register every extra function on a fresh connection, before it is locked."""
    connection.create_function(JSON_PATH, json_path, ["VARCHAR", "VARCHAR"], "VARCHAR", type=ARROW)


def json_path(queries: pa.Array, documents: pa.Array) -> pa.Array:
    """The nodes that RFC 9535 queries find in JSON texts, as the text of a JSON array; null where the document is null.

    A document that cannot be searched (nested too deeply) gives a text that is not JSON and says why.
    """
    found: list[str | None] = []
    for query, document in zip(queries.to_pylist(), documents.to_pylist(), strict=True):
        found.append(None if document is None else _find(query, document))
    return pa.array(found, pa.string())


def _find(query: str, document: str) -> str:
    try:
        nodes = parse_path(query).find(json.loads(document, object_pairs_hook=_first_wins)).values()
        return json.dumps(nodes, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        return "the document is nested too deeply"
    except Exception as error:
        return f"the path cannot be evaluated: {error}"


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose repeated names keep their first value, as DuckDB's own JSON functions do."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        found.setdefault(name, value)
    return found


@functools.lru_cache(maxsize=1024)
def parse_path(query: str) -> JSONPathQuery:
    """The parsed form of an RFC 9535 query. Raises jsonpath_rfc9535.JSONPathError."""
    import jsonpath_rfc9535

    return jsonpath_rfc9535.compile(query)
