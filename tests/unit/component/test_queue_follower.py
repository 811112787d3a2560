"""Queues that are followed as streams: a message is acknowledged once it is published, and neither lost nor doubled before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.messages import following
from beam_datahub.component.messages.following import Intake, Lent, QueueFollower
from beam_datahub.component.source import Block
from beam_datahub.errors import AccessDenied, ConnectorError, DataHubError, Transient


@dataclass
class Broker:
    """A queue in memory: who connects gets what waits, and gives back what he has not acknowledged."""

    waiting: list[tuple[str, bool]] = field(default_factory=list)
    lent: dict[int, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    failures: list[DataHubError] = field(default_factory=list)
    """What the next calls raise."""
    unheard: list[DataHubError] = field(default_factory=list)
    """What the next acknowledgements raise once the broker has heard them."""
    keeps: bool = True
    tokens: int = 0

    def send(self, *texts: str) -> None:
        self.waiting += [(text, False) for text in texts]

    def lose(self) -> None:
        """Lose the connection, which both sides find out."""
        self.failures.append(Transient("the broker went away"))

    def take_back(self) -> None:
        again = [(text, True) for text in self.lent.values()] if self.keeps else []
        self.waiting, self.lent = again + self.waiting, {}


class MemoryIntake(Intake):
    """A connection to the broker in memory."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.resumed = broker.keeps
        self.call()

    def call(self) -> None:
        if self.broker.failures:
            raise self.broker.failures.pop(0)

    def check(self) -> None:
        self.call()

    def take(self, seconds: float, most: int) -> list[Lent]:
        self.call()
        found = []
        for text, again in self.broker.waiting[:most]:
            self.broker.tokens += 1
            self.broker.lent[self.broker.tokens] = text
            found.append(Lent(text, self.broker.tokens, len(text), text, again))
        del self.broker.waiting[:most]
        return found

    def behind(self) -> int:
        return len(self.broker.waiting)

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        self.call()
        self.broker.done += [self.broker.lent.pop(token) for token in tokens]
        if self.broker.unheard:
            raise self.broker.unheard.pop(0)

    def close(self) -> None:
        self.broker.take_back()


class LooseIntake(MemoryIntake):
    """One whose tokens hold whatever becomes of the connection, as long as the loan lasts."""

    bound = False

    def replaced(self, token: Any) -> None:
        self.broker.lent.pop(token, None)


def follower(broker: Broker, most: int = 100, position: str = "", kind: type[MemoryIntake] = MemoryIntake) -> QueueFollower:
    def block(messages: list[Any], first: int) -> Block:
        return Block(pa.record_batch({"text": messages}))

    return QueueFollower(position, lambda: kind(broker), block, most, patience_seconds=60)


def took(follower: QueueFollower, batch_bytes: int = 1_000) -> list[str]:
    """What comes at once."""
    block = follower.take(0.0, batch_bytes).block
    return [] if block is None else block.batch["text"].to_pylist()


def test_a_message_is_acknowledged_when_it_is_published_and_not_before() -> None:
    broker = Broker()
    broker.send("a", "b")
    one = follower(broker)
    assert one.take(0.0, 1_000).behind
    first = one.take(0.0, 1_000).position
    broker.send("c")
    assert took(one) == ["c"]
    assert broker.done == []
    one.published(first)
    assert (broker.done, one.owes) == (["a", "b"], True)
    one.published(one.take(0.0, 1_000).position)
    assert (broker.done, one.owes, one.take(0.0, 1_000).behind) == (["a", "b", "c"], False, 0)


def test_another_follower_begins_with_what_was_not_acknowledged() -> None:
    broker = Broker()
    broker.send("a", "b")
    one = follower(broker)
    assert took(one) == ["a", "b"]
    position = one.take(0.0, 1_000).position
    one.close()
    two = follower(broker, position=position)
    assert two.take(0.0, 1_000).position != position
    # What was taken over the connection that is gone is not this one's to acknowledge.
    two.published(position)
    assert (broker.done, sorted(broker.lent.values()), two.owes) == ([], ["a", "b"], True)


