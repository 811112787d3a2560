"""Follows the partitions of a source without end: an unbounded splittable DoFn that drives any connector's followers."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker, WatermarkEstimator
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.transforms.core import RestrictionProvider, WatermarkEstimatorProvider
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Duration, Timestamp

from beam_datahub.compiler.dead_letter import Identity
from beam_datahub.compiler.dofns import REPORT, KernelOptions, RunStage, _global
from beam_datahub.compiler.plan import Stage
from beam_datahub.compiler.stream_control import ControlFile
from beam_datahub.compiler.tickets import Stretch
from beam_datahub.component.failure import carried, placed
from beam_datahub.component.source import Block, Follower, Partition
from beam_datahub.kernels.windows import LAST
from beam_datahub.spec import EventTimeSpec

# Followers that nobody asked for so long are let go: another worker has the partition now.
_UNUSED_SECONDS = 60.0
_PAUSE_SECONDS = 0.2
# How often a partition that is silent says where it stands.
_TELL_SECONDS = 0.5

FOLLOWING = "following"


@dataclass(frozen=True)
class Followed:
    """A restriction: all of a partition behind `position`; `ended`: no more of it is to be read."""

    position: Any
    ended: bool = False


class _Tracker(RestrictionTracker):
    """Claims are positions: up to there all is read.

    An engine that wants a split gets none until the worker gives the partition back by itself, soon: what it has just taken
    would be taken twice, and the rest be followed beside it.
    """

    def __init__(self, restriction: Followed) -> None:
        self._position, self._ended, self._rests = restriction.position, restriction.ended, False

    def current_restriction(self) -> Followed:
        return Followed(self._position, self._ended)

    def try_claim(self, position: Any) -> bool:
        if self._ended:
            return False
        if isinstance(position, _End):
            self._ended = True
        elif isinstance(position, _Rest):
            self._rests = True
        else:
            self._position = position
        return True

    def try_split(self, fraction_of_remainder: float) -> tuple[Followed, Followed] | None:
        if self._ended or not self._rests:
            return None
        self._ended = True
        return Followed(self._position, ended=True), Followed(self._position)

    def check_done(self) -> None:
        if not self._ended:
            raise ValueError("a partition was left before its end")

    def current_progress(self) -> RestrictionProgress:
        return RestrictionProgress(completed=0.0, remaining=0.0 if self._ended else 1.0)

    def is_bounded(self) -> bool:
        return False


class _End:
    """The claim of all that will ever come: the stream is to end."""


class _Rest:
    """The claim of a worker that is about to give the partition back for a while."""


def _defer(tracker: Any, seconds: float = 0.0) -> None:
    """Give the partition back to the engine, which hands it out again."""
    tracker.try_claim(_Rest())
    tracker.defer_remainder(Duration(seconds=seconds))


class _Following(RestrictionProvider):
    """A partition as a restriction; the launcher has split the source into its partitions already."""

    def initial_restriction(self, element: Partition) -> Followed:
        return Followed(element.position)

    def create_tracker(self, restriction: Followed) -> _Tracker:
        return _Tracker(restriction)

    def restriction_size(self, element: Partition, restriction: Followed) -> int:
        return 1

    def truncate(self, element: Partition, restriction: Followed) -> None:
        return None


class _Watermarks(WatermarkEstimatorProvider):
    def initial_estimator_state(self, element: Any, restriction: Any) -> Timestamp:
        return MIN_TIMESTAMP

    def create_watermark_estimator(self, estimator_state: Timestamp) -> WatermarkEstimator:
        return ManualWatermarkEstimator(estimator_state)

    def estimator_state_coder(self) -> Any:
        from apache_beam.coders import TimestampCoder

        return TimestampCoder()


@dataclass(frozen=True)
class StreamWork:
    """What workers need to know of a stream: which attempt it is, how long records wait, where the launcher speaks to them."""

    attempt: str
    latency: float
    control: ControlFile
    event_time: EventTimeSpec | None = None


@dataclass
class _Held:
    """A follower that is open in this process, and how far it has come."""

    follower: Follower
    position: Any
    told: Any = None
    used: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
    said: float = 0.0
    watermark: Timestamp = MIN_TIMESTAMP

    def tell(self, published: Any) -> None:
        """Tell the follower up to where all is published, unless it knows."""
        if published is not None and published != self.told:
            self.follower.published(published)
            self.told = published


class _Followers:
    """The followers of this process that nobody uses just now, by attempt, source and partition. They outlive bundles."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[tuple[str, str, str], _Held] = {}
        self._used = 0

    @contextmanager
    def lent(self, key: tuple[str, str, str], position: Any, made: Callable[[], Follower]) -> Iterator[_Held]:
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
            held = found or _Held(made(), position)
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
        for (_, source, partition), each in found:
            with suppress(Exception):
                if each.follower.owes:
                    each.tell(published.get(source, {}).get(partition))
            with suppress(Exception):
                each.follower.close()


FOLLOWERS = _Followers()


