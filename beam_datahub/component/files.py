"""Files as a source: which ones, what their folders tell, and how they split; a format adds how one file is read.

A format subclasses `FileSource` and implements `sample` and `read_file`, and `file_splits` where a file can be cut.
"""

from __future__ import annotations

import itertools
import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.capabilities import SourceCapabilities
from beam_datahub.component.columns import ColumnsSeen
from beam_datahub.component.config import Config
from beam_datahub.component.dataset import DatasetName, file_dataset
from beam_datahub.component.file_store import is_url, join, local_path, reading, store_of
from beam_datahub.component.source import Block, Discovery, Drift, ReadRequest, Relation, Report, Source, Split
from beam_datahub.errors import DataHubError, InvalidValue, SchemaDrift, SourceMissing, UnreadableData
from beam_datahub.kernels.types import sql_type

# The partition value that hive-style writers use for null.
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
# How many files discovery looks into: a few of many large ones, all of a few small ones.
_SAMPLE_FILES = 8
_SMALL_FILES = 200
_SMALL_BYTES = 32 * 1024 * 1024

# A smaller file is read sooner than a query over it is set up.
_RELATION_BYTES = 4 * 1024 * 1024

_COMPRESSIONS = {".gz": "gzip", ".gzip": "gzip", ".bz2": "bzip2", ".zst": "zstd", ".zstd": "zstd"}
COMPRESSION_EXTENSIONS = {"gzip": ".gz", "bzip2": ".bz2", "zstd": ".zst"}
_ARROW_CODECS = {"gzip": "gzip", "bzip2": "bz2", "zstd": "zstd"}


class FileConnection(Config):
    """Where the files are."""

    path: str | tuple[str, ...]
    """A file, a folder (all data files in it, at any depth), or a glob (`*`, `?`, `[ab]`, `**`); or a list of these. Relative
    paths start at the spec's folder. URLs such as `s3://`, `gs://` and `hdfs://` go through Beam's filesystems. To write:
    one file when the name has the format's extension, else a folder of part files."""

    compression: Literal["auto", "none", "gzip", "bzip2", "zstd"] = "auto"
    """How the files are compressed as a whole; `auto` goes by the extension (`.gz`, `.bz2`, `.zst`)."""

    partitions: Literal["auto", "none"] = "auto"
    """`auto` turns hive-style folders such as `country=de/day=2025-01-01` into columns; `none` leaves them alone."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths as a tuple."""
        return (self.path,) if isinstance(self.path, str) else self.path

    def resolved(self, base: str) -> Self:
        """The same connection with relative paths made absolute from the folder `base`; URLs stay as they are."""
        found = tuple(_resolve(path, base) for path in self.paths)
        return self.model_copy(update={"path": found[0] if isinstance(self.path, str) else found})


def _resolve(path: str, base: str) -> str:
    local = local_path(path)
    if local is None:
        return path
    absolute = join(base, local) if is_url(base) else os.path.normpath(os.path.join(base, local))
    # A trailing slash says that a folder is meant.
    return absolute + "/" if local.endswith("/") and not absolute.endswith("/") else absolute


@dataclass(frozen=True)
class DataFile:
    """A file to read; `size` in bytes as stored, `compression` "none" or a name, `partitions` what its folders tell."""

    path: str
    size: int
    compression: str = "none"
    partitions: tuple[tuple[str, str | None], ...] = ()

    def open(self) -> pa.NativeFile:
        """The file's bytes, decompressed; seekable when it is not compressed."""
        with reading(self.path):
            raw = store_of(self.path).open_input(self.path)
            codec = _ARROW_CODECS.get(self.compression)
            return pa.CompressedInputStream(raw, codec) if codec else raw

    @property
    def seekable(self) -> bool:
        """Whether a reader can start in the middle of it."""
        return self.compression == "none"


