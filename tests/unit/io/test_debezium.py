"""A table's changes through real Debezium, Kafka and `changes` make the same table as `postgresql_cdc` does."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import urllib3
from click.testing import CliRunner
from urllib3.util import Retry

from beam_datahub.cli import main
from beam_datahub.component.database_pool import close_pools
from tests.conftest import KafkaBroker, service_output
from tests.unit.io.database_systems import new_database

pytestmark = pytest.mark.usefixtures("recording")

TABLE = """create table t (
    id int primary key, name text, amount numeric(12,2), note text, seen timestamptz, day date, ok boolean, ref uuid, doc jsonb,
    x double precision, stamped timestamp, raw bytea
)"""
ENDS = """
  connector: sqlite
  connection: {{path: {0}.sqlite}}
  table: t
  write_mode: merge
  key: [id]
  last_by: __position
  delete_marker: __deleted
dead_letter: {{connector: jsonl, connection: {{path: {0}-rejected}}}}
"""
EMBEDDED = """
name: embedded
source: {{name: t, connector: postgresql_cdc, connection: {{url: "{url}"}}, table: t, slot: {slot}, changes: rows}}
destination:"""
DEBEZIUM = """
name: debezium
source:
  name: changes
  connector: kafka
  connection: {{bootstrap_servers: "{broker}"}}
  topic: {topic}
  metadata: [offset]
  schema:
    op: varchar
    before: struct(id integer)
    after: >-
      struct(id integer, name varchar, amount varchar, note varchar, seen timestamptz, day integer, ok boolean, ref varchar,
      doc varchar, x double, stamped bigint, raw varchar)
    source: struct(lsn bigint, ts_ms bigint)
transformations:
  - id: rows
    type: changes
    config: {{types: {{amount: "decimal(12,2)", day: date, doc: json, stamped: timestamp, raw: blob}}}}