class FollowStage(RunStage):
    """Follows one partition for a while, runs the steps of its stage over what comes, and gives the rest back to the engine.

    What is read in one go has one ticket: all that comes of it carries it.
    """

    def __init__(self, work: StreamWork, stage: Stage, identity: Identity, kernel: KernelOptions, **how: Any) -> None:
        super().__init__(stage, identity, kernel, **how)
        self._work = work

    def process(
        self,
        element: Partition,
        tracker: Any = beam.DoFn.RestrictionParam(_Following()),  # noqa: B008 - Beam asks for it
        watermark: Any = beam.DoFn.WatermarkEstimatorParam(_Watermarks()),  # noqa: B008 - Beam asks for it
    ) -> Iterator[Any]:
        return self._follow(element, tracker, watermark)

    @carried
    def _follow(self, partition: Partition, tracker: Any, watermark: Any) -> Iterator[Any]:
        read, source_id = self._stage.read, self._stage.read_id
        assert read is not None
        assert source_id is not None
        self.open()
        work = self._work
        key = (work.attempt, source_id, partition.name)
        control = work.control.look()
        told = control.published.get(source_id, {}).get(partition.name)
        if control.is_over or control.paused:
            with placed(read.place):
                owes = FOLLOWERS.owes(key, told)
            if control.is_over and not (owes and control.stopping):
                tracker.try_claim(_End())
                FOLLOWERS.drop(key)
            else:
                _defer(tracker, _PAUSE_SECONDS)
            return
        start = tracker.current_restriction().position
        request = replace(read.request, dictionaries=self.takes_dictionaries)

        def made() -> Follower:
            with placed(read.place):
                return read.source.follow(replace(partition, position=start), request)

        with FOLLOWERS.lent(key, start, made) as held:
            with placed(read.place):
                held.tell(told)
            yield from self.turn(f"{source_id}/{partition.name}/{uuid.uuid4().hex[:12]}")
            behind: int | None = None
            until = time.monotonic() + work.latency / FOLLOWERS.share()
            while True:
                with placed(read.place):
                    arrival = held.follower.take(max(0.0, until - time.monotonic()), read.request.batch_bytes)
                if not tracker.try_claim(arrival.position):
                    raise ValueError("an engine has split what it was not given")
                held.position, behind = arrival.position, arrival.behind
                if arrival.block is not None:
                    moment = self._moved(held, arrival.block)
                    for output in self.stamp(self.take(read, source_id, self._shown(arrival.block))):
                        yield _timed(output, moment)
                if arrival.block is None or until - time.monotonic() <= 0:
                    break
            if held.position != start:
                self.add_report("stretch", Stretch(source_id, partition.name, start, held.position).to_json())
            self._look_at_clock(held, behind)
            yield from self.report()
            yield from self.turn(None)
            now = time.monotonic()
            if held.position != start or now - held.said > _TELL_SECONDS:
                held.said = now
                mark = held.watermark.micros if held.watermark != MIN_TIMESTAMP else None
                facts = {"position": held.position, "behind": behind, "watermark": mark}
                facts |= {"source": source_id, "partition": partition.name, "owes": held.follower.owes}
                yield beam.pvalue.TaggedOutput(REPORT, _global((FOLLOWING, json.dumps(facts))))
            if held.watermark > watermark.current_watermark():
                watermark.set_watermark(held.watermark)
            _defer(tracker)

    def _shown(self, block: Block) -> Block:
        """A block without the column that was read for its time alone."""
        read = self._stage.read
        assert read is not None
        if read.columns is None or tuple(block.batch.schema.names) == read.columns:
            return block
        return replace(block, batch=block.batch.select(list(read.columns)))

    def _moved(self, held: _Held, block: Block) -> Timestamp:
        """Move the watermark past a block; gives the moment that its rows count under, which is before all of them."""
        held.heard = time.monotonic()
        if held.follower.ends:
            return held.watermark
        spec = self._work.event_time
        if spec is None:
            now = Timestamp.now()
            held.watermark = max(held.watermark, now)
            return now
        before = held.watermark
        found = pc.min_max(block.batch[spec.column].cast(_MICROS)) if block.batch.num_rows else None
        if found is None or not found["max"].is_valid:
            return before
        newest = Timestamp(micros=found["max"].value) - Duration(seconds=spec.out_of_orderness)
        held.watermark = max(before, newest)
        return max(MIN_TIMESTAMP, min(Timestamp(micros=found["min"].value), held.watermark))

    def _look_at_clock(self, held: _Held, behind: int | None) -> None:
        """A partition without anything more to read does not hold the others back for ever."""
        spec, quiet = self._work.event_time, time.monotonic() - held.heard
        if held.follower.ends:
            # Until all of it is there, no window is complete.
            held.watermark = _OVER if behind == 0 else held.watermark
        elif behind:
            held.heard = time.monotonic()
        elif spec is None:
            held.watermark = max(held.watermark, Timestamp.now())
        elif quiet > spec.idle_after:
            held.watermark = max(held.watermark, Timestamp.now() - Duration(seconds=spec.idle_after + spec.out_of_orderness))


_MICROS = pa.timestamp("us", "UTC")
# The watermark of what has come to its end.
_OVER = Timestamp(micros=LAST)


def _timed(output: Any, moment: Timestamp) -> Any:
    if isinstance(output, beam.pvalue.TaggedOutput):
        if isinstance(output.value, pa.RecordBatch):
            return beam.pvalue.TaggedOutput(output.tag, TimestampedValue(output.value, moment))
        return output
    return TimestampedValue(output, moment)
