"""Finds and removes the rows of one person in the files of a destination.

Each file is read as it is there, whatever the run's schema; the files that hold such rows are written anew without them, and
all are published together. JSON lines stay as they were, byte for byte.
"""

from __future__ import annotations

import os
import posixpath
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.file_lines import read_lines
from beam_datahub.component.file_publish import HIDDEN_FOLDER, Publication
from beam_datahub.component.file_store import local_path, store_of, writing
from beam_datahub.component.files import DataFile, FileSource, record_batch
from beam_datahub.component.registry import component
from beam_datahub.component.sink import Receipt, WriteRequest
from beam_datahub.component.source import BATCH_BYTES, ReadRequest, Split
from beam_datahub.component.subject import Held, Subject
from beam_datahub.errors import SourceMissing, UnreadableData
from beam_datahub.kernels.json_rows import joined, json_rows
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import quoted

if TYPE_CHECKING:
    from beam_datahub.component.file_sink import FileSink

_LINE = pa.schema([("line", pa.string())])
_LONGEST = 64 * 1024 * 1024

# Takes the subject's rows as the text of JSON lines.
Take = Callable[[bytes], None]


def find(sink: FileSink, request: WriteRequest, subject: Subject, take: Take | None = None) -> Held:
    """The subject's rows in the destination's files. Raises ConnectorError where a file cannot be read."""
    found = Held()
    with KernelSession(threads=1) as session:
        for file in _files(sink):
            here = _of_file(sink, request, file).count(subject, session, take)
            found = Held(
                found.rows + here.rows,
                (*found.locations, file.path) if here.rows else found.locations,
                found.uncertain + here.uncertain,
            )
    return found


def erase(sink: FileSink, request: WriteRequest, subject: Subject) -> Held:
    """Remove the subject's rows; all files are published at once, or none is. Raises ConnectorError."""
    publication = Publication(sink.target, replace(request, mode=WriteMode.OVERWRITE))
    if not _files(sink):
        return Held()
    publication.prepare()
    with publication.alone(), KernelSession(threads=1) as session:
        found, uncertain, kept = Held(), 0, 0
        changed: dict[str, Receipt | None] = {}
        try:
            for file in _files(sink):
                content = _of_file(sink, request, file)
                here = content.count(subject, session)
                uncertain += here.uncertain
                if not here.rows:
                    continue
                found = Held(found.rows + here.rows, (*found.locations, file.path))
                receipt = content.without(subject, session, publication)
                kept += receipt.rows
                gone = not receipt.rows and bool(file.partitions) and not sink.target.single
                changed[file.path] = None if gone else receipt
            if changed:
                _publish(sink, publication, changed, kept)
            else:
                publication.remove()
        except BaseException:
            publication.remove()
            raise
    return replace(found, uncertain=uncertain)


def _publish(sink: FileSink, publication: Publication, changed: dict[str, Receipt | None], kept: int) -> None:
    path = sink.target.path
    with writing(path):
        if sink.target.single:
            (receipt,) = changed.values()
            publication.publish_file(receipt.location if receipt is not None else None, kept)
            return
        if local_path(path) is None:
            # An object store replaces one object at a time.
            for name, receipt in changed.items():
                if receipt is None:
                    store_of(path).delete(name)
                else:
                    store_of(path).move(receipt.location, name)
            publication.remove()
            return
        receipts = [receipt for receipt in changed.values() if receipt is not None]
        for name, size in store_of(path).under(path):
            relative = posixpath.relpath(name, path)
            if name in changed or relative.split("/")[0] == HIDDEN_FOLDER:
                continue
            staged = publication.staged(relative)
            os.makedirs(posixpath.dirname(staged), exist_ok=True)
            os.link(name, staged)
            receipts.append(Receipt(staged, 0, size, relative))
        publication.publish_folder(receipts, kept)


def _files(sink: FileSink) -> list[DataFile]:
    target = sink.target
    store = store_of(target.path)
    if not store.exists(target.path):
        return []
    path = target.path if target.single else target.path.rstrip("/") + "/"
    try:
        return _source(sink, path).files()
    except SourceMissing:
        return []


def _source(sink: FileSink, path: str, columns: list[str] | None = None) -> FileSource:
    """The source that reads what the sink writes."""
    kind: Any = component("source", sink.name)
    written = sink.options.model_dump()
    if "null_word" in written:
        written["null_words"] = (written.pop("null_word"),)
    options = {key: value for key, value in written.items() if key in kind.Options.model_fields}
    if columns is not None and options.get("header") is False:
        options["columns"] = tuple(columns)
    connection = kind.Connection(path=path, compression=sink.connection.compression, partitions=sink.connection.partitions)
    return kind(connection, kind.Options(**options))  # type: ignore[no-any-return]


def _of_file(sink: FileSink, request: WriteRequest, file: DataFile) -> _Content:
    return _Lines(sink, request, file) if sink.json_lines else _Records(sink, request, file)


