"""The packaged streams run beside real servers: they send their samples, follow them, and publish what their pages promise."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

from beam_datahub.spec import content_folder
from tests.conftest import KafkaBroker, Server
from tests.unit.cli.conftest import Run
from tests.unit.io.http_endpoint import endpoint
from tests.unit.io.kafka_topics import Topic

pytestmark = [pytest.mark.prism, pytest.mark.usefixtures("recording")]

TEMPLATES = content_folder("templates")
Template = Callable[..., dict[str, Any]]
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def here(prism: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BEAM_DATAHUB_PRISM", prism)
    monkeypatch.setenv("BEAM_DATAHUB_STORE", str(tmp_path / "store.db"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def template(cli: Run, here: Path) -> Template:
    """A function that copies a template, which then publishes often, sends its sample, and runs it until it is idle."""

    def run(name: str, **parameters: str) -> dict[str, Any]:
        assert cli("templates", "copy", name, name).exit_code == 0
        spec = here / name / "integration.yaml"
        spec.write_text(spec.read_text().replace("commit_every: 5 s", "commit_every: 300ms"))
        fill = (here / name / "fill.yaml").read_text()
        sent = cli(
            "run", f"{name}/fill.yaml", *_set(**{key: value for key, value in parameters.items() if f"param.{key}" in fill})
        )
        assert sent.exit_code == 0, sent.output
        ran = cli("run", name, *_set(**parameters), "--until-idle", "--json")
        assert ran.exit_code == 0, ran.output
        found: dict[str, Any] = json.loads(ran.stdout)
        return found

    return run


def _set(**parameters: str) -> list[str]:
    return [word for key, value in parameters.items() for word in ("--set", f"{key}={value}")]


def _own(what: str) -> str:
    return f"{what}-{os.getpid()}-{next(_numbers)}"


def sample(name: str, file: str) -> list[dict[str, Any]]:
    """The messages of a sample that are JSON."""
    lines = (TEMPLATES / name / "data" / file).read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_the_orders_of_a_topic_lie_in_the_lake_by_day(template: Template, kafka: KafkaBroker, here: Path) -> None:
    found = template("kafka-to-lake", servers=kafka.address, topic=_own("orders"))
    assert (found["read"], found["rejected"]) == (64, 4)
    with duckdb.connect() as session:
        files = f"{here}/out/kafka-to-lake/orders/*/*.parquet"
        rows = session.execute(f"SELECT order_id, pieces, day::VARCHAR FROM read_parquet('{files}') ORDER BY 1").fetchall()
    given = [each for each in sample("kafka-to-lake", "orders.jsonl") if each["order_id"] < 900]
    pieces = {each["order_id"]: sum(item["quantity"] for item in each["items"]) for each in given}
    assert rows == [(each["order_id"], pieces[each["order_id"]], each["placed_at"][:10]) for each in given]


def test_the_views_of_each_full_minute_are_counted_by_page(template: Template, kafka: KafkaBroker) -> None:
    names = {name: _own(name) for name in ("views", "counts", "rejected")}
    template("kafka-per-minute", servers=kafka.address, **names)
    counts = Topic(kafka, name=names["counts"], make=False).messages()
    last = {message.key(): json.loads(message.value()) for message in counts}
    views = Counter(
        (each["viewed_at"][:16], each["page"]) for each in sample("kafka-per-minute", "views.jsonl") if each["milliseconds"] >= 0
    )
    # The fifth minute is not over, unless the topic was silent for a minute of the clock on the wall.
    found = {(each["window_start"][:16], each["page"]): each["views"] for each in last.values()}
    assert {key: count for key, count in found.items() if key[0] < "2025-06-01T12:04"} == {
        key: count for key, count in views.items() if key[0] < "2025-06-01T12:04"
    }
    letters = Topic(kafka, name=names["rejected"], make=False).values()
    assert sorted((each["step"], each["reason"]) for each in letters) == [("valid", "validation_failed"), ("views", "malformed")]


def test_one_command_sends_orders_two_ways_by_their_total(cli: Run, redis: Server) -> None:
    from redis import Redis

    names = {name: _own(name) for name in ("orders", "large", "others", "rejected")}
    where = _set(host=redis.host, port=str(redis.port), **names)
    ran = cli("templates", "run", "redis-routed", *where, "--until-idle")
    assert ran.exit_code == 0, ran.output
    with closing(Redis(redis.host, redis.port)) as client:
        streams: Any = {name: client.xrange(key) for name, key in names.items()}
    found = {name: [fields for _, fields in entries] for name, entries in streams.items()}
    totals = {each["order_id"]: float(each["total"]) for each in sample("redis-routed", "orders.jsonl") if each["order_id"] < 900}
    sent = {name: sorted(json.loads(each[b"order"])["order_id"] for each in found[name]) for name in ("large", "others")}
    assert sent["large"] == [order for order, total in totals.items() if total >= 1000]
    assert sent["others"] == [order for order, total in totals.items() if total < 1000]
    assert sorted(each[b"reason"].decode() for each in found["rejected"]) == ["malformed", "type_mismatch", "validation_failed"]


def test_the_orders_of_a_queue_reach_a_service_and_what_it_refuses_the_dead_letter(template: Template, redis: Server) -> None:
    from redis import Redis

    names = {name: _own(name) for name in ("orders", "rejected")}
    given = [each for each in sample("queue-to-http", "orders.jsonl") if each["order_id"] < 900]
    large = [each["order_id"] for each in given if float(each["total"]) >= 1000]
    others = [each["order_id"] for each in given if float(each["total"]) < 1000]
    bad = others[3]
    with endpoint() as service:
        service.answer = lambda each: (
            503 if len(service.sent) == 1 else (422, "no such customer") if f'"order_id":{bad},'.encode() in each.body else 200
        )
        found = template("queue-to-http", host=redis.host, port=str(redis.port), url=service.url, **names)
    puts = [each for each in service.taken if each.method == "PUT"]
    assert sorted(each.path for each in puts) == sorted(f"/large-orders/{order}" for order in large)
    posts = [order["order_id"] for each in service.taken if each.method == "POST" for order in each.json["orders"]]
    assert sorted(posts) == sorted({*others} - {bad})
    with closing(Redis(redis.host, redis.port)) as client:
        entries: Any = client.xrange(names["rejected"])
    letters = {fields[b"reason"].decode(): fields for _, fields in entries}
    assert sorted(letters) == ["malformed", "refused", "type_mismatch", "validation_failed"]
    assert letters["refused"][b"message"] == b"the service answers 422 Unprocessable Entity: no such customer"
    assert json.loads(letters["refused"][b"original"])["order_id"] == bad
    assert (found["read"], found["rejected"]) == (43, 4)
    assert {step: each["rows"] for step, each in found["written"].items()} == {
        "large": len(large),
        "others": len(others) - 1,
        "dead_letter": 4,
    }
    assert found["books"]["others"]["in"] == found["written"]["others"]["rows"] + found["books"]["others"]["rejected"]


def test_an_export_and_a_topic_become_one_table_of_newest_states(template: Template, kafka: KafkaBroker, here: Path) -> None:
    template("backfill-and-follow", servers=kafka.address, topic=_own("changes"))
    with closing(sqlite3.connect(here / "out" / "backfill-and-follow" / "shop.sqlite")) as database:
        rows = database.execute("select order_id, status, cast(total as real) from orders").fetchall()
    found = {order: (status, total) for order, status, total in rows}
    assert sorted(found) == [*range(1, 31), *range(41, 53)]
    assert found[3] == ("shipped", 30.0)
    assert found[30] != ("paid", 1.0)


def test_what_no_stream_is_ends_by_itself(cli: Run) -> None:
    assert cli("templates", "run", "legacy", "--until-idle").exit_code == 2
    assert cli("templates", "legacy", "--until-idle").exit_code == 2
