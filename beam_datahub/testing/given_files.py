"""Rows of a test that stand in files: read by the connector that reads such files in a run."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from beam_datahub.component.files import FileSource
from beam_datahub.component.registry import component, names
from beam_datahub.component.source import ReadRequest, Source
from beam_datahub.errors import InvalidValue, UnreadableData
from beam_datahub.spec import FileRows, SourceSpec, SpecDocument
from beam_datahub.testing.connectors import sink, write


def from_file(source: SourceSpec, given: FileRows) -> SourceSpec:
    """The source of a spec, reading a test's file instead of its data. Raises InvalidValue, UnknownName."""
    own = component("source", source.connector)
    if given.connector in (None, source.connector) and issubclass(own, FileSource):
        connection = dict(source.connection) if not isinstance(source.connection, str) else {}
        return source.model_copy(update={"connection": {**connection, "path": given.file}})
    connector = given.connector or connector_for(given.file)
    return source.model_copy(update={"connector": connector, "connection": {"path": given.file}, "options": {}})


def connector_for(file: str) -> str:
    """The connector that reads files of such a name. Raises InvalidValue."""
    for name in names("source"):
        kind = component("source", name)
        if issubclass(kind, FileSource) and file.lower().endswith(kind.extensions):
            return name
    raise InvalidValue(f"no connector reads files like '{file}'", hint="name one in `connector`")


def file_source(rows: FileRows, document: SpecDocument) -> Source:
    """A file of a test as a source."""
    kind: Any = component("source", rows.connector or connector_for(rows.file))
    found: Source = kind(kind.Connection(path=rows.file).resolved(str(document.folder)), kind.Options())
    return found


def file_rows(rows: FileRows, schema: pa.Schema, document: SpecDocument) -> pa.Table:
    """The rows of a file in the types of `schema`; columns that it has beyond come last. Raises ConnectorError."""
    source = file_source(rows, document)
    discovered = source.discover().schema
    types = {field.name: field.type for field in schema}
    wanted = pa.schema([(name, types.get(name, discovered.field(name).type)) for name in discovered.names])
    request = ReadRequest(wanted, tuple(wanted.names), declared=True)
    blocks = [block for split in source.splits(request) for block in source.read(split, request)]
    refused = sum(block.rejected.num_rows for block in blocks if block.rejected is not None)
    if refused:
        raise UnreadableData(f"{refused} rows of '{rows.file}' do not fit the columns that they are compared with")
    return pa.Table.from_batches([block.batch for block in blocks], wanted)


def write_file(rows: FileRows, table: pa.Table, folder: Path) -> Path:
    """Put a table in the place of a test's file, by the connector that writes such files. Raises InvalidValue."""
    name = rows.connector or connector_for(rows.file)
    if name not in names("sink"):
        raise InvalidValue(f"no connector writes files like '{rows.file}'", hint="change that file by hand")
    target = Path(folder, rows.file)
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".beam-datahub-", dir=target.parent) as staging:
        # What a sink remembers of its runs is not to lie about between tests.
        made = Path(staging, target.name)
        write(sink(name, str(made)), table.combine_chunks(), mode="overwrite")
        made.replace(target)
    return target