def test_what_a_lost_connection_brings_again_is_neither_told_twice_nor_lost() -> None:
    broker = Broker()
    broker.send("a", "b", "same", "same")
    one = follower(broker)
    assert took(one) == ["a", "b", "same", "same"]
    old = one.take(0.0, 1_000).position
    broker.lose()
    assert took(one) == []
    broker.send("same", "c")
    assert took(one) == ["same", "c"]
    one.published(old)
    assert broker.done == ["a", "b", "same", "same"]
    one.published(one.take(0.0, 1_000).position)
    assert (broker.done[4:], broker.lent) == (["same", "c"], {})


def test_what_was_published_while_the_connection_was_away_is_acknowledged_when_it_comes_again() -> None:
    broker = Broker()
    broker.send("a", "b")
    one = follower(broker)
    assert took(one) == ["a", "b"]
    broker.lose()
    one.published(one.take(0.0, 1_000).position)
    assert took(one) == []
    broker.send("a")
    assert took(one) == ["a"]
    assert broker.done == ["a", "b"]
    one.published(one.take(0.0, 1_000).position)
    assert broker.done == ["a", "b", "a"]


def test_a_message_is_not_taken_for_another_that_a_broker_has_forgotten_or_was_told_of() -> None:
    forgetful = Broker(keeps=False)
    forgetful.send("20 degrees")
    one = follower(forgetful)
    assert took(one) == ["20 degrees"]
    forgetful.lose()
    assert took(one) == []
    forgetful.waiting = [("20 degrees", True)]
    assert took(one) == ["20 degrees"]
    # The answer to an acknowledgement is lost, and the next message of the same content comes over two connections.
    broker = Broker()
    broker.send("20 degrees")
    two = follower(broker)
    assert took(two) == ["20 degrees"]
    broker.unheard.append(Transient("the broker went away"))
    two.published(two.take(0.0, 1_000).position)
    assert broker.done == ["20 degrees"]
    broker.waiting = [("20 degrees", True)]
    assert took(two) == ["20 degrees"]


def test_a_loan_that_outlives_its_connection_is_acknowledged_later_and_known_when_it_ran_out() -> None:
    broker = Broker()
    broker.send("a", "b")
    one = follower(broker, kind=LooseIntake)
    assert took(one) == ["a", "b"]
    position = one.take(0.0, 1_000).position
    broker.waiting = [("b", True)]
    assert took(one) == []
    assert sorted(broker.lent.values()) == ["a", "b"]
    # It is checked first, and then fails.
    broker.failures = [Transient("throttled")]
    one._intake.check = lambda: None  # type: ignore[union-attr,method-assign]
    broker.take_back = lambda: None  # type: ignore[method-assign]
    one.published(position)
    assert (broker.done, one.owes) == ([], True)
    took(one)
    took(one)
    assert (sorted(broker.done), one.owes) == (["a", "b"], False)


def test_no_more_is_taken_than_may_wait_for_its_commit_and_a_stream_that_cannot_go_on_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Broker()
    broker.send(*"abcdef")
    one = follower(broker, most=3)
    assert took(one) == ["a", "b", "c"]
    assert (took(one), one.take(0.0, 1_000).behind) == ([], 1)
    one.published(one.take(0.0, 1_000).position)
    # A batch that is large enough goes on without waiting for more.
    assert took(one, batch_bytes=1) == ["d", "e", "f"]
    monkeypatch.setattr(following, "_FULL_SECONDS", 0.01)
    with pytest.raises(ConnectorError, match="none of them is published") as full:
        one.take(0.02, 1_000)
    assert "maximum_messages" in (full.value.hint or "")


def test_a_queue_that_is_away_is_waited_for_and_one_that_is_refused_is_not() -> None:
    broker = Broker()
    one = follower(broker)
    broker.failures = [Transient("gone"), Transient("still gone"), AccessDenied("not there yet")]
    assert [one.take(0.0, 1_000).behind for _ in range(3)] == [1, 1, 1]
    broker.send("a")
    assert took(one) == ["a"]
    broker.failures = [AccessDenied("no more")]
    with pytest.raises(AccessDenied):
        one.take(0.0, 1_000)
    impatient = QueueFollower("", lambda: MemoryIntake(broker), lambda _, __: Block(pa.record_batch({})), 10, -1.0)
    broker.failures = [Transient("gone")]
    with pytest.raises(Transient, match="gone"):
        impatient.take(0.0, 1_000)