class FileSource(Source):
    """Files of one format.

    Formats set `extensions` and implement `sample` and `read_file`; both know nothing of partition columns.
    """

    Connection: ClassVar[type[Config]] = FileConnection
    capabilities = SourceCapabilities(columns=True, splits="file")
    extensions: ClassVar[tuple[str, ...]] = ()
    """What the names of this format's files end in (with the dot), before a compression's extension."""

    connection: FileConnection

    @abstractmethod
    def sample(self, files: Sequence[DataFile]) -> Discovery:
        """The canonical schema of a few files, and how many rows these files have (an estimate, or None)."""

    @abstractmethod
    def read_file(self, file: DataFile, split: Split, request: ReadRequest) -> Iterator[Block]:
        """The blocks of one split of a file. `request` has no partition columns, and at least one column if there is any."""

    def file_splits(self, file: DataFile, request: ReadRequest) -> Iterator[Split]:
        """How a file is cut; `detail` is set by the caller. As a whole unless overridden (see `byte_ranges`)."""
        yield Split(file.path)

    def file_relations(self, file: DataFile, path: str, split: Split, request: ReadRequest) -> Sequence[Relation]:
        """The split of a local file as relations, for a format that has `relations`; the rest as for `read_file`."""
        return ()

    def names_of(self, file: DataFile) -> ColumnsSeen | None:
        """The columns that one file says it has; None: it does not say."""
        return None

    def columns_seen(self, declared: pa.Schema) -> ColumnsSeen | None:
        try:
            files = self.files()
            found = []
            for file in _sampled(files):
                with reading(file.path):
                    found.append(self.names_of(file) if file.size else None)
        except DataHubError:
            # The run says better what is wrong.
            return None
        seen = [each for each in found if each is not None]
        if not seen or len(seen) < len(found):
            return None
        names = [name for each in seen for name in each.names] + list(_partition_types(files))
        return ColumnsSeen(tuple(dict.fromkeys(names)), all(each.whole for each in seen), seen[0].folds, seen[0].doubts)

    def datasets(self) -> tuple[DatasetName, ...]:
        return tuple(dict.fromkeys(map(file_dataset, self.connection.paths)))

    def check(self) -> Report:
        try:
            files = self.files()
            with files[0].open() as stream, reading(files[0].path):
                stream.read(1)
        except DataHubError as error:
            return Report((("files", False, error.reason),))
        total = sum(file.size for file in files)
        return Report((("files", True, f"{len(files)} file{'s' * (len(files) > 1)}, {total:,} bytes"),))

    def files(self) -> list[DataFile]:
        """All files that the connection's path names, by name. Raises SourceMissing."""
        found: dict[str, DataFile] = {}
        for path in self.connection.paths:
            for name, size in self._expand(path):
                found.setdefault(name, self._data_file(name, size))
        return [found[name] for name in sorted(found)]

    def _expand(self, path: str) -> list[tuple[str, int]]:
        store, path = store_of(path), local_path(path) or path
        with reading(path):
            found = [] if path.endswith("/") else store.match(path)
            if found:
                return [(name, size) for name, size in found if not _is_hidden(name, path)] or found
            inside = store.under(path.rstrip("/") or "/") if store.exists(path.rstrip("/") or "/") else []
        files = [(name, size) for name, size in inside if not _is_hidden(name, path)]
        data = [(name, size) for name, size in files if self._has_extension(name)]
        if data:
            return data
        wanted = ", ".join(self.extensions)
        if files:
            raise SourceMissing(
                f"'{path}' holds no {wanted} file", hint=f"it holds {os.path.basename(files[0][0])}; name files by a glob"
            )
        hint = "paths are relative to the folder of the spec"
        if "${" in path:
            hint = "a parameter is written ${param.NAME}, a variable of the environment ${env.NAME}"
        raise SourceMissing(f"there is no file '{path}'", hint=hint)

    def _has_extension(self, path: str) -> bool:
        name = os.path.basename(path).lower()
        stem, extension = os.path.splitext(name)
        return (stem if extension in _COMPRESSIONS else name).endswith(self.extensions)

    def _data_file(self, path: str, size: int) -> DataFile:
        compression = self.connection.compression
        if compression == "auto":
            compression = _COMPRESSIONS.get(os.path.splitext(path)[1].lower(), "none")  # type: ignore[assignment]
        partitions = hive_partitions(path) if self.connection.partitions == "auto" else ()
        return DataFile(path, size, compression, partitions)

    def discover(self) -> Discovery:
        files = self.files()
        total = sum(file.size for file in files)
        filled = _sampled(files)
        found = self.sample(filled)
        seen = sum(file.size for file in filled)
        rows = None if found.rows is None else round(found.rows * total / seen) if seen else 0
        columns = {name: pa.field(name, kind) for name, kind in _partition_types(files).items()}
        fields = [field for field in found.schema if field.name not in columns] + list(columns.values())
        return Discovery(pa.schema(fields), rows, total, len(files), doubts=found.doubts)

    def estimate(self) -> Discovery:
        files = self.files()
        return Discovery(pa.schema([]), None, sum(file.size for file in files), len(files))

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        for file in self.files():
            for split in self.file_splits(file, request):
                yield replace(split, detail=(file, split.detail))

    def read(self, split: Split, request: ReadRequest) -> Iterator[Block]:
        file, detail = split.detail
        given = {name: value for name, value in file.partitions if name in request.schema.names}
        inner, constants = _without(request, given, file)
        left = request.limit
        with reading(file.path):
            for block in self.read_file(file, replace(split, detail=detail), inner):
                if left is not None:
                    block = _cut(block, left)
                    left -= block.batch.num_rows
                yield replace(block, batch=_with(block.batch, constants, request.projected))
                if left is not None and left <= 0:
                    return

    def relations(self, split: Split, request: ReadRequest) -> Sequence[Relation]:
        file, detail = split.detail
        path, given = local_path(file.path), dict(file.partitions)
        if path is None or not file.seekable or file.size < _RELATION_BYTES or request.limit is not None:
            return ()
        if given.keys() & set(request.columns):
            return ()
        inner, _ = _without(request, {name: value for name, value in given.items() if name in request.schema.names}, file)
        with reading(file.path):
            found = self.file_relations(file, path, replace(split, detail=detail), inner)
        return [replace(each, split=replace(each.split, detail=(file, each.split.detail))) for each in found]


