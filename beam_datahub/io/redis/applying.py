"""What was staged, given to the keys: chunks in transactions that also note how far the run has come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from beam_datahub.component.sink import Receipt
from beam_datahub.component.staged_batches import staged
from beam_datahub.errors import TargetUnusable
from beam_datahub.io.redis.options import RedisWriteOptions
from beam_datahub.kernels.workbench import over

if TYPE_CHECKING:
    from redis import Redis

_CHUNK = 1_000
# The server forgets how far a run has come once no retry of its commit can be under way any more.
_NOTE_SECONDS = 30 * 24 * 3600


def losers(receipts: Sequence[Receipt], last_by: str | None) -> set[int]:
    """The numbers of the staged rows that another one with the same key wins over. Raises TargetUnusable where none does."""
    some = [batch.select(["key", "last", "tie"]) for batch in staged(receipts)]
    if not some:
        return set()
    table = pa.Table.from_batches(some)
    table = table.append_column("n", pa.array(np.arange(table.num_rows)))
    if last_by is None:
        twice = over(table, "SELECT key, count(*) AS c FROM t GROUP BY key HAVING count(*) > 1 ORDER BY key LIMIT 1")
        if twice.num_rows:
            key, count = twice.column("key")[0].as_py(), twice.column("c")[0].as_py()
            raise TargetUnusable(
                f"{count} of the written rows have the same key ({_shown(key)}), and nothing says which wins",
                hint="name the column that tells with `last_by`, or deduplicate before",
            )
        return set()
    order = "PARTITION BY key ORDER BY last DESC NULLS LAST, tie"
    found = over(table, f"SELECT n FROM (SELECT n, row_number() OVER ({order}) AS r FROM t) WHERE r > 1")
    return set(found.column("n").to_pylist())


def _shown(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")


def _chunks(receipts: Sequence[Receipt], lost: set[int]) -> Iterator[list[dict[str, Any]]]:
    """The rows that count, in chunks that are always the same ones."""
    number, chunk = 0, []
    for batch in staged(receipts):
        for row in batch.to_pylist():
            if number not in lost:
                chunk.append(row)
            number += 1
            if len(chunk) == _CHUNK:
                yield chunk
                chunk = []
    if chunk:
        yield chunk


class Applying:
    """Gives rows to their keys, each chunk once."""

    def __init__(self, client: Redis, options: RedisWriteOptions, fields: Sequence[str], note: str) -> None:
        self._client, self._options = client, options
        self._fields = [name.encode() for name in fields]
        self._note = note

    def apply(self, receipts: Sequence[Receipt]) -> None:
        """Give all rows to their keys, behind what an earlier try has given. Raises TargetUnusable."""
        lost = losers(receipts, self._options.last_by)
        client: Any = self._client
        done = int(client.get(self._note) or 0)
        if not done:
            # A transaction does not stop at what it cannot do: what stands in the way is found before.
            for chunk in _chunks(receipts, lost):
                self._refuse_others(chunk)
        for number, chunk in enumerate(_chunks(receipts, lost)):
            if number >= done:
                self._give(number, chunk)

    def _refuse_others(self, chunk: Sequence[dict[str, Any]]) -> None:
        """Refuse keys that hold what would be lost."""
        wanted = b"hash" if self._options.format == "hash" else b"string"
        with self._client.pipeline(transaction=False) as pipe:
            for row in chunk:
                pipe.type(row["key"])
            kinds: list[Any] = pipe.execute()
        for row, kind in zip(chunk, kinds, strict=True):
            if kind not in (wanted, b"none") and not row["gone"]:
                raise TargetUnusable(
                    f"the key '{_shown(row['key'])}' is there and holds a {kind.decode()}", hint="remove it, or take other names"
                )

    def _give(self, number: int, chunk: Sequence[dict[str, Any]]) -> None:
        from redis.exceptions import WatchError

        client: Any = self._client
        with client.pipeline(transaction=True) as pipe:
            while True:
                try:
                    # Where the answer to a transaction was lost on the way, the note tells whether it went through.
                    pipe.watch(self._note)
                    if int(pipe.get(self._note) or 0) > number:
                        return
                    pipe.multi()
                    for row in chunk:
                        self._tell(pipe, row)
                    pipe.set(self._note, number + 1, ex=_NOTE_SECONDS)
                    pipe.execute()
                    return
                except WatchError:
                    # Another try of this commit is at it.
                    continue

    def _tell(self, pipe: Any, row: dict[str, Any]) -> None:
        key, ttl = row["key"], row["ttl"]
        if row["gone"]:
            pipe.delete(key)
            return
        if self._options.format != "hash":
            if row["value"] is None:
                pipe.delete(key)
            else:
                pipe.set(key, row["value"], ex=ttl, keepttl=ttl is None)
            return
        pairs = list(zip(self._fields, row["fields"], strict=True))
        values = {name: value for name, value in pairs if value is not None}
        missing = [name for name, value in pairs if value is None]
        if values:
            pipe.hset(key, mapping=values)
        if missing:
            pipe.hdel(key, *missing)
        if ttl is not None:
            pipe.expire(key, ttl)
