"""What lookups remember of a source's answers: in a worker's memory, and in Redis for all of them."""

from __future__ import annotations

import hashlib
import json
import re
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from beam_datahub.errors import InvalidValue, MissingDependency
from beam_datahub.kernels.session import conform
from beam_datahub.kernels.types import HIDDEN, empty_table, quoted
from beam_datahub.security import Secret, redact

if TYPE_CHECKING:
    from beam_datahub.compiler.plan import Ask
    from beam_datahub.component.asking import LookupCache
    from beam_datahub.kernels.session import KernelSession

_AT, _USED, _COUNT, _PLACE = (quoted(f"{HIDDEN}{name}") for name in ("at", "used", "count", "place"))
# When there is no room, so much of what is kept stays.
_STAYS = 0.75
# A Redis server that failed is left alone for so long; until it answers, the source is asked.
_PAUSE_SECONDS = 30.0
_REDIS_SECONDS = 5.0


class KeptAnswers:
    """Answers in the kernel session: a table of keys, with when they were learnt and last asked for, and one of their rows.

    Whole batches of keys go in and out by joins: a mapping that is asked key by key would take longer than the source.
    """

    def __init__(self, step: str, keys: pa.Schema, rows: pa.Schema, cache: LookupCache, session: KernelSession) -> None:
        self._schema, self._cache, self._session = rows, cache, session
        self._names = ", ".join(map(quoted, keys.names))
        self._keys, self._rows = quoted(f"kept_keys_{step}"), quoted(f"kept_rows_{step}")
        self._turn, self._held, self._oldest = 0, 0, float("inf")
        session.put("loading", empty_table(keys))
        facts = f"0::DOUBLE AS {_AT}, 0::BIGINT AS {_USED}, 0::BIGINT AS {_COUNT}"
        session.create(f"kept_keys_{step}", f"SELECT *, {facts} FROM loading")
        session.put("loading", empty_table(rows))
        session.create(f"kept_rows_{step}", "FROM loading")
        session.drop("loading")

    def take(self, keys: pa.Table) -> tuple[pa.Table, pa.Table]:
        """The rows of the keys that are known, and the keys that are not."""
        ttl, now = self._cache.ttl_seconds, time.monotonic()
        self._turn += 1
        if ttl is not None and self._oldest <= now - ttl:
            self._keep(f"{_AT} > {now - ttl}")
        self._session.put("asked", keys)
        same = f"SEMI JOIN asked USING ({self._names})"
        rows = conform(self._session.fetch(f"SELECT * FROM {self._rows} {same}"), self._schema)
        missing = self._session.fetch(f"SELECT * FROM asked ANTI JOIN {self._keys} USING ({self._names})")
        if missing.num_rows < keys.num_rows:
            known = " AND ".join(f"k.{quoted(name)} = a.{quoted(name)}" for name in keys.column_names)
            self._session.change(f"UPDATE {self._keys} k SET {_USED} = {self._turn} FROM asked a WHERE {known}")
        return rows, conform(missing, keys.schema)

    def put(self, keys: pa.Table, rows: pa.Table) -> None:
        """Remember what the keys have: their rows, or that there are none."""
        now = time.monotonic()
        self._session.put("asked", keys)
        self._session.put("answered", rows)
        counts = f"(SELECT {self._names}, count(*) AS {_COUNT} FROM answered GROUP BY ALL)"
        self._session.change(
            f"INSERT INTO {self._keys} SELECT {self._names}, {now}, {self._turn}, coalesce({_COUNT}, 0) "
            f"FROM asked LEFT JOIN {counts} USING ({self._names})"
        )
        self._session.change(f"INSERT INTO {self._rows} FROM answered")
        # A key without rows takes the room of one.
        self._held += keys.num_rows + rows.num_rows
        self._oldest = min(self._oldest, now)
        if self._held > self._cache.rows:
            room = int(self._cache.rows * _STAYS)
            order = f"ORDER BY {_USED} DESC ROWS UNBOUNDED PRECEDING"
            self._keep(f"true QUALIFY sum(1 + {_COUNT}) OVER ({order}) <= {room}")

    def _keep(self, condition: str) -> None:
        """Forget the keys that do not meet a condition; the tables are made anew, as deleting would leave holes in memory."""
        plain = [name.strip('"').replace('""', '"') for name in (self._keys, self._rows)]
        self._session.create(plain[0], f"SELECT * FROM {self._keys} WHERE {condition}")
        self._session.create(plain[1], f"SELECT * FROM {self._rows} SEMI JOIN {self._keys} USING ({self._names})")
        found = self._session.fetch(f"SELECT coalesce(sum(1 + {_COUNT}), 0)::BIGINT AS n, min({_AT}) AS a FROM {self._keys}")
        self._held = found["n"][0].as_py()
        self._oldest = found["a"][0].as_py() or float("inf")


