"""Sources that end, in a stream with windows: they are followed to their end, and no window is complete before they are there."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pyarrow as pa

from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.originals import Part
from beam_datahub.component.source import (
    Arrival,
    Block,
    Discovery,
    Follower,
    Partition,
    ReadRequest,
    Report,
    Source,
    Split,
)
from beam_datahub.spec import Integration

# All of a source that ends is one partition.
_WHOLE = "all"
_MORE = 1


def reads_to_end(spec: Integration, name: str) -> bool:
    """Whether the rows of a source go on by themselves, not only to be looked up, in a hybrid integration that has windows."""
    if spec.type != "hybrid" or all(step.window is None for step in spec.transformations):
        return False
    for step in spec.transformations:
        for side, each in enumerate(step.input):
            if each == name and not (side == 1 and step.type == "join" and step.window is None):
                return True
    return any(name in sink.input for sink in spec.destinations)


class EndingSource(Source):
    """Another source as one partition that is read once; its position says how many blocks were taken, and if that is all."""

    def __init__(self, source: Source) -> None:
        super().__init__(source.connection, source.options)
        self.source = source
        self.name = source.name  # type: ignore[misc]
        self.whole_originals = source.whole_originals  # type: ignore[misc]
        known = source.capabilities
        self.capabilities = replace(known, unbounded=True, resumes="block", seams=True)  # type: ignore[misc]

    def check(self) -> Report:
        return self.source.check()

    def discover(self) -> Discovery:
        return self.source.discover()

    def completed(self, declared: pa.Schema) -> pa.Schema:
        return self.source.completed(declared)

    def estimate(self) -> Discovery:
        return self.source.estimate()

    def datasets(self) -> tuple[DatasetName, ...]:
        return self.source.datasets()

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        return self.source.splits(request)

    def read(self, split: Split, request: ReadRequest) -> Iterator[Block]:
        return self.source.read(split, request)

    def parts_of(self, file: str | None, originals: Sequence[str], schema: pa.Schema, folder: str) -> Sequence[Part]:
        return self.source.parts_of(file, originals, schema, folder)

    def partitions(self, request: ReadRequest) -> Iterator[Partition]:
        """The one that there is."""
        yield Partition(_WHOLE, request.reached.get(_WHOLE, _position(0, over=False)))

    def follow(self, partition: Partition, request: ReadRequest) -> Follower:
        """Read on behind the blocks that were taken."""
        return _Ending(self.source, partition, request)


class _Ending(Follower):
    """Takes block after block."""

    ends: ClassVar[bool] = True

    def __init__(self, source: Source, partition: Partition, request: ReadRequest) -> None:
        self._taken, self._over = int(partition.position["blocks"]), bool(partition.position["over"])
        self._seam = partition.seam
        blocks = (block for split in source.splits(request) for block in source.read(split, request))
        self._blocks = iter(()) if self._over else itertools.islice(blocks, self._taken, None)

    def take(self, seconds: float, batch_bytes: int) -> Arrival:
        """The next block; once there is none, that is said after the given time."""
        block = None if self._over else next(self._blocks, None)
        if block is not None:
            self._taken += 1
            return self._arrival(block, _MORE)
        if self._over:
            time.sleep(seconds)
        self._over = True
        return self._arrival(None, 0)

    def _arrival(self, block: Block | None, behind: int) -> Arrival:
        position = _position(self._taken, over=self._over)
        return Arrival(block, position, behind, at_seam=position == self._seam)

    def close(self) -> None:
        self._blocks = iter(())


def _position(blocks: int, *, over: bool) -> dict[str, Any]:
    return {"blocks": blocks, "over": over}
