"""Rejected records of delimited text, written down so that they can be read once more."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from beam_datahub.component.files import DataFile
from beam_datahub.component.originals import Part, split_of, written
from beam_datahub.errors import ConnectorError
from beam_datahub.io.csv.options import CsvReadOptions
from beam_datahub.io.csv.stream import TextStream

if TYPE_CHECKING:
    import pyarrow as pa

    from beam_datahub.io.csv.source import CsvSource

_LONGEST = 1 << 40


def csv_parts(source: CsvSource, file: str | None, originals: Sequence[str], schema: pa.Schema, folder: str) -> Iterator[Part]:
    """Parts for records that could be parsed (a JSON object of texts), and for those that could not (as they stood there).

    The latter need the names that the columns had, and the delimiter: from the file while it is there, else from the spec or
    from other records.
    """
    parsed: dict[tuple[str, ...], list[int]] = {}
    values: dict[int, list[str | None]] = {}
    raw: list[int] = []
    for i, text in enumerate(originals):
        found = _object(text)
        if found is None:
            raw += [i] if text.strip() else []
            continue
        parsed.setdefault(tuple(found), []).append(i)
        values[i] = list(found.values())
    options = source.options
    for names, indices in parsed.items():
        header = _named(names, options, schema)
        lines = [_line(header, ()), *(_line(values[i], options.null_words) for i in indices)]
        path = written(folder, ".csv", "".join(lines).encode("utf-8", "surrogatepass"))
        yield Part(
            _reader(source, delimiter=",", header=True, quote='"'), split_of(path, _partitioned(source, file)), tuple(indices)
        )
    if raw:
        known = _head(source, file, schema) or (_named(next(iter(parsed)), options, schema) if parsed else None, None)
        if known[0] is not None:
            yield from _raw_parts(source, file, originals, raw, known[0], known[1] or options.delimiter or ",", folder)


def _raw_parts(
    source: CsvSource,
    file: str | None,
    originals: Sequence[str],
    indices: Sequence[int],
    names: Sequence[str],
    delimiter: str,
    folder: str,
) -> Iterator[Part]:
    quote = source.options.quote
    # An open quote would swallow the records behind it: such a record gets a file of its own.
    together = [i for i in indices if quote is None or quote not in originals[i]]
    alone = [i for i in indices if quote is not None and quote in originals[i]]
    reader = _reader(source, delimiter=delimiter, header=False, columns=tuple(names), keep_signs=True)
    for group in ([together] if together else []) + [[i] for i in alone]:
        data = "".join(f"{originals[i]}\n" for i in group).encode("utf-8", "surrogatepass")
        yield Part(reader, split_of(written(folder, ".csv", data), _partitioned(source, file)), tuple(group))


def _object(text: str) -> dict[str, str | None] | None:
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    fine = isinstance(found, dict) and bool(found) and all(value is None or isinstance(value, str) for value in found.values())
    return found if fine else None


def _named(names: Sequence[str], options: CsvReadOptions, schema: pa.Schema) -> tuple[str, ...]:
    """The names of the columns now: as they were, unless the spec names columns by their place, and others than then."""
    if options.columns is not None and len(options.columns) == len(names):
        return options.columns
    known = {name.casefold() for name in schema.names}
    if len(schema) == len(names) and not any(name.casefold() in known for name in names):
        return tuple(schema.names)
    return tuple(names)


def _head(source: CsvSource, file: str | None, schema: pa.Schema) -> tuple[tuple[str, ...] | None, str | None] | None:
    """The columns' names and the delimiter as the file or the spec says; None where neither does."""
    options = source.options
    if file is not None:
        try:
            there = DataFile(file, 1, source._data_file(file, 1).compression)
            with TextStream(there, options) as stream:
                if stream.head_bytes:
                    return source._names(there, stream.head, schema), stream.head.dialect.delimiter
        except (ConnectorError, OSError):
            pass
    if options.columns is not None:
        return options.columns, options.delimiter
    if options.header is False and len(schema):
        return tuple(schema.names), options.delimiter
    return None


def _reader(source: CsvSource, *, keep_signs: bool = False, **changes: Any) -> CsvSource:
    """The same source for a file that is written in our own way, or record by record in that of the original."""
    options = source.options.model_copy(
        update={
            "columns": None,
            "skip_rows": 0,
            "comment": None,
            "encoding": "utf-8",
            "empty_lines": "keep",
            "line_breaks_in_values": True,
            "max_record_bytes": _LONGEST,
            **({} if keep_signs else {"escape": None, "double_quote": True}),
            **changes,
        }
    )
    return type(source)(source.connection, options)


def _partitioned(source: CsvSource, file: str | None) -> str | None:
    return file if source.connection.partitions == "auto" else None


def _line(values: Sequence[str | None], null_words: Sequence[str]) -> str:
    """A record; what is a word for null stands without quotes, all else within them."""
    null = null_words[0] if null_words else ""
    return (
        ",".join(
            null if value is None else value if value in null_words and not set(value) & set('",\r\n') else _quoted(value)
            for value in values
        )
        + "\n"
    )


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'
