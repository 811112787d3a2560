"""What requests are made of: staged rows, in the same requests whenever they are made again."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.kernels.json_rows import json_rows
from beam_datahub.kernels.types import is_hidden
from beam_datahub.kernels.workbench import over

# A column's name in a path.
PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
_KEYS = uuid.UUID("7f9f6d0e-5a0c-4f0e-9a43-3a3e0d7f6b11")
# How many records a request has where nothing else is said.
BATCH_ROWS = 100
Format = Literal["json", "array", "ndjson", "none"]


class RequestOptions(Protocol):
    """What a destination's options say of its requests."""

    @property
    def format(self) -> Format:
        """What a body is."""

    @property
    def envelope(self) -> str | None:
        """The key that the body is under."""

    @property
    def path(self) -> str:
        """The path, with placeholders."""

    @property
    def leave_out(self) -> tuple[str, ...]:
        """Columns that are no part of the body."""

    @property
    def batch_rows(self) -> int | None:
        """How many records a request has."""

    @property
    def batch_bytes(self) -> int:
        """How large a body is."""


@dataclass(frozen=True)
class Request:
    """The rows of one request: its number in the commit, that of its first row, and each row's text and place."""

    number: int
    first: int
    path: str
    texts: Sequence[bytes]
    rows: Sequence[tuple[pa.RecordBatch, int]]

    def part(self, first: int, count: int) -> Request:
        """A request with some of the rows."""
        end = first + count
        return replace(self, first=self.first + first, texts=self.texts[first:end], rows=self.rows[first:end])


def placeholders(path: str) -> list[str]:
    """The columns that a path names."""
    return PLACEHOLDER.findall(path)


def unfit(path: str, batch: pa.RecordBatch) -> list[tuple[int, str, str]]:
    """The rows that make no address: each with what is said of it, and the column."""
    found = {}
    for name in reversed(placeholders(path)):
        texts = _texts(batch.column(name))
        said = {"is null": pc.is_null(texts)}
        place = f"{{{name}}}"
        if place in path.partition("?")[0]:
            said["is empty"] = pc.equal(texts, "")
        if place in path.partition("?")[0].split("/"):
            # The service would take them for the folder, or for the one above.
            said["means another place"] = pc.is_in(texts, value_set=pa.array([".", ".."]))
        for words, mask in said.items():
            for row in pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist():
                found[row] = (row, f"'{name}', which the path names, {words}", name)
    return [found[row] for row in sorted(found)]


def requests(batches: Iterable[pa.RecordBatch], options: RequestOptions) -> Iterator[Request]:
    """The requests of a commit, in order; rows of several batches may share one."""
    most = (options.batch_rows or BATCH_ROWS) if options.format in ("array", "ndjson") else 1
    number = first = size = 0
    texts: list[bytes] = []
    rows: list[tuple[pa.RecordBatch, int]] = []
    path = options.path
    for batch in batches:
        lines, paths = _bodies(batch, options), _paths(batch, options.path)
        for i, line in enumerate(lines):
            if texts and (len(texts) >= most or size + len(line) > options.batch_bytes):
                yield Request(number, first, path, texts, rows)
                number, first, size, texts, rows = number + 1, first + len(texts), 0, [], []
            texts.append(line)
            rows.append((batch, i))
            size += len(line) + 1
            path = paths[i] if paths is not None else path
    if texts:
        yield Request(number, first, path, texts, rows)


def body(request: Request, options: RequestOptions) -> bytes:
    """What a request carries."""
    if options.format == "none":
        return b""
    if options.format == "ndjson":
        return b"".join(text + b"\n" for text in request.texts)
    found = request.texts[0] if options.format == "json" else b"[" + b",".join(request.texts) + b"]"
    return found if options.envelope is None else b"{" + json.dumps(options.envelope).encode() + b":" + found + b"}"


def key_of_place(commit: str, step: str, request: Request) -> str:
    """What a request is known by: the same when the same commit sends it again."""
    return str(uuid.uuid5(_KEYS, f"{commit}/{step}/{request.first}+{len(request.texts)}"))


def key_of_content(step: str, method: str, path: str, content: bytes) -> str:
    """What a request is known by: the same when any run sends the same."""
    digest = hashlib.sha256(b"\0".join((step.encode(), method.encode(), path.encode(), content))).hexdigest()
    return str(uuid.uuid5(_KEYS, digest))


def _bodies(batch: pa.RecordBatch, options: RequestOptions) -> list[bytes]:
    if options.format == "none":
        return [b""] * batch.num_rows
    names = [name for name in batch.schema.names if not is_hidden(name) and name not in options.leave_out]
    found: list[bytes] = json_rows(batch.select(names)).cast(pa.binary()).to_pylist()
    return found


def _paths(batch: pa.RecordBatch, path: str) -> list[str] | None:
    names = placeholders(path)
    if not names:
        return None
    found: list[str] = []
    columns = [_texts(batch.column(name)).to_pylist() for name in names]
    for values in zip(*columns, strict=True):
        known = iter(values)
        found.append(PLACEHOLDER.sub(lambda _, known=known: quote(next(known), safe=""), path))  # type: ignore[misc]
    return found


def _texts(column: pa.Array) -> pa.ChunkedArray:
    if pa.types.is_string(column.type):
        return pa.chunked_array([column])
    return over(pa.table({"c": column}), "SELECT c::VARCHAR AS c FROM t").column(0)
