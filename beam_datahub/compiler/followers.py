"""The followers of this process: each outlives the bundles that use it, and none goes far ahead of the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp

from beam_datahub.component.source import Follower

# Followers that nobody asked for so long are let go: another worker has the partition now.
_UNUSED_SECONDS = 60.0


@dataclass
class Held:
    """A follower that is open in this process, and how far it has come."""

    follower: Follower
    position: Any
    told: Any = None
    used: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
    said: float = 0.0
    watermark: Timestamp = MIN_TIMESTAMP
    due: Timestamp = MIN_TIMESTAMP
    """The watermark behind what was read last: who waits until all of it has come of its windows waits for this one."""
    jumped: bool = False
    """Whether the clock moves the watermark, because nothing comes."""

    def tell(self, published: Any) -> None:
        """Tell the follower up to where all is published, unless it knows."""
        if published is not None and published != self.told:
            self.follower.published(published)
            self.told = published


class Followers:
    """The followers of this process that nobody uses just now, by attempt, source and partition. They outlive bundles."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[tuple[str, str, str], Held] = {}
        self._used = 0
        # By attempt and source up to where all is with the engine, partition by partition.
        self._marks: dict[tuple[str, str], dict[str, Timestamp]] = {}
        # By attempt and source how far an engine was told that all is there.
        self._told: dict[tuple[str, str], Timestamp] = {}

    @contextmanager
    def lent(self, key: tuple[str, str, str], position: Any, made: Callable[[], Follower]) -> Iterator[Held]:
        """The follower that stands at a position, for one user alone; one that stands elsewhere is replaced. It is kept where
        the user comes to the end of the block.
        """
        now = time.monotonic()
        with self._lock:
            found = self._held.pop(key, None)
            old = [name for name, each in self._held.items() if now - each.used > _UNUSED_SECONDS]
            unused = [self._held.pop(name) for name in old]
            self._used += 1
        try:
            if found is not None and found.position != position:
                unused.append(found)
                found = None
            for each in unused:
                each.follower.close()
            held = found or Held(made(), position)
            try:
                yield held
            except BaseException:
                held.follower.close()
                raise
            held.used = time.monotonic()
            with self._lock:
                other, self._held[key] = self._held.get(key), held
            if other is not None:
                other.follower.close()
        finally:
            with self._lock:
                self._used -= 1

    def expect(self, attempt: str, source: str, partitions: Iterable[str]) -> None:
        """All partitions of a source will be followed in this process: none goes ahead of those that nobody has begun yet."""
        with self._lock:
            self._marks[attempt, source] = dict.fromkeys(partitions, MIN_TIMESTAMP)

    def lowest(self, key: tuple[str, str, str], mark: Timestamp | None = None) -> Timestamp:
        """Up to where all of a source is with the engine, this partition up to `mark` (None: as far as it was).

        Prism takes the watermark of a source to be that of the partitions which it has worked on last.
        """
        with self._lock:
            marks = self._marks.get(key[:2])
            if marks is None:
                return MIN_TIMESTAMP if mark is None else mark
            if mark is not None:
                marks[key[2]] = mark
            return min(marks.values())

    def lowest_of_all(self, attempt: str, mark: Timestamp) -> Timestamp:
        """Up to where all sources of an attempt are with the engine, as far as known here, and no further than `mark`."""
        with self._lock:
            return min([mark, *(each for (name, _), marks in self._marks.items() if name == attempt for each in marks.values())])

    def tell(self, key: tuple[str, str, str], mark: Timestamp) -> None:
        """An engine is told that all of a source is there up to a moment."""
        with self._lock:
            self._told[key[:2]] = max(mark, self._told.get(key[:2], MIN_TIMESTAMP))

    def furthest(self, key: tuple[str, str, str], mark: Timestamp) -> Timestamp:
        """How far the engine's watermark of a source can be until the partition is moved beyond `mark`, where it is now."""
        with self._lock:
            return max(mark, self._told.get(key[:2], MIN_TIMESTAMP))

    def share(self) -> int:
        """How many partitions share this process."""
        with self._lock:
            return max(1, len(self._held) + self._used)

    def owes(self, key: tuple[str, str, str], published: Any) -> bool:
        """Tell one that owes it up to where all is published; gives whether it waits for more of that. Raises ConnectorError."""
        with self._lock:
            held = self._held.pop(key, None)
        if held is None:
            return False
        try:
            if held.follower.owes:
                held.tell(published)
        except BaseException:
            held.follower.close()
            raise
        held.used = time.monotonic()
        with self._lock:
            self._held[key] = held
        return held.follower.owes

    def drop(self, key: tuple[str, str, str]) -> None:
        """Let one go."""
        with self._lock:
            found = self._held.pop(key, None)
        if found is not None:
            found.follower.close()

    def close(self, attempt: str, published: Mapping[str, Mapping[str, Any]]) -> None:
        """Let all of an attempt go; before, those that owe it tell what is `published` of their sources and partitions."""
        with self._lock:
            names = [key for key in self._held if key[0] == attempt]
            found = [(key, self._held.pop(key)) for key in names]
            self._marks = {each: marks for each, marks in self._marks.items() if each[0] != attempt}
            self._told = {each: mark for each, mark in self._told.items() if each[0] != attempt}
        for (_, source, partition), each in found:
            with suppress(Exception):
                if each.follower.owes:
                    each.tell(published.get(source, {}).get(partition))
            with suppress(Exception):
                each.follower.close()


FOLLOWERS = Followers()