@dataclass(frozen=True)
class _Content(ABC):
    """The rows of one file, those columns among them that its folders tell."""

    sink: FileSink
    request: WriteRequest
    file: DataFile

    @abstractmethod
    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows of the file. Raises UnreadableData where some of them cannot be read."""

    @abstractmethod
    def condition(self, subject: Subject, schema: pa.Schema) -> str:
        """SQL that is true for the subject's rows."""

    @abstractmethod
    def text(self, subject: Subject, schema: pa.Schema) -> str | None:
        """SQL of the text that may mention the subject where it is not JSON, if there is any."""

    @abstractmethod
    def as_json(self, batch: pa.RecordBatch) -> bytes:
        """Rows as JSON lines."""

    @abstractmethod
    def write(self, path: str, parts: Iterator[pa.RecordBatch]) -> None:
        """A new file of the rows of `parts`."""

    def count(self, subject: Subject, session: KernelSession, take: Take | None = None) -> Held:
        """How many rows are the subject's; `take` gets them."""
        rows = uncertain = 0
        for batch in self.batches():
            session.put("input", batch)
            condition, text = self.condition(subject, batch.schema), self.text(subject, batch.schema)
            theirs = session.query(f"SELECT * FROM input WHERE {condition}", batch.schema)
            rows += theirs.num_rows
            if text is not None and not subject.mentions:
                mentioned = f"SELECT count(*) AS n FROM input WHERE {subject.mentioned(text)}"
                uncertain += int(str(session.scalar(mentioned)))
            if take is not None and theirs.num_rows:
                for part in theirs.to_batches():
                    take(self.as_json(part))
        return Held(rows, (), uncertain)

    def without(self, subject: Subject, session: KernelSession, publication: Publication) -> Receipt:
        """The file anew, staged under its own name, without the subject's rows."""
        single = self.sink.target.single
        name = posixpath.basename(self.file.path) if single else posixpath.relpath(self.file.path, self.sink.target.path)
        path, rows = publication.staged(name), 0

        def others() -> Iterator[pa.RecordBatch]:
            nonlocal rows
            for batch in self.batches():
                session.put("input", batch)
                left = session.query(f"SELECT * FROM input WHERE NOT ({self.condition(subject, batch.schema)})", batch.schema)
                rows += left.num_rows
                yield from left.to_batches()

        with writing(path):
            self.write(path, others())
        return Receipt(path, rows, dict(store_of(path).match(path))[path], name)


class _Records(_Content):
    """Rows as the format's own source reads them."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        source, schema = self._opened()
        request = ReadRequest(schema, tuple(schema.names), declared=True)
        for split in source.splits(request):
            for block in source.read(split, request):
                if block.rejected is not None and block.rejected.num_rows:
                    raise UnreadableData(
                        f"'{self.file.path}' has records that cannot be read: {block.rejected['message'][0].as_py()}",
                        hint="nothing of it was removed; mend the file, then repeat",
                    )
                yield block.batch

    def _opened(self) -> tuple[FileSource, pa.Schema]:
        source = _source(self.sink, self.file.path, [field.name for field in self.sink.file_schema(self.request)])
        schema = source.discover().schema
        if isinstance(getattr(source.options, "null_words", None), tuple) and getattr(self.sink.options, "quoting", "") != "text":
            # Of text, the characters stay as they are: 007 is no 7.
            known = dict(self.file.partitions)
            schema = pa.schema([field if field.name in known else pa.field(field.name, pa.string()) for field in schema])
        return source, schema

    def condition(self, subject: Subject, schema: pa.Schema) -> str:
        return subject.condition(schema)

    def text(self, subject: Subject, schema: pa.Schema) -> str | None:
        return quoted(subject.inside) if subject.inside is not None and subject.inside in schema.names else None

    def as_json(self, batch: pa.RecordBatch) -> bytes:
        return bytes(joined(json_rows(batch, ending="\n")))

    def write(self, path: str, parts: Iterator[pa.RecordBatch]) -> None:
        schema = pa.schema([field for field in self._opened()[1] if field.name not in dict(self.file.partitions)])
        file = self.sink.create(path, schema)
        try:
            for part in parts:
                file.write(record_batch([part.column(name) for name in schema.names], schema, part.num_rows))
        except BaseException:
            file.drop()
            raise
        file.close()


class _Lines(_Content):
    """Records as the lines in which they stand: one JSON object each."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        separator = self.sink.separator.strip().decode()  # type: ignore[attr-defined]
        for lines in read_lines(self.file, Split(self.file.path), "utf-8", BATCH_BYTES, _LONGEST):
            if lines.overlong:
                raise UnreadableData(f"'{self.file.path}' has a record of more than {_LONGEST:,} bytes")
            found = [line.rstrip("\r") for line in lines.data.decode().split("\n")]
            if separator:
                found = [line for line in found if line.strip() not in ("[", "]")]
                found = [line.removesuffix(separator) for line in found]
                if strange := next((line for line in found if line.strip() and not line.startswith("{")), None):
                    hint = f"it has the line {strange[:20]!r}: write it anew with this destination"
                    raise UnreadableData(f"'{self.file.path}' is not laid out as this destination's files are", hint=hint)
            yield pa.record_batch([pa.array([line for line in found if line.strip()], pa.string())], schema=_LINE)

    def condition(self, subject: Subject, schema: pa.Schema) -> str:
        partitions = dict(self.file.partitions)
        if subject.inside is None and any(partitions.get(name) == value for name, value in subject.pairs):
            return "true"
        return subject.json_condition("line", subject.inside)

    def text(self, subject: Subject, schema: pa.Schema) -> str | None:
        if subject.inside is None:
            return "line"
        return f"coalesce(json_extract_string(CASE WHEN json_valid(line) THEN line END, '$.{subject.inside}'), '{{}}')"

    def as_json(self, batch: pa.RecordBatch) -> bytes:
        return "".join(f"{line}\n" for line in batch.column(0).to_pylist()).encode()

    def write(self, path: str, parts: Iterator[pa.RecordBatch]) -> None:
        sink, filled = self.sink, False
        separator, closing = sink.separator or b"\n", sink.closing or b"\n"  # type: ignore[attr-defined]
        with sink._stream(path) as stream:
            stream.write(sink.opening(pa.schema([])))  # type: ignore[attr-defined]
            for part in parts:
                if part.num_rows:
                    text = separator.join(line.encode() for line in part.column(0).to_pylist())
                    stream.write(separator + text if filled else text)
                    filled = True
            if filled or sink.closing:  # type: ignore[attr-defined]
                stream.write(closing)