destination:"""


@pytest.fixture(scope="module")
def connect(kafka: KafkaBroker) -> Iterator[str]:
    """The URL of Kafka Connect with Debezium."""
    folder = tempfile.mkdtemp(prefix="beam-datahub-connect-")
    try:
        yield service_output("connect", "start", folder, kafka.address)
        service_output("connect", "stop", folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(postgresql: str, connect: str) -> Iterator[str]:
    """The URL of a database; who follows its log is gone after the test, and what is kept for them."""
    url = new_database(postgresql)
    yield url
    ask(connect, "DELETE", f"/connectors/{url.rpartition('/')[2]}")
    close_pools()
    slots = "from pg_replication_slots where database = current_database()"
    end = time.monotonic() + 60
    with psycopg.connect(url, autocommit=True) as server:
        while server.execute(f"select {slots}".encode()).fetchall():
            assert time.monotonic() < end
            # Whoever has been told to leave may still be about to.
            with suppress(psycopg.errors.ObjectInUse, psycopg.errors.UndefinedObject):
                server.execute(f"select pg_terminate_backend(active_pid) {slots} and active".encode())
                server.execute(f"select pg_drop_replication_slot(slot_name) {slots} and not active".encode())


def ask(connect: str, method: str, place: str, body: Any = None) -> None:
    """Ask Kafka Connect for something; while it shares out its work anew it refuses, and wants to be asked again."""
    again = Retry(8, status_forcelist=(409, 500, 503), allowed_methods=None, backoff_factor=0.5, raise_on_status=False)
    answer = urllib3.request(method, connect + place, json=body, retries=again, timeout=120)
    assert answer.status < 400 or method == "DELETE", answer.data


def follow(connect: str, url: str) -> None:
    """Let Debezium follow the table `t` of a database."""
    place = urlsplit(url)
    name = place.path[1:]
    config = {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "plugin.name": "pgoutput",
        "database.hostname": place.hostname,
        "database.port": str(place.port),
        "database.user": "postgres",
        "database.password": "none",
        "database.dbname": name,
        "topic.prefix": name,
        "table.include.list": "public.t",
        "slot.name": f"{name}_debezium",
        "publication.name": "debezium",
        "publication.autocreate.mode": "filtered",
        "decimal.handling.mode": "string",
        "topic.creation.default.partitions": "1",
        "topic.creation.default.replication.factor": "1",
    }
    ask(connect, "PUT", f"/connectors/{name}/config", config)


def waited_for(kafka: KafkaBroker, topic: str, count: int) -> list[Any]:
    """The messages of a topic, once there are so many."""
    from confluent_kafka import Consumer

    settings = {
        "bootstrap.servers": kafka.address,
        "group.id": topic,
        "auto.offset.reset": "earliest",
        "log_level": 0,
        "enable.auto.commit": False,
    }
    consumer = Consumer({**settings, "allow.auto.create.topics": False, "topic.metadata.refresh.interval.ms": 500})
    consumer.subscribe([topic])
    found, end = list[Any](), time.monotonic() + 120
    while len(found) < count and time.monotonic() < end:
        message = consumer.poll(1)
        if message is not None and message.error() is None:
            found.append(message)
    consumer.close()
    assert len(found) == count
    return found


def run(name: str) -> None:
    """Run one of the specs to its end."""
    done = CliRunner().invoke(main, ["run", f"{name}.yaml", "--json"])
    assert done.exit_code == 0, done.output


def made(folder: Path, name: str) -> list[tuple[Any, ...]]:
    """The rows that a spec made."""
    columns = "id, name, amount, note, seen, day, ok, ref, doc, x, stamped, raw, __op"
    with closing(sqlite3.connect(folder / f"{name}.sqlite")) as file:
        return file.execute(f"select {columns} from t order by id").fetchall()


def rejected(folder: Path, name: str) -> list[tuple[str, str]]:
    """Why a spec rejected records, and of which column."""
    files = (folder / f"{name}-rejected").rglob("*.jsonl")
    lines = [json.loads(line) for each in sorted(files) for line in each.read_text().splitlines()]
    return [(line["reason"], line["column"]) for line in lines]


def test_debezium_and_the_embedded_reader_make_the_same_table(
    database: str, kafka: KafkaBroker, connect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = database.rpartition("/")[2]
    topic = f"{name}.public.t"
    embedded = EMBEDDED.format(url=database, slot=f"{name}_embedded") + ENDS.format("embedded")
    Path("embedded.yaml").write_text(embedded)
    Path("debezium.yaml").write_text(DEBEZIUM.format(broker=kafka.address, topic=topic) + ENDS.format("debezium"))
    with psycopg.connect(database, autocommit=True) as server:
        server.execute(TABLE)
        server.execute("alter table t alter note set storage external")
        server.execute(
            """insert into t values
            (1, 'one', 1.50, repeat('n', 5000), '2024-02-29 12:00:00.123456+00', '2024-02-29', true,
             '00000000-0000-0000-0000-000000000001', '{"a": [1, null, "ü"]}', 0.1, '1969-12-31 23:59:59.999999', '\\x00ff'),
            (2, 'two', null, null, null, null, null, null, null, null, null, null),
            (3, '', -99999.99, '', '0001-01-01 00:00:00+00', '9999-12-31', false, null, '[]', -0.0, '9999-12-31 00:00:00', ''),
            (4, 'goes', 0, 'x', now(), now(), true, null, 'null', 1e300, now(), null)"""
        )
        run("embedded")
        follow(connect, database)
        waited_for(kafka, topic, 4)
        server.execute("insert into t (id, name, amount) values (5, 'five', 5.05), (6, 'six', null)")
        server.execute("update t set name = 'drei', amount = amount + 1 where id = 3")
        server.execute("update t set id = 20 where id = 2")
        server.execute("delete from t where id = 4")
        with server.transaction():
            server.execute("update t set name = 'first' where id = 6")
            server.execute("update t set name = 'second', doc = '{\"b\": 1.50}' where id = 6")
        # Its large value stays as it is, and is not in the log.
        server.execute("update t set name = 'uno' where id = 1")
        server.execute("update t set amount = 7 where id = 5")
        server.execute("delete from t where id = 5")
        server.execute("insert into t (id, name) values (5, 'again')")
        # Three of them have a message without a value behind them.
        waited_for(kafka, topic, 4 + 2 + 1 + 3 + 2 + 2 + 1 + 1 + 2 + 1)
    run("embedded")
    run("debezium")
    found = made(tmp_path, "embedded")
    assert [(row[0], row[1]) for row in found] == [(1, "one"), (3, "drei"), (5, "again"), (6, "second"), (20, "two")]
    assert made(tmp_path, "debezium") == found
    assert rejected(tmp_path, "embedded") == rejected(tmp_path, "debezium") == [("unchanged_value", "note")]
