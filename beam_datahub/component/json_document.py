"""The records of one JSON document: the elements of an array at its top or at a path in it, or the document itself."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from beam_datahub.component.file_lines import Lines, is_utf8, read_lines
from beam_datahub.component.file_store import local_path, reading
from beam_datahub.component.files import DataFile
from beam_datahub.component.source import Split
from beam_datahub.errors import InvalidValue, UnreadableData
from beam_datahub.kernels.functions import parse_path
from beam_datahub.kernels.json_rows import joined
from beam_datahub.kernels.json_slices import slices
from beam_datahub.kernels.json_text import LENIENT, fault, pointer, too_deep
from beam_datahub.kernels.scratch import scratch_prefix
from beam_datahub.kernels.types import literal

# Documents up to this size are checked by a strict parser as a whole; for larger ones that would take too much memory.
_STRICT_BYTES = 16 * 1024 * 1024
_JSON_SPACE = b" \t\r\n"
_ONE_LINE = str.maketrans("\n\r", "  ")
# The column of records that are no objects.
VALUE = "value"


def steps_of(path: str | None) -> tuple[str | int, ...]:
    """The names and indices of a singular JSONPath. Raises InvalidValue."""
    if path is None:
        return ()
    from jsonpath_rfc9535 import JSONPathError
    from jsonpath_rfc9535.selectors import IndexSelector, NameSelector

    if not path.startswith("$"):
        raise InvalidValue(f"records: '{path}' is not JSONPath: it begins with $", hint="such as $.data.items")
    try:
        query = parse_path(path)
    except (JSONPathError, RecursionError) as error:
        raise InvalidValue(
            f"records: '{path}' is not JSONPath: {str(error).splitlines()[0]}", hint="such as $.data.items"
        ) from error
    if not query.singular_query():
        raise InvalidValue(f"records: '{path}' may name several places", hint="only names and indices, such as $.data.items")
    steps: list[str | int] = []
    for segment in query.segments:
        selector = segment.selectors[0]
        if isinstance(selector, NameSelector):
            steps.append(selector.name)
        elif isinstance(selector, IndexSelector) and selector.index >= 0:
            steps.append(selector.index)
        else:
            raise InvalidValue(f"records: '{path}' counts from the end", hint="count from the start, with 0 for the first")
    return tuple(steps)


@dataclass(frozen=True)
class Document:
    """How to read a document: `steps` lead to its records; `longest`: bytes of a record."""

    file: DataFile
    steps: tuple[str | int, ...]
    encoding: str
    longest: int
    threads: int

    def records(self, block_bytes: int, *, wrap: bool, exact: bool) -> Iterator[Lines]:
        """The records as lines of JSON; `start` and `end` count records. `wrap` makes `{"value": …}` of each.

        Where not `exact`, numbers with a fraction pass through a double, which is several times faster.
        """
        with self._plain_file() as path, reading(self.file.path), duckdb.connect(":memory:") as connection:
            connection.execute(f"SET threads={self.threads}")
            if exact:
                yield from self._exact(path, block_bytes, wrap=wrap)
                return
            relation, texts = self._array(path) if self._is_array(path) and not self.steps else self._part(path, connection)
            bare = f"json_type(v) = 'OBJECT' AND json_exists(v, {pointer(VALUE)})"
            wrapped = (
                f"CASE WHEN {bare} THEN v::VARCHAR ELSE '{{{json.dumps(VALUE)}:' || coalesce(v::VARCHAR, 'null') || '}}' END"
            )
            kept = wrapped if wrap else "v::VARCHAR"
            # The engine writes values anew, without line breaks.
            line = f"coalesce({kept}, 'null') || chr(10)"
            if texts is not None:
                connection.register("document", texts)
            try:
                reader = connection.sql(f"SELECT {line} AS l FROM {relation}").to_arrow_reader(2048)
                yield from _blocks(reader, block_bytes)
            except (duckdb.Error, pa.ArrowException, OSError) as error:
                raise UnreadableData(f"'{self.file.path}' is not a JSON document: {_words(error, path)}") from error

    def _exact(self, path: str, block_bytes: int, *, wrap: bool) -> Iterator[Lines]:
        """The records with the digits that they have in the text."""
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
        if os.path.getsize(path) > _STRICT_BYTES and (words := fault(text)) is not None:
            raise UnreadableData(f"'{self.file.path}' is not a JSON document: {words}")
        held, size, start = [], 0, 0
        try:
            for piece in slices(text, self.steps):
                bare = piece[0] == "{" and VALUE in json.loads(piece) if wrap else True
                line = (piece if bare else f"{{{json.dumps(VALUE)}:{piece}}}").translate(_ONE_LINE) + "\n"
                held.append(line)
                size += len(line)
                if size >= block_bytes:
                    yield Lines("".join(held).encode(), start, start + len(held), None)
                    start, held, size = start + len(held), [], 0
        except KeyError as error:
            raise self._nothing_there() from error
        if held:
            yield Lines("".join(held).encode(), start, start + len(held), None)

    def _nothing_there(self) -> UnreadableData:
        shown = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.steps)
        return UnreadableData(f"'{self.file.path}' has nothing at ${shown}", hint="check `records`")

    @contextmanager
    def _plain_file(self) -> Iterator[str]:
        """The document as a local file in UTF-8 without a mark."""
        path = local_path(self.file.path)
        with self.file.open() as stream, reading(self.file.path):
            marked = stream.read(3) == b"\xef\xbb\xbf"
        if path is not None and self.file.seekable and is_utf8(self.encoding) and not marked and os.path.isfile(path):
            self._check(path)
            yield path
            return
        with tempfile.TemporaryDirectory(prefix=scratch_prefix("json")) as folder:
            copy = os.path.join(folder, "document.json")
            with open(copy, "wb") as out:
                out.writelines(
                    lines.data for lines in read_lines(self.file, Split(self.file.path), self.encoding, 1 << 24, 1 << 62)
                )
            self._check(copy)
            yield copy

    def _check(self, path: str) -> None:
        """Refuse what is no JSON document. Raises UnreadableData."""
        with reading(self.file.path):
            size = os.path.getsize(path)
            with open(path, "rb") as stream:
                data = stream.read(_STRICT_BYTES + 1) if size > _STRICT_BYTES else stream.read()
        if not data.strip(_JSON_SPACE):
            raise UnreadableData(f"'{self.file.path}' is empty; an empty JSON document is at least []")
        if size > _STRICT_BYTES:
            return
        try:
            words = fault(data.decode())
        except UnicodeDecodeError as error:
            raise UnreadableData(f"'{self.file.path}' is not valid UTF-8: {error.reason}", hint="set `encoding`") from error
        if words is not None:
            several = all(fault(line.decode(errors="replace")) is None for line in data.strip().splitlines()[:3])
            hint = "it looks like JSON lines: use the connector `jsonl`" if several else None
            raise UnreadableData(f"'{self.file.path}' is not a JSON document: {words}", hint=hint)

    def _is_array(self, path: str) -> bool:
        with open(path, "rb") as stream:
            while head := stream.read(4096).lstrip(_JSON_SPACE):
                return head.startswith(b"[")
        return False

    def _array(self, path: str) -> tuple[str, None]:
        """The elements of an array at the top, read as they come."""
        longest = max(1 << 20, min(self.longest, os.path.getsize(path)))
        options = f"format='array', records=false, columns={{v: 'JSON'}}, maximum_object_size={longest}"
        return f"read_json({literal(path)}, {options})", None

    def _part(self, path: str, connection: duckdb.DuckDBPyConnection) -> tuple[str, pa.Table]:
        """What stands at the path inside a document; the document is held in memory."""
        with open(path, encoding="utf-8", errors="strict") as stream:
            text = stream.read()
        if too_deep(text):
            raise UnreadableData(f"'{self.file.path}' is nested too deeply")
        table = pa.table({"d": pa.array([text], pa.large_string())})
        where = literal("".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in self.steps))
        connection.register("document", table)
        sql = f"SELECT regexp_matches(d, {literal(LENIENT)}), json_type(json_extract(d, {where})) FROM document"
        suspect, kind = connection.sql(sql).fetchall()[0]
        if suspect and (words := fault(text)) is not None:
            raise UnreadableData(f"'{self.file.path}' is not a JSON document: {words}")
        if kind is None:
            raise self._nothing_there()
        elements = f"CASE WHEN {kind == 'ARRAY'} AND {bool(self.steps)} THEN json_extract(x, '$[*]') ELSE [x] END"
        return f"(SELECT unnest({elements}) AS v FROM (SELECT json_extract(d, {where}) AS x FROM document))", table


def _blocks(reader: pa.RecordBatchReader, block_bytes: int) -> Iterator[Lines]:
    held: list[pa.Array] = []
    size = start = 0
    for batch in reader:
        held.append(batch.column(0))
        size += batch.nbytes
        if size >= (block_bytes if start else min(block_bytes, 1 << 20)):
            yield _lines(held, start)
            start, held, size = start + sum(map(len, held)), [], 0
    if held:
        yield _lines(held, start)


def _lines(texts: list[pa.Array], start: int) -> Lines:
    data = joined(pa.chunked_array(texts).cast(pa.string()))
    return Lines(bytes(data), start, start + sum(map(len, texts)), None)


def _words(error: Exception, path: str) -> str:
    return str(error).splitlines()[0].replace(f' in file "{path}"', "").removeprefix("Invalid Input Error: ")[:300]
