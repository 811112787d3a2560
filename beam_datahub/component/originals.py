"""Rejected records read once more: from their originals in the dead letter, or from the place where they came from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_datahub.component.config import Config
from beam_datahub.component.file_lines import read_lines
from beam_datahub.component.files import DataFile, FileConnection, FileSource, hive_partitions
from beam_datahub.component.json_blocks import JsonReader
from beam_datahub.component.source import Block, Discovery, Origin, ReadRequest, Report, Source, Split
from beam_datahub.errors import UnreadableData

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """A split of `source` that gives again the originals with these `indices`, in this order."""

    source: Source
    split: Split
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Wanted:
    """Records of one block of a file: where the block lies, and the records' places in it (`rows`) and lines.

    The split gives just these records, or with `picks` all records of the block or file: among those they are found by their
    `rows`, or by their `lines` where a block does not begin where it began the first time.
    """

    source: Source
    split: Split
    file: str | None
    byte_start: int | None
    byte_end: int | None
    rows: tuple[int, ...]
    lines: tuple[int | None, ...]
    picks: Literal["rows", "lines"] | None = None


class Replayed(Source):
    """Gives rejected records again, under the places that they had: a file, a line and a row are those of the first time."""

    name = "replayed"
    Connection = Config
    Options = Config

    def __init__(self, parts: Sequence[Wanted]) -> None:
        super().__init__(Config(), Config())
        self._parts = tuple(parts)

    def check(self) -> Report:
        return Report((("records", True, str(sum(len(part.rows) for part in self._parts))),))

    def discover(self) -> Discovery:
        return Discovery(pa.schema([]), sum(len(part.rows) for part in self._parts))

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        for number in range(len(self._parts)):
            yield Split(f"part {number}", detail=number)

    def read(self, split: Split, request: ReadRequest) -> Iterator[Block]:
        part = self._parts[split.detail]
        rows, given, count = np.array(part.rows, np.int64), 0, 0
        lines = dict(zip(part.rows, part.lines, strict=True))
        by_line = {line: row for row, line in lines.items()}
        for block in part.source.read(part.split, request):
            size = block.batch.num_rows + (block.rejected.num_rows if block.rejected is not None else 0)
            if part.picks == "rows":
                first = block.origin.first_row if block.origin.byte_start is None else count
                taken = rows[(rows >= first) & (rows < first + size)]
                found = _renumbered(block, taken - first, taken)
            elif part.picks == "lines":
                there = block.lines(range(size)) if block.lines is not None else []
                pairs = [(i, by_line[line]) for i, line in enumerate(there) if line in by_line]
                taken = np.array([row for _, row in pairs], np.int64)
                found = _renumbered(block, np.array([i for i, _ in pairs], np.int64), taken)
            else:
                taken = rows[count : count + size]
                found = _renumbered(block, np.arange(len(taken), dtype=np.int64), taken)
            count, given = count + size, given + len(taken)
            if len(taken):
                origin = Origin(part.file, part.byte_start, part.byte_end)
                yield replace(found, origin=origin, lines=lambda wanted: [lines[row] for row in wanted])
        if given != len(rows):
            raise UnreadableData(
                f"{len(rows) - given} of the rejected records of '{part.file}' are not there any more",
                hint="was the file changed after the run? replay the others with --reason or --step",
            )


class NoRecords(Source):
    """A source that has no records."""

    name = "none"
    Connection = Config
    Options = Config

    def __init__(self) -> None:
        super().__init__(Config(), Config())

    def check(self) -> Report:
        return Report(())

    def discover(self) -> Discovery:
        return Discovery(pa.schema([]), 0, 0)

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        yield from ()

    def read(self, split: Split, request: ReadRequest) -> Iterator[Block]:
        yield from ()


def _renumbered(block: Block, old: Positions, new: Positions) -> Block:
    """Only the records of a block at the positions `old` (ascending), which are called `new`."""
    positions = np.arange(block.batch.num_rows) if block.positions is None else block.positions.to_numpy(zero_copy_only=False)
    kept, names = _places(positions, old, new)
    rejected = block.rejected
    if rejected is not None:
        mask, rows = _places(rejected["row"].to_numpy(), old, new)
        rejected = rejected.filter(pa.array(mask)).set_column(0, rejected.schema.field(0), pa.array(rows, pa.int64()))
    back: Mapping[int, int] = dict(zip(new.tolist(), old.tolist(), strict=True))
    originals = block.originals
    return replace(
        block,
        batch=block.batch.filter(pa.array(kept)),
        positions=pa.array(names, pa.int64()),
        rejected=rejected if rejected is not None and rejected.num_rows else None,
        originals=None if originals is None else lambda wanted: originals([back[row] for row in wanted]),
    )


def _places(positions: Positions, old: Positions, new: Positions) -> tuple[npt.NDArray[np.bool_], Positions]:
    """Which positions are among `old`, and what these are called."""
    mask = np.isin(positions, old)
    return mask, new[np.searchsorted(old, positions[mask])]


def json_parts(file: str | None, texts: Sequence[str], folder: str, partitions: bool = True) -> list[Part]:
    """Originals that are JSON objects, one a line, as parts to read; a blank text cannot be one."""
    indices = tuple(i for i, text in enumerate(texts) if text.strip())
    if not indices:
        return []
    # In JSON a line break between values is a blank, and within one it cannot stand.
    lines = (texts[i].replace("\r", " ").replace("\n", " ") for i in indices)
    path = written(folder, ".jsonl", "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass"))
    return [Part(JsonOriginals(), split_of(path, file if partitions else None), indices)]


def written(folder: str, extension: str, data: bytes) -> str:
    """The path of a new file in `folder` that holds `data`."""
    path = os.path.join(folder, f"originals-{len(os.listdir(folder))}{extension}")
    with open(path, "wb") as file:
        file.write(data)
    return path


def split_of(path: str, file: str | None) -> Split:
    """All of the local file at `path`, with the partition columns that the folders of `file` tell."""
    partitions = hive_partitions(file) if file is not None else ()
    return Split(path, detail=(DataFile(path, os.path.getsize(path), "none", partitions), None))


class JsonOriginals(FileSource):
    """Originals as JSON lines, read by the rules of the source that they came from: its schema and its contract."""

    name = "originals"
    Options = Config

    def __init__(self) -> None:
        super().__init__(FileConnection(path=""), Config())

    def sample(self, files: Sequence[DataFile]) -> Discovery:
        return Discovery(pa.schema([]))

    def read_file(self, file: DataFile, split: Split, request: ReadRequest) -> Iterator[Block]:
        longest = 2 * file.size + 1
        lines = read_lines(file, split, "utf-8", request.batch_bytes, longest)
        yield from JsonReader(file.path, request, longest).blocks(lines)
