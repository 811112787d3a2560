"""What a shard of windows does after a restart: what is read again, what was published before, and what is late."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp

from beam_datahub.compiler.dead_letter import Identity
from beam_datahub.compiler.dofns import REJECTED, REPORT, KernelOptions
from beam_datahub.compiler.followers import Followers
from beam_datahub.compiler.plan import Shuffle, Stage
from beam_datahub.compiler.settled import SHARD, VOID
from beam_datahub.compiler.shuffle import SplitByKey
from beam_datahub.compiler.stage import StageRunner
from beam_datahub.compiler.tickets import bounded, opened, stamped, ticket_of
from beam_datahub.compiler.window_shard import sided
from beam_datahub.compiler.windows import WindowRows
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.windows import FIRST
from tests.unit.compiler.test_window_shard import Row, as_table, micros, planned


class Bag(list[Any]):
    """State of the engine."""

    def read(self) -> list[Any]:
        return list(self)

    add = list.append


class Cell:
    """State of the engine that holds one text, and timers that nobody looks at."""

    text: str | None = None

    def read(self) -> str | None:
        return self.text

    def write(self, text: str) -> None:
        self.text = text

    def set(self, *_: Any, **__: Any) -> None:
        return


class Shard:
    """One shard that an engine would drive; `since` is the second up to which its windows were over before."""

    def __init__(self, session: KernelSession, window: str, since: int | None, lateness: int = 0) -> None:
        plan = planned("aggregation", window, "by: k, measures: {n: count(*)}", lateness)
        node = next(node for node in plan if isinstance(node.operator, Shuffle))
        shuffle = node.operator
        assert isinstance(shuffle, Shuffle)
        self._session = session
        self._front = StageRunner(next(each.operator for each in plan if isinstance(each.operator, Stage)), track=False)
        self._source = [plan.node(each).schema for each in node.inputs]
        before = FIRST if since is None else micros(since)
        self._rows = WindowRows("step", shuffle, self._source, Identity("run", "i"), KernelOptions(threads=1), since=(before,))
        self._rows.start_bundle()
        exchange, windowing = shuffle.exchanges[0], shuffle.windowing
        assert windowing is not None
        how: Any = {"streams": True, "window": windowing.window, "since": before}
        self._split = SplitByKey("step", exchange, 0, self._source[0], 1, KernelOptions(threads=1), **how)
        self._held, self._facts = Bag(), Cell()
        self.came: list[int] = []
        self.published: list[int] = []
        self.again: list[int] = []
        self.late = 0
        self.reports: list[tuple[str, Any]] = []

    def come(self, ticket: str, *rows: Row) -> None:
        """Rows that were read under a ticket."""
        batch = stamped(sided(self._front.run(as_table(rows), self._session).table, 0), ticket)
        self._take(self._rows.process((0, batch), self._held, self._facts, self._facts, self._facts))

    def read(self, ticket: str, second: int, *rows: Row) -> dict[str, int]:
        """Rows that a worker read while the watermark was at most at a second; gives what it enters in the books."""
        batch = stamped(sided(self._front.run(as_table(rows), self._session).table, 0), ticket)
        self._split.start_bundle()
        found = list(self._split.process(bounded(batch, micros(second))))
        ((_, report),) = [each.value.value for each in self._split.finish_bundle()]
        for each in found:
            if isinstance(each, tuple):
                self.came.append(each[1].num_rows)
                self._take(self._rows.process(each, self._held, self._facts, self._facts, self._facts))
        (books,) = [json.loads(body) for _, body in opened(report)[1]]
        return dict(books["step#split0"])

    def pass_to(self, second: int) -> None:
        """The watermark passes a point."""
        at = Timestamp(micros=micros(second))
        self._take(self._rows.on_tick(at, "0", self._held, self._facts, self._facts))

    def _take(self, outputs: Iterator[Any]) -> None:
        for each in [*outputs, *self._rows.finish_bundle()]:
            if isinstance(each, TimestampedValue):
                counts = each.value["measure_1"].to_pylist()
                (self.published if ticket_of(each.value) is None else self.again).extend(counts)
            elif isinstance(each, TaggedOutput) and each.tag == REJECTED:
                self.late += each.value.num_rows
            elif isinstance(each, TaggedOutput) and each.tag == REPORT:
                _, found = opened(each.value.value[1])
                self.reports += [(kind, json.loads(body)) for kind, body in found]
        self._rows.start_bundle()


@pytest.fixture(scope="module")
def session() -> Iterator[KernelSession]:
    with KernelSession(threads=1) as found:
        yield found


def rows(*seconds: int) -> Sequence[Row]:
    return [("a", second, 1) for second in seconds]


MINUTES, VISITS = "type: fixed, size: 1 minute", "type: session, gap: 30 s"


def test_what_is_read_again_of_windows_that_were_over_is_neither_late_nor_published(session: KernelSession) -> None:
    shard = Shard(session, MINUTES, since=60)
    shard.come("again/in/0/x", *rows(10, 50, 70))
    shard.come("in/0/y", *rows(20, 80))
    assert shard.late == 1
    shard.pass_to(60)
    assert (shard.again, shard.published) == ([2], [])
    assert [body for kind, body in shard.reports if kind == VOID] == [{"step": {"added": 1, "out": 1}}]
    shard.pass_to(120)
    assert (shard.again, shard.published) == ([2], [2])


def test_no_row_of_a_session_that_was_open_is_late(session: KernelSession) -> None:
    shard = Shard(session, VISITS, since=100)
    # A visit that was over, and one that went on; its first rows lie far behind the watermark.
    shard.come("again/in/0/x", *rows(5, 50, 75, 95))
    shard.come("in/0/y", *rows(99))
    assert shard.late == 1
    shard.come("in/0/z", *rows(110))
    shard.pass_to(200)
    assert (shard.late, shard.again, shard.published) == (1, [1], [4])


def test_a_window_that_still_takes_late_rows_counts_what_was_read_before(session: KernelSession) -> None:
    shard = Shard(session, MINUTES, since=70, lateness=40)
    shard.come("again/in/0/x", *rows(10, 65))
    shard.come("in/0/y", *rows(20))
    shard.pass_to(70)
    assert (shard.late, shard.again, shard.published) == (0, [], [2])


def test_rows_that_cannot_be_late_come_to_their_windows_reduced_and_late_ones_as_they_were(session: KernelSession) -> None:
    shard = Shard(session, MINUTES, since=None)
    shard.come("in/0/x", *rows(10))
    shard.pass_to(60)
    books = shard.read("in/0/y", 60, *rows(20, 70, 71, 72, 130, 30))
    assert (sorted(shard.came), shard.late) == ([2, 2], 2)
    assert {term: count for term, count in books.items() if count} == {"in": 6, "out": 4, "merged": 2}
    shard.pass_to(180)
    assert shard.published == [1, 3, 1]


def test_a_row_is_late_where_its_window_was_over_before_a_restart_though_the_watermark_is_behind(session: KernelSession) -> None:
    shard = Shard(session, MINUTES, since=60)
    shard.read("again/in/0/x", 0, *rows(10, 50, 70, 71))
    assert (shard.came, shard.late) == ([2], 0)
    shard.read("in/0/y", 0, *rows(20, 80))
    assert shard.late == 1
    shard.pass_to(120)
    assert (shard.again, shard.published) == ([2], [3])


def test_where_rows_are_counted_that_wait_for_early_results_all_of_them_come(session: KernelSession) -> None:
    shard = Shard(session, f"{MINUTES}, early: every 3 rows", since=None)
    shard.read("in/0/x", 0, *rows(10, 11))
    shard.read("in/0/y", 0, *rows(12))
    assert (shard.came, shard.published) == ([2, 1], [3])


def test_how_far_an_engine_may_be_outlives_the_follower_that_told() -> None:
    key, early, later = ("attempt", "orders", "0"), Timestamp(20), Timestamp(50)
    followers = Followers()
    followers.tell(("attempt", "orders", "1"), later)
    followers.tell(key, early)
    assert followers.furthest(key, early) == later
    followers.close("attempt", {})
    assert followers.furthest(key, early) == early


def test_a_shard_tells_each_of_its_turns(session: KernelSession) -> None:
    shard = Shard(session, MINUTES, since=None)
    shard.come("in/0/x", *rows(10))
    shard.pass_to(60)
    told = [body for kind, body in shard.reports if kind == SHARD]
    assert [body["turn"] for body in told] == [1, 2, 3]
    assert (told[0]["latest"], told[-1]["clock"], told[-1]["oldest"]) == (micros(60), micros(60), None)
