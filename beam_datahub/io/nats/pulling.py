"""Pulls messages of a stream: between two sequences, or what a durable consumer lends."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from beam_datahub.io.nats.connection import Session

if TYPE_CHECKING:
    from beam_datahub.io.nats.source import NatsReadOptions

_AT_ONCE = 1_000
_WAIT_SECONDS = 2.0
# What a consumer has for us comes within the first time; where all that is left is lent to others, within the second.
_LENDING_SECONDS, _QUIET_SECONDS = 5.0, 1.0


@dataclass(frozen=True)
class Pulled:
    """A message; `reply` is what it is acknowledged by, `pending` how many wait behind it, `nth` counts those of its consumer."""

    body: bytes
    subject: str
    headers: Mapping[str, str] | None
    reply: str
    delivered: int
    sequence: int
    nanoseconds: int
    pending: int
    nth: int


def pulled(message: Any) -> Pulled:
    """A message as the client gives it."""
    parts = message.reply.split(".")
    # $JS.ACK.[domain.account.]stream.consumer.delivered.sequence.consumer sequence.time.pending[.…]
    base = 4 if len(parts) == 9 else 6
    delivered, sequence, nth, moment, pending = map(int, parts[base : base + 5])
    return Pulled(message.data, message.subject, message.headers, message.reply, delivered, sequence, moment, pending, nth)


def unbroken(messages: list[Pulled], taken: int) -> list[Pulled]:
    """The messages before the first gap, where `taken` came before them.

    A consumer that waits for no acknowledgement never gives again what was lost with a connection, or dropped by a slow client.
    """
    for place, each in enumerate(messages):
        if each.nth != taken + place + 1:
            return messages[:place]
    return messages


def _config(options: NatsReadOptions, **more: Any) -> Any:
    from nats.js.api import ConsumerConfig

    subjects = options.wanted
    chosen: dict[str, Any] = {"filter_subject": subjects[0]} if len(subjects) == 1 else {}
    if len(subjects) > 1:
        chosen = {"filter_subjects": list(subjects)}
    return ConsumerConfig(**chosen, **more)


def _from(begin: int | datetime) -> dict[str, Any]:
    from nats.js.api import DeliverPolicy

    if isinstance(begin, datetime):
        moment = begin if begin.tzinfo is not None else begin.replace(tzinfo=UTC)
        return {"deliver_policy": DeliverPolicy.BY_START_TIME, "opt_start_time": moment}
    return {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": max(1, begin)}


def position_consumer(session: Session, options: NatsReadOptions, begin: int) -> Any:
    """What pulls all from a sequence on, by a consumer in the server's memory."""
    info = session.do(session.stream.add_consumer(options.stream, _in_memory(options, begin)))
    return session.do(session.stream.pull_subscribe_bind(info.name, options.stream))


def _in_memory(options: NatsReadOptions, begin: int | datetime) -> Any:
    from nats.js.api import AckPolicy

    return _config(options, ack_policy=AckPolicy.NONE, inactive_threshold=60.0, mem_storage=True, num_replicas=1, **_from(begin))


def between(session: Session, options: NatsReadOptions, begin: int, end: int, limit: int | None = None) -> Iterator[list[Pulled]]:
    """The messages with sequences in [begin, end), in lists; 0 begins where the options say. Raises what the client does."""
    start: int | datetime = begin
    if begin == 0 and isinstance(options.start, datetime):
        start = options.start
    most = _AT_ONCE if limit is None else max(1, min(_AT_ONCE, limit))
    patience = time.monotonic() + session.connection.timeout_seconds
    while isinstance(start, datetime) or start < end:
        config = _in_memory(options, start)
        try:
            info = session.do(session.stream.add_consumer(options.stream, config))
            if not info.num_pending:
                return
            puller = session.do(session.stream.pull_subscribe_bind(info.name, options.stream))
            taken, whole = 0, True
            while whole:
                came = [pulled(each) for each in session.do(puller.fetch(most, _WAIT_SECONDS))]
                messages = unbroken(came, taken)
                taken, whole = taken + len(messages), len(messages) == len(came)
                patience = time.monotonic() + session.connection.timeout_seconds
                there = [each for each in messages if each.sequence < end]
                if there:
                    start = there[-1].sequence + 1
                    yield there
                if len(there) < len(messages) or (messages and not messages[-1].pending):
                    return
                if not isinstance(start, datetime) and start >= end:
                    return
        except passing():
            # A consumer of memory does not outlive its server: another one goes on behind what came.
            if time.monotonic() > patience:
                raise
            time.sleep(0.2)


def passing() -> tuple[type[BaseException], ...]:
    """The errors of the client that mend themselves."""
    from nats import errors
    from nats.js.errors import ServiceUnavailableError

    return (
        errors.TimeoutError,
        TimeoutError,
        errors.NoRespondersError,
        errors.ConnectionReconnectingError,
        ServiceUnavailableError,
    )


def made_consumer(session: Session, options: NatsReadOptions) -> float:
    """Make the durable consumer where it is not there; gives the seconds that it waits for acknowledgements."""
    from nats.js.api import AckPolicy, DeliverPolicy
    from nats.js.errors import NotFoundError

    assert options.consumer is not None
    try:
        info = session.do(session.stream.consumer_info(options.stream, options.consumer))
    except NotFoundError:
        start = options.start
        policy = {"earliest": DeliverPolicy.ALL, "latest": DeliverPolicy.NEW}.get(str(start))
        begin = {"deliver_policy": policy} if policy is not None else _from(start)  # type: ignore[arg-type]
        config = _config(
            options,
            durable_name=options.consumer,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=float(options.lease_seconds),
            max_ack_pending=-1,
            **begin,
        )
        info = session.do(session.stream.add_consumer(options.stream, config))
    return float(info.config.ack_wait or options.lease_seconds)


def lent(session: Session, options: NatsReadOptions, end: int) -> Iterator[list[Pulled]]:
    """What the consumer has for us up to the sequence `end`; what comes again counts as well."""
    from nats import errors

    assert options.consumer is not None
    info = session.do(session.stream.consumer_info(options.stream, options.consumer))
    left = int(info.num_pending or 0) + int(info.num_ack_pending or 0)
    if not left:
        return
    puller = session.do(session.stream.pull_subscribe_bind(options.consumer, options.stream))
    patience = time.monotonic() + session.connection.timeout_seconds
    waits = int(info.num_pending or 0)
    while left > 0:
        try:
            messages = session.do(puller.fetch(min(_AT_ONCE, left), _LENDING_SECONDS if waits > 0 else _QUIET_SECONDS))
        except (errors.TimeoutError, TimeoutError):
            # Nothing is there for us: others have it, or the server is away.
            if session.client.is_connected or time.monotonic() > patience:
                return
            time.sleep(0.2)
            continue
        some = [pulled(each) for each in messages]
        if not some:
            return
        left -= len(some)
        waits = some[-1].pending
        yield some
        if not waits and some[-1].sequence >= end - 1:
            waits = 0


def tell(session: Session, replies: Sequence[str], word: bytes) -> None:
    """Tell the server of each message that it is done with (`+ACK`), worked on (`+WPI`), or given back (`-NAK`)."""

    async def all_of_them() -> None:
        client = session.client
        for reply in replies[:-1]:
            await client.publish(reply, word)
        if replies and word == b"+ACK":
            # The server says that it has taken the last, behind all others.
            await client.request(replies[-1], word, timeout=session.connection.timeout_seconds)
        elif replies:
            await client.publish(replies[-1], word)
        await client.flush(session.connection.timeout_seconds)

    session.do(all_of_them())
