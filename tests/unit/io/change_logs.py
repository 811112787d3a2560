"""Reads a source of changes as runs do, one after the other, and makes random changes to a table."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from beam_datahub.component.source import ReadRequest, Source
from beam_datahub.testing.connectors import _rejected


@dataclass
class Runs:
    """Runs of one source, each of which goes on from where the last one ended."""

    source: Source
    reached: dict[str, Any] = field(default_factory=dict)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    drifted: set[str] = field(default_factory=set)

    def read(self, *, moves: bool = True, schema: pa.Schema | None = None, **request: Any) -> pa.Table:
        """What the next run reads; where it `moves` nothing, it may have been killed."""
        schema = schema or self.source.discover().schema
        wanted = ReadRequest(schema, tuple(request.pop("columns", schema.names)), reached=dict(self.reached), **request)
        reached: dict[str, Any] = {}
        batches = []
        for split in list(self.source.splits(wanted)):
            reached.update(split.reached)
            for block in self.source.read(split, wanted):
                block.batch.validate(full=True)
                assert block.batch.schema.equals(wanted.projected)
                batches.append(block.batch)
                self.rejected += _rejected(block)
                self.drifted.update(block.drifted)
        if moves:
            self.reached.update(reached)
        return pa.Table.from_batches(batches, wanted.projected)

    def rows(self, **request: Any) -> list[dict[str, Any]]:
        """The same as Python values."""
        found: list[dict[str, Any]] = self.read(**request).to_pylist()
        return found


def workload(seed: int, transactions: int, *, truncates: bool = False) -> Iterator[tuple[list[str], bool]]:
    """Transactions over `t (id, name, amount, note)` as statements, and whether each is committed: inserts, changes, moves of
    keys and removals of few and of many rows, some of large values.
    """
    dice = random.Random(seed)
    fresh = 1000
    for _ in range(transactions):
        statements = []
        for _ in range(dice.randint(1, 8)):
            kind = dice.choice(["insert", "insert", "update", "update", "rekey", "delete", "large", "many"])
            key = dice.randint(0, fresh)
            if kind == "insert":
                fresh += 1
                statements.append(f"insert into t values ({fresh}, 'new {fresh}', {dice.randint(0, 9999)}.25, null)")
            elif kind == "update":
                statements.append(f"update t set amount = amount + {dice.randint(1, 9)} where id = {key}")
            elif kind == "rekey":
                fresh += 1
                statements.append(f"update t set id = {fresh}, name = 'moved' where id = {key}")
            elif kind == "delete":
                statements.append(f"delete from t where id between {key} and {key + dice.randint(0, 3)}")
            elif kind == "large":
                statements.append(f"update t set note = repeat('{dice.choice('abc')}', {dice.randint(1, 9000)}) where id = {key}")
            else:
                statements.append(f"update t set name = 'many {dice.randint(0, 99)}' where id between {key} and {key + 50}")
        if truncates and dice.random() < 0.05:
            statements.append("truncate t")
        yield statements, dice.random() < 0.85
