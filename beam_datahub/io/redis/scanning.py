"""Keys by a pattern, page by page, and what they hold.

A scan gives each key that is there all the while at least once; those that it gives again are known by their digests. It goes by
the places in the server's table, which another process of the server would have in another order: a restart meanwhile is told.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_datahub.component.messages.reading import Arrived
from beam_datahub.component.source import Drift, ReadRequest
from beam_datahub.errors import InvalidValue, Transient
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
_GONE, _STAYS = -2, -1


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
        arrived = _arrived(some, held, ttls, options.format, first)
        if arrived.values:
            yield arrived
        first += len(arrived.values)


def asked(client: Redis, options: RedisReadOptions, request: ReadRequest, names: Sequence[str], first: int) -> Arrived:
    """What some keys hold, as messages; those are left out that are not there, hold something else, or are not of the pattern."""
    pattern = matching(options.pattern)
    some = [key for key in map(str.encode, names) if pattern.fullmatch(key)]
    if not some:
        return Arrived([], {}, first)
    if options.format in ("string", "json") and "_ttl" not in request.columns:
        held: list[Any] = client.mget(some)
        return _arrived(some, held, [_GONE if value is None else _STAYS for value in held], options.format, first)
    fields = [name for name in request.columns if name not in ("_key", "_ttl")]
    lenient = request.contract.columns == Drift.EVOLVE
    return _arrived(some, *_held(client, some, options.format, fields if lenient else None, only=True), options.format, first)


def matching(pattern: str) -> re.Pattern[bytes]:
    """What a pattern of Redis's means: `*`, `?`, `[a-c]`, `[^a]`, and a backslash before what is meant as it is.

    Raises InvalidValue.
    """
    found, at, inside = [], 0, False
    while at < len(pattern):
        sign = pattern[at]
        if sign == "\\" and at + 1 < len(pattern):
            at += 1
            found.append(re.escape(pattern[at]))
        elif inside:
            inside = sign != "]"
            plain = sign in "]-" or (sign == "^" and found[-1] == "[")
            found.append(sign if plain else re.escape(sign))
        elif sign == "[":
            found.append("[")
            inside = True
        else:
            found.append({"*": ".*", "?": "."}.get(sign) or re.escape(sign))
        at += 1
    # A class that is not closed goes up to the end.
    text = "".join([*found, "]"] if inside else found)
    try:
        return re.compile(text.encode(), re.DOTALL)
    except re.error as error:
        raise InvalidValue(
            f"the pattern '{pattern}' has a class of nothing", hint="write a backslash before the bracket"
        ) from error


def _arrived(some: Sequence[bytes], held: Sequence[Any], ttls: Sequence[int], form: str, first: int) -> Arrived:
    """What keys hold as messages, but for those that are gone."""
    values: list[Any] = []
    names: list[str] = []
    left: list[float | None] = []
    for key, value, ttl in zip(some, held, ttls, strict=True):
        if ttl == _GONE:
            continue
        records = _records(value, form)
        values += records
        names += [key.decode("utf-8", "backslashreplace")] * len(records)
        left += [ttl / 1000 if ttl >= 0 else None] * len(records)
    return Arrived(values, {"_key": names, "_ttl": left}, first)


def _held(
    client: Redis, some: Sequence[bytes], form: str, fields: Sequence[str] | None, *, only: bool = False
) -> tuple[list[Any], list[int]]:
    """What keys hold, and how many milliseconds they have left; with `only`, one that holds something else counts as gone."""
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
        answers: list[Any] = pipe.execute(raise_on_error=not only)
    found, ttls = answers[::2], answers[1::2]
    for number, answer in enumerate(found):
        if isinstance(answer, Exception):
            if not str(answer).startswith("WRONGTYPE"):
                raise answer
            found[number], ttls[number] = None, _GONE
    if form == "hash" and fields:
        names = [name.encode() for name in fields]
        found = [row and {name: value for name, value in zip(names, row, strict=True) if value is not None} for row in found]
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
