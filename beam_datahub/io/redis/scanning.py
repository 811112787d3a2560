"""Keys by a pattern, page by page, and what they hold.

A scan gives each key that is there all the while at least once; those that it gives again are known by their digests. It goes by
the places in the server's table, which another process of the server would have in another order: a restart meanwhile is told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_datahub.component.messages.reading import Arrived
from beam_datahub.component.source import Drift, ReadRequest
from beam_datahub.errors import Transient
from beam_datahub.io.redis.options import RedisReadOptions

if TYPE_CHECKING:
    from redis import Redis

# The columns of what has always the same.
COLUMNS: dict[str, pa.Schema] = {
    "string": pa.schema([("value", pa.string())]),
    "list": pa.schema([("position", pa.int64()), ("value", pa.string())]),
    "set": pa.schema([("member", pa.string())]),
    "zset": pa.schema([("member", pa.string()), ("score", pa.float64())]),
}
_TYPES = {"json": "string"}
# What the server says of a key that is not there any more.
_GONE = -2


def keys(client: Redis, options: RedisReadOptions, many: int) -> Iterator[list[bytes]]:
    """The keys, about `many` at a time, each once. Raises Transient where the server was started anew meanwhile."""
    process = _process(client)
    seen: set[bytes] = set()
    cursor, waiting = 0, []
    while True:
        answer: Any = client.scan(cursor, match=options.pattern, count=many, _type=_TYPES.get(options.format, options.format))
        cursor, found = int(answer[0]), answer[1]
        for key in found:
            digest = hashlib.blake2b(key, digest_size=16).digest()
            if digest not in seen:
                seen.add(digest)
                waiting.append(key)
        if waiting and (len(waiting) >= many or cursor == 0):
            yield waiting
            waiting = []
        if cursor == 0:
            break
    if _process(client) != process:
        raise Transient("the server was started anew while its keys were read", hint="run again")


def _process(client: Redis) -> str:
    facts: Any = client.info("server")
    return str(facts.get("run_id"))


def sample(client: Redis, options: RedisReadOptions, count: int) -> list[Any]:
    """What some keys hold: hashes as they are, of JSON the text."""
    for some in keys(client, options, count):
        found, _ = _held(client, some[:count], options.format, None)
        return [value for value in found if value]
    return []


def pages(client: Redis, options: RedisReadOptions, request: ReadRequest) -> Iterator[Arrived]:
    """What the keys hold, as messages."""
    first = 0
    fields = None
    if request.contract.columns == Drift.EVOLVE:
        # Only where others may be there unseen.
        fields = [name for name in request.columns if name not in ("_key", "_ttl")]
    for some in keys(client, options, options.batch_keys):
        # The first page shows which fields there are that the schema lacks.
        held, ttls = _held(client, some, options.format, fields if first else None)
        values: list[Any] = []
        names: list[str] = []
        left: list[float | None] = []
        for key, value, ttl in zip(some, held, ttls, strict=True):
            if ttl == _GONE:
                continue
            records = _records(value, options.format)
            values += records
            names += [key.decode("utf-8", "backslashreplace")] * len(records)
            left += [ttl / 1000 if ttl >= 0 else None] * len(records)
        if values:
            yield Arrived(values, {"_key": names, "_ttl": left}, first)
        first += len(values)


def _held(client: Redis, some: Sequence[bytes], form: str, fields: Sequence[str] | None) -> tuple[list[Any], list[int]]:
    """What keys hold, and how many milliseconds they have left."""
    with client.pipeline(transaction=False) as pipe:
        for key in some:
            if form == "hash" and fields:
                pipe.hmget(key, list(fields))
            elif form == "hash":
                pipe.hgetall(key)
            elif form == "list":
                pipe.lrange(key, 0, -1)
            elif form == "set":
                pipe.smembers(key)
            elif form == "zset":
                pipe.zrange(key, 0, -1, withscores=True)
            else:
                pipe.get(key)
            # Behind the value: a key that ended before it has no time left either.
            pipe.pttl(key)
        answers: list[Any] = pipe.execute()
    found, ttls = answers[::2], answers[1::2]
    if form == "hash" and fields:
        names = [name.encode() for name in fields]
        found = [{name: value for name, value in zip(names, row, strict=True) if value is not None} for row in found]
    return found, [int(ttl) for ttl in ttls]


def _records(value: Any, form: str) -> list[Any]:
    """The records of what a key holds."""
    if form in ("hash", "json"):
        return [value]
    if form == "string":
        return [{b"value": value}]
    if form == "list":
        return [{b"position": str(place).encode(), b"value": each} for place, each in enumerate(value)]
    if form == "set":
        return [{b"member": each} for each in sorted(value)]
    return [{b"member": each, b"score": repr(float(score)).encode()} for each, score in value]