def _without_password(value: Any) -> Any:
    """What tells one connection from another: of a secret only a URL, without the password in it."""
    if not isinstance(value, Secret):
        return value
    text = value.reveal()
    return re.sub(r"(://[^/@:]*):[^/]*@", r"\1@", text) if "://" in text else None


class SharedAnswers:
    """Answers in Redis, by a hash of what is asked and of the key; a value is the key's rows as one Arrow record batch.

    A server that fails is passed by for a while: the answers are the source's anyway.
    """

    def __init__(self, ask: Ask, keys: pa.Schema, cache: LookupCache, session: KernelSession) -> None:
        self._schema, self._cache, self._session, self._names = ask.right, cache, session, keys.names
        source = ask.read.source
        identity = [
            ask.read.connector,
            json.dumps({name: _without_password(value) for name, value in source.connection}, default=str),
            source.options.model_dump_json(),
            str(ask.right),
            str(keys),
        ]
        self._prefix = "beam-datahub:lookup:" + hashlib.sha256("\0".join(identity).encode()).hexdigest()[:32] + ":"
        self._client: Any = None
        self._paused_until = 0.0

    def take(self, keys: pa.Table) -> tuple[pa.Table, pa.Table]:
        """The rows of the keys that are known, and the keys that are not."""
        texts = self._texts(keys)
        values = self._tried(lambda client: client.mget(texts)) or [None] * len(texts)
        known = [value for value in values if value is not None]
        batches = [pa.ipc.read_record_batch(pa.py_buffer(value), self._schema) for value in known]
        found = pa.Table.from_batches(batches, self._schema).combine_chunks()
        return found, keys.filter(pa.array([value is None for value in values], pa.bool_()))

    def put(self, keys: pa.Table, rows: pa.Table) -> None:
        """Remember what the keys have: their rows, or that there are none."""
        self._session.put("asked", keys.append_column(_PLACE.strip('"'), pa.array(np.arange(keys.num_rows), pa.int64())))
        self._session.put("answered", rows)
        names = ", ".join(map(quoted, self._names))
        joined = self._session.fetch(f"SELECT answered.*, {_PLACE} FROM answered JOIN asked USING ({names}) ORDER BY {_PLACE}")
        places = joined.column(_PLACE.strip('"')).to_numpy()
        ordered = conform(joined.select(self._schema.names), self._schema).combine_chunks()
        bounds = np.searchsorted(places, np.arange(keys.num_rows + 1))
        batch = (ordered.to_batches() or [pa.RecordBatch.from_pylist([], self._schema)])[0]
        life = None if self._cache.ttl_seconds is None else max(1, round(self._cache.ttl_seconds * 1000))

        def send(client: Any) -> None:
            pipeline = client.pipeline(transaction=False)
            for text, (start, end) in zip(self._texts(keys), pairwise(bounds.tolist()), strict=True):
                pipeline.set(text, batch.slice(start, end - start).serialize().to_pybytes(), px=life)
            pipeline.execute()

        self._tried(send)

    def _texts(self, keys: pa.Table) -> list[str]:
        """The name of each key in Redis; its values show in none of them."""
        self._session.put("asked", keys)
        packed = ", ".join(f"{quoted(name)} := {quoted(name)}" for name in self._names)
        found = self._session.fetch(f"SELECT sha256(CAST(to_json(struct_pack({packed})) AS VARCHAR)) AS k FROM asked")
        return [self._prefix + text for text in found["k"].to_pylist()]

    def _tried(self, work: Any) -> Any:
        if time.monotonic() < self._paused_until:
            return None
        try:
            import redis
        except ModuleNotFoundError as error:
            raise MissingDependency("the client of Redis is not installed", hint="pip install 'beam-datahub[redis]'") from error
        try:
            if self._client is None:
                url = self._cache.redis
                text = url.reveal() if isinstance(url, Secret) else str(url)
                self._client = redis.Redis.from_url(text, socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS)
            return work(self._client)
        except ValueError as error:
            raise InvalidValue(f"the cache's `redis` is no URL of a Redis server: {redact(str(error))}") from None
        except redis.exceptions.RedisError:
            self._paused_until = time.monotonic() + _PAUSE_SECONDS
            return None
