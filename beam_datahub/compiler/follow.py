"""Follows the partitions of a source without end: an unbounded splittable DoFn that drives any connector's followers."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
from beam_datahub.compiler.followers import FOLLOWERS, Held
from beam_datahub.compiler.plan import Stage
from beam_datahub.compiler.stream_control import ControlFile
from beam_datahub.compiler.tickets import AGAIN, Stretch, bounded
from beam_datahub.component.failure import carried, placed
from beam_datahub.component.source import Block, Follower, Partition
from beam_datahub.kernels.windows import FIRST, LAST
from beam_datahub.spec import EventTimeSpec

_PAUSE_SECONDS = 0.2
# How often a partition that is silent says where it stands.
_TELL_SECONDS = 0.5

FOLLOWING = "following"


@dataclass(frozen=True)
class Followed:
    """A restriction: all of a partition behind `position`; `ended`: no more of it is to be read; `again`: the seam lies ahead."""

    position: Any
    ended: bool = False
    again: bool = False


class _Tracker(RestrictionTracker):
    """Claims are positions: up to there all is read.

    An engine that wants a split gets none until the worker gives the partition back by itself, soon: what it has just taken
    would be taken twice, and the rest be followed beside it.
    """

    def __init__(self, restriction: Followed) -> None:
        self._position, self._ended, self._rests = restriction.position, restriction.ended, False
        self._again = restriction.again

    def current_restriction(self) -> Followed:
        return Followed(self._position, self._ended, self._again)

    def try_claim(self, position: Any) -> bool:
        if self._ended:
            return False
        if isinstance(position, _End):
            self._ended = True
        elif isinstance(position, _Rest):
            self._rests = True
        elif isinstance(position, _AtSeam):
            self._again = False
        else:
            self._position = position
        return True

    def try_split(self, fraction_of_remainder: float) -> tuple[Followed, Followed] | None:
        if self._ended or not self._rests:
            return None
        self._ended = True
        return Followed(self._position, ended=True), Followed(self._position, again=self._again)

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


class _AtSeam:
    """The claim of what comes next as new: all that an earlier run has read is read again."""


def _defer(tracker: Any, seconds: float = 0.0) -> None:
    """Give the partition back to the engine, which hands it out again."""
    tracker.try_claim(_Rest())
    tracker.defer_remainder(Duration(seconds=seconds))


class _Following(RestrictionProvider):
    """A partition as a restriction; the launcher has split the source into its partitions already."""

    def initial_restriction(self, element: Partition) -> Followed:
        return Followed(element.position, again=element.seam is not None)

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


class FollowStage(RunStage):
    """Follows one partition for a while, runs the steps of its stage over what comes, and gives the rest back to the engine.

    What is read in one go has one ticket: all that comes of it carries it.
    """

    def __init__(self, work: StreamWork, stage: Stage, identity: Identity, kernel: KernelOptions, **how: Any) -> None:
        super().__init__(stage, identity, kernel, **how)
        self._work = work
        self._bound = FIRST

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
                _tell(watermark, key, FOLLOWERS.lowest(key))
                _defer(tracker, _PAUSE_SECONDS)
            return
        here = tracker.current_restriction()
        start, again = here.position, here.again
        request = replace(read.request, dictionaries=self.takes_dictionaries)
        rest = replace(partition, position=start, seam=partition.seam if again else None)

        def made() -> Follower:
            with placed(read.place):
                return read.source.follow(rest, request)

        with FOLLOWERS.lent(key, start, made) as held:
            # What was read before this turn is with the engine by now; what is read in it may not be. Of what is read again
            # nothing may come too late for a window that was open.
            lowest = FOLLOWERS.lowest(key, MIN_TIMESTAMP if again else held.watermark)
            self._bound = FOLLOWERS.furthest(key, max(held.watermark, watermark.current_watermark())).micros
            with placed(read.place):
                held.tell(told)
            ticket = f"{source_id}/{partition.name}/{uuid.uuid4().hex[:12]}"
            yield from self.turn(f"{AGAIN}/{ticket}" if again else ticket)
            behind: int | None = None
            until = time.monotonic() + work.latency / FOLLOWERS.share()
            while True:
                with placed(read.place):
                    arrival = held.follower.take(max(0.0, until - time.monotonic()), read.request.batch_bytes)
                if not tracker.try_claim(arrival.position):
                    raise ValueError("an engine has split what it was not given")
                held.position, behind = arrival.position, arrival.behind
                if arrival.block is not None:
                    # On Prism, a row that is ahead of the watermark waits behind timers that it has passed: also where it meets
                    # rows of another source, which may be behind, and pause because of this one.
                    moment = FOLLOWERS.lowest_of_all(work.attempt, min(lowest, self._moved(held, arrival.block)))
                    for output in self.stamp(self.take(read, source_id, self._shown(arrival.block))):
                        yield _timed(output, moment)
                if arrival.at_seam:
                    tracker.try_claim(_AtSeam())
                    break
                if arrival.block is None or until - time.monotonic() <= 0:
                    break
            if held.position != start:
                self.add_report("stretch", Stretch(source_id, partition.name, start, held.position).to_json())
            jumps = self._look_at_clock(held, behind)
            if held.position != start or jumps or held.follower.ends:
                held.due = held.watermark
            yield from self.report()
            yield from self.turn(None)
            now = time.monotonic()
            if held.position != start or now - held.said > _TELL_SECONDS:
                held.said = now
                facts = {"position": held.position, "behind": behind, "watermark": _micros(held.watermark)}
                facts |= {"due": _micros(held.due), "owes": held.follower.owes}
                facts |= {"source": source_id, "partition": partition.name}
                yield beam.pvalue.TaggedOutput(REPORT, _global((FOLLOWING, json.dumps(facts))))
            _tell(watermark, key, lowest)
            _defer(tracker)

    def stamp(self, outputs: Iterator[Any]) -> Iterator[Any]:
        """Batches with their ticket, and with how far the watermark can be when they come to windows."""
        for each in super().stamp(outputs):
            yield bounded(each, self._bound) if isinstance(each, pa.RecordBatch) else each

    def _shown(self, block: Block) -> Block:
        """A block without the column that was read for its time alone."""
        read = self._stage.read
        assert read is not None
        if read.columns is None or tuple(block.batch.schema.names) == read.columns:
            return block
        return replace(block, batch=block.batch.select(list(read.columns)))

    def _moved(self, held: Held, block: Block) -> Timestamp:
        """Move the watermark past a block; gives the moment that its rows count under, which is before all of them."""
        held.heard, held.jumped = time.monotonic(), False
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

    def _look_at_clock(self, held: Held, behind: int | None) -> bool:
        """A partition without anything more to read does not hold the others back for ever; gives whether that begins now."""
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
            jumps, held.jumped = not held.jumped, True
            return jumps
        return False


# Nothing that has a time happens before.
_BEGUN = Timestamp(micros=FIRST)
_MICROS = pa.timestamp("us", "UTC")
# The watermark of what has come to its end.
_OVER = Timestamp(micros=LAST)


def _micros(mark: Timestamp) -> int | None:
    return None if mark == MIN_TIMESTAMP else int(mark.micros)


def _tell(watermark: Any, key: tuple[str, str, str], reached: Timestamp) -> None:
    """Tell the engine how far the watermark is; one that may leave alone what stands behind a watermark that never moves."""
    now = watermark.current_watermark()
    if reached > now or now < _BEGUN:
        mark = reached if reached > now else now + Duration(micros=1000)
        FOLLOWERS.tell(key, mark)
        watermark.set_watermark(mark)


def _timed(output: Any, moment: Timestamp) -> Any:
    if isinstance(output, beam.pvalue.TaggedOutput):
        if isinstance(output.value, pa.RecordBatch):
            return beam.pvalue.TaggedOutput(output.tag, TimestampedValue(output.value, moment))
        return output
    return TimestampedValue(output, moment)
