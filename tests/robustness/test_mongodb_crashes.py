"""Runs from collection to collection that are killed: each document arrives once, wherever the run died."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import MongodbServer
from tests.unit.io.mongodb_collections import Store

pytestmark = pytest.mark.usefixtures("recording")

SPEC = """\
name: relay
source:
  name: in
  connector: mongodb
  connection: &store {{url: "mongodb://{address}", database: {database}}}
  collection: in
  schema: {{n: bigint, text: varchar}}
  incremental: {{column: n}}
destinations:
  - {{id: added, connector: mongodb, connection: *store, collection: added, write_mode: append}}
  - {{id: merged, connector: mongodb, connection: *store, collection: merged, write_mode: merge, key: [n]}}
dead_letter: {{connector: jsonl, connection: {{path: dead}}}}
"""
PLACES = ("before the journal", "between two destinations", "before the end is recorded")


@pytest.fixture
def relay(work: Any, mongodb: MongodbServer) -> Iterator[Any]:
    """A database, and a spec that takes what is new from one collection to two others."""
    work.environment.pop("BEAM_DATAHUB_NO_RECORD", None)
    work.store = Store(mongodb)
    (work.folder / "relay.yaml").write_text(SPEC.format(address=mongodb.address, database=work.store.name))
    yield work
    work.store.client.close()


def test_documents_arrive_once_though_a_run_is_killed_at_each_of_its_last_steps(relay: Any) -> None:
    wanted: list[int] = []
    for number, place in enumerate(PLACES, start=1):
        new = [{"n": 10 * number, "text": "a"}, {"n": 10 * number + 1, "text": "b"}, {"n": f"x{number}"}]
        relay.store.database["in"].insert_many(new)
        wanted += [10 * number, 10 * number + 1]
        assert relay.killed_at(place, "run", "relay.yaml") == -signal.SIGKILL
        done = relay.bh("run", "relay.yaml", "--json")
        assert done.status == 0, done
        for collection in ("added", "merged"):
            assert sorted(each["n"] for each in relay.store.documents(collection)) == wanted, place
        assert relay.store.left == []
    letters = [json.loads(line) for file in relay.folder.rglob("dead/*.jsonl") for line in file.read_text().splitlines()]
    assert {each["reason"] for each in letters} == {"type_mismatch"}
    assert '"x3"' in {json.loads(each["original"])["n"].join('""') for each in letters}
