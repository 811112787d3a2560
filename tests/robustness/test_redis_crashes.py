"""Runs from keys to keys that are killed: each key has its value in the end, and nothing is left."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

from tests.conftest import Server

pytestmark = pytest.mark.usefixtures("recording")

SPEC = """\
name: relay
source:
  name: in
  connector: redis
  connection: &server {{host: "{host}", port: {port}, database: 6}}
  pattern: "in:*"
  schema: {{id: bigint, name: varchar}}
  metadata: []
destinations:
  - {{id: one, connector: redis, connection: *server, key_template: "one:{{id}}", write_mode: merge, key: [id]}}
  - {{id: two, connector: redis, connection: *server, key_template: "two:{{id}}", format: json, write_mode: merge, key: [id]}}
"""


@pytest.mark.parametrize("place", ["between two destinations", "before the end is recorded"])
def test_keys_have_their_values_though_a_run_is_killed_at_one_of_its_last_steps(work: Any, redis: Server, place: str) -> None:
    work.environment.pop("BEAM_DATAHUB_NO_RECORD", None)
    client: Any = redis_client.Redis(redis.host, redis.port, db=6)
    client.flushdb()
    for n in range(20):
        client.hset(f"in:{n}", mapping={"id": n, "name": f"row {n}"})
    spec: Path = work.folder / "relay.yaml"
    spec.write_text(SPEC.format(host=redis.host, port=redis.port))
    assert work.killed_at(place, "run", "relay.yaml") == -signal.SIGKILL
    done = work.bh("run", "relay.yaml", "--json")
    assert done.status == 0, done
    assert {client.hget(key, "name") for key in client.scan_iter("one:*")} == {f"row {n}".encode() for n in range(20)}
    assert client.get("two:7") == b'{"id":7,"name":"row 7"}'
    assert len(list(client.scan_iter("two:*"))) == 20
    assert work.staged() == []
    client.close()
