"""Entries of a stream, page by page: between two ids, or as a group delivers them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis import Redis

    from beam_datahub.io.redis_stream.source import RedisStreamReadOptions

# The id, the fields (None: removed since it was delivered), and how often a group has delivered it (None: none has).
Entry = tuple[bytes, Mapping[bytes, bytes] | None, int | None]


def last_id(facts: Mapping[str, Any]) -> str:
    """The id behind which all comes that is added from now on."""
    found = facts["last-generated-id"]
    return found.decode() if isinstance(found, bytes) else str(found)


def _key(entry: str | bytes) -> tuple[int, int]:
    first, _, second = (entry.decode() if isinstance(entry, bytes) else entry).partition("-")
    return int(first), int(second or 0)


def pages(client: Redis, stream: str, begin: str, end: str, count: int) -> Iterator[list[Entry]]:
    """The entries behind `begin` up to `end`."""
    while True:
        found: Any = client.xrange(stream, f"({begin}", end, count=count)
        if not found:
            return
        yield [(name, fields, None) for name, fields in found]
        begin = found[-1][0].decode()


def follow_group(client: Redis, options: RedisStreamReadOptions, stream: str) -> None:
    """Make the group where it is not there."""
    from redis.exceptions import ResponseError

    assert options.group is not None
    start = {"earliest": "0-0", "latest": "$"}.get(options.start, options.start)
    with suppress(ResponseError):
        # It says BUSYGROUP where the group is there; whatever else is wrong shows when it is read from.
        client.xgroup_create(stream, options.group, id=start)


def claimed(client: Redis, options: RedisStreamReadOptions, stream: str, end: str) -> str:
    """The id up to which the group has delivered; where the group would begin that is not there yet."""
    found: Any = client.xinfo_groups(stream)
    for each in found:
        if each["name"] == str(options.group).encode():
            return last_id({"last-generated-id": each["last-delivered-id"]})
    return {"earliest": "0-0", "latest": end}.get(options.start, options.start)


def delivered(client: Redis, options: RedisStreamReadOptions, stream: str, end: str, count: int) -> Iterator[list[Entry]]:
    """What the group has for us: what a run that died has left, what others have kept too long, and what is new up to `end`."""
    group, consumer = str(options.group), options.consumer
    if options.claim_idle_seconds is not None:
        begin = b"0-0"
        while True:
            answer: Any = client.xautoclaim(stream, group, consumer, options.claim_idle_seconds * 1000, begin, count=count)
            begin = answer[0]
            if begin == b"0-0":
                break
    begin = b"0-0"
    while True:
        # Our own, which nobody has acknowledged.
        found = _read(client, group, consumer, stream, begin, count)
        if not found:
            break
        counts = _counts(client, group, consumer, stream, found)
        yield [(name, fields or None, counts.get(name, 1)) for name, fields in found]
        begin = found[-1][0]
    while True:
        found = _read(client, group, consumer, stream, b">", count)
        if not found:
            return
        yield [(name, fields, 1) for name, fields in found]
        if _key(found[-1][0]) >= _key(end):
            return


def _read(client: Redis, group: str, consumer: str, stream: str, begin: bytes, count: int) -> list[tuple[bytes, Any]]:
    answer: Any = client.xreadgroup(group, consumer, {stream: begin}, count=count)
    return list(answer[0][1]) if answer else []


def _counts(client: Redis, group: str, consumer: str, stream: str, found: list[tuple[bytes, Any]]) -> dict[bytes, int]:
    answer: Any = client.xpending_range(stream, group, found[0][0], found[-1][0], len(found), consumername=consumer)
    return {each["message_id"]: each["times_delivered"] for each in answer}