def _sampled(files: Sequence[DataFile]) -> Sequence[DataFile]:
    """The files to look into."""
    filled = [file for file in files if file.size] or files[:1]
    if len(filled) > _SMALL_FILES or sum(file.size for file in files) > _SMALL_BYTES:
        return filled[:: max(1, len(filled) // _SAMPLE_FILES)][:_SAMPLE_FILES]
    return filled


def refuse_missing(path: str, given: ColumnsSeen, request: ReadRequest) -> None:
    """Raise SchemaDrift where a file lacks declared columns and the contract is frozen."""
    missing = given.missing(request.schema.names) if request.declared else []
    if missing and request.contract.columns is Drift.FREEZE:
        raise SchemaDrift(
            f"'{path}' lacks {'a column' if len(missing) == 1 else 'columns'} that the schema has: {', '.join(missing)}",
            hint="take out of the source's schema what is not in the data, or set `contract: {columns: evolve}`",
        )


def byte_ranges(file: DataFile, request: ReadRequest) -> Iterator[Split]:
    """Splits of about `request.split_bytes`; a format gives a record to the split in which it begins."""
    if not file.seekable or not request.split_bytes or file.size <= request.split_bytes:
        yield Split(file.path, 0, None)
        return
    count = -(-file.size // request.split_bytes)
    edges = [file.size * i // count for i in range(count + 1)]
    for i, (start, end) in enumerate(itertools.pairwise(edges)):
        yield Split(f"{file.path}#{i}", start, end)


def hive_partitions(path: str) -> tuple[tuple[str, str | None], ...]:
    """The `name=value` folders of a path, unquoted; the null value is None."""
    found = []
    for part in path.split("/")[:-1]:
        name, equals, value = part.partition("=")
        if equals and name:
            found.append((unquote(name), None if value == HIVE_NULL else unquote(value)))
    return tuple(dict(found).items())


def _is_hidden(path: str, pattern: str) -> bool:
    """Whether a part of `path` that the user did not spell out starts with a dot or an underscore."""
    spelled = set(pattern.split("/"))
    return any(part.startswith((".", "_")) and part not in spelled and "=" not in part for part in path.split("/"))


def _partition_types(files: Sequence[DataFile]) -> dict[str, pa.DataType]:
    """The narrowest of bigint, date and text that all values of each partition column fit."""
    values: dict[str, set[str]] = {}
    for file in files:
        for name, value in file.partitions:
            values.setdefault(name, set()).update([] if value is None else [value])
    return {name: _narrowest(sorted(found)) for name, found in values.items()}


def _narrowest(values: list[str]) -> pa.DataType:
    texts = pa.array(values, pa.string())
    for kind in (pa.int64(), pa.date32()):
        try:
            back = pc.cast(pc.cast(texts, kind), pa.string())
        except pa.ArrowInvalid:
            continue
        # A leading zero or a plus sign carries meaning: such values stay text.
        if values and back.equals(texts):
            return kind
    return pa.string()


def _constant(name: str, value: str | None, data_type: pa.DataType, file: DataFile) -> pa.Scalar:
    try:
        return pc.cast(pa.scalar(value, pa.string()), data_type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UnreadableData(
            f"'{file.path}': the folder {name}={value} is not of type {sql_type(data_type)}",
            hint=f"declare `{name}: varchar` in the source's schema",
        ) from error


def _without(request: ReadRequest, given: dict[str, str | None], file: DataFile) -> tuple[ReadRequest, dict[str, pa.Scalar]]:
    """The request as the format sees it, and the values of the partition columns that are asked for."""
    wanted = [name for name in request.columns if name in given]
    constants = {name: _constant(name, given[name], request.schema.field(name).type, file) for name in wanted}
    schema = pa.schema([field for field in request.schema if field.name not in given])
    columns = tuple(name for name in request.columns if name not in given)
    # The number of rows must come from somewhere.
    columns = columns or tuple(schema.names[:1])
    return replace(request, schema=schema, columns=columns, limit=request.limit), constants


def _with(batch: pa.RecordBatch, constants: dict[str, pa.Scalar], schema: pa.Schema) -> pa.RecordBatch:
    if batch.schema.names == schema.names:
        return batch
    arrays: list[Any] = [
        pa.repeat(constants[name], batch.num_rows) if name in constants else batch.column(name) for name in schema.names
    ]
    return record_batch(arrays, schema, batch.num_rows)


def record_batch(arrays: Sequence[pa.Array], schema: pa.Schema, rows: int) -> pa.RecordBatch:
    """A batch that keeps its number of rows even without a column, and the dictionaries of columns that have one."""
    if arrays:
        fields = [
            field.with_type(array.type) if pa.types.is_dictionary(array.type) else field
            for field, array in zip(schema, arrays, strict=True)
        ]
        return pa.RecordBatch.from_arrays(list(arrays), schema=pa.schema(fields, schema.metadata))
    empty = pa.StructArray.from_buffers(pa.struct([]), rows, [None], children=[])
    return pa.RecordBatch.from_struct_array(empty).replace_schema_metadata(schema.metadata)


def _cut(block: Block, limit: int) -> Block:
    """The first `limit` rows of a block, and the rejected records that stand before the next one."""
    if block.batch.num_rows <= limit:
        return block
    end = limit if block.positions is None else block.positions[limit].as_py()
    rejected = block.rejected
    if rejected is not None:
        rejected = rejected.filter(pc.less(rejected.column("row"), end))
    positions = None if block.positions is None else block.positions.slice(0, limit)
    return replace(block, batch=block.batch.slice(0, limit), positions=positions, rejected=rejected)


def single_path(connection: FileConnection) -> str:
    """The one path of a destination. Raises InvalidValue."""
    if len(connection.paths) != 1 or any(sign in connection.paths[0] for sign in "*?["):
        raise InvalidValue("a destination has one path, without wildcards")
    return local_path(connection.paths[0]) or connection.paths[0]
