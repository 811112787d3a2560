"""The packaged integrations give what one DuckDB query over the same files gives, and reject just what was planted."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from beam_datahub.runtime.launch import RunResult
from beam_datahub.spec import content_folder, load
from beam_datahub.testing import oracle
from beam_datahub.testing.expectations import run_tests

TEMPLATES = content_folder("templates")

_ORDERS = """
WITH typed AS (
    SELECT try_cast(order_id AS BIGINT) AS order_id, try_cast(customer_id AS BIGINT) AS customer_id, lower(trim(email)) AS email,
           status, item, try_cast(quantity AS INTEGER) AS quantity, try_cast(amount AS DECIMAL(12,2)) AS price,
           try_cast(ordered_at AS TIMESTAMP) AS placed_at, CAST(updated_at AS TIMESTAMP) AS updated_at,
           regexp_replace(note, '\\s+', ' ', 'g') AS note
    FROM read_csv('{folder}/data/orders/*.csv', all_varchar = true, header = true, delim = ',', quote = '"', escape = '"',
                  nullstr = ['', 'NULL', 'N/A'], ignore_errors = true, union_by_name = true)
), customers AS (
    SELECT id, any_value(name) AS name, any_value(country) AS country, any_value(tier) AS tier, any_value(address.city) AS city
    FROM read_json('{folder}/data/customers.jsonl', format = 'newline_delimited', ignore_errors = true)
    WHERE id IS NOT NULL GROUP BY id HAVING count(*) = 1
), latest AS (
    SELECT typed.*, name, country, tier, city FROM typed JOIN customers ON customer_id = id
    WHERE order_id IS NOT NULL AND quantity >= 1 AND price >= 0 AND placed_at IS NOT NULL
      AND regexp_matches(email, '^[^@\\s]+@[^@\\s]+\\.[a-z]+$') AND status IN ('pending', 'paid', 'shipped', 'cancelled')
    QUALIFY row_number() OVER (PARTITION BY order_id ORDER BY updated_at DESC) = 1
), rows AS (
    SELECT order_id, customer_id, name, email, country, item, quantity, price, placed_at, city, coalesce(tier, 'none') AS tier,
           price * quantity AS total, note
    FROM latest WHERE status IN ('paid', 'shipped')
)
"""
# Counting the notes makes DuckDB read them: else it would not see the lines whose notes are in another encoding.
_DAYS = """SELECT country, CAST(placed_at AS DATE) AS day, count(*) + 0 * count(note) AS orders,
                  count(DISTINCT customer_id) AS customers, sum(total) AS revenue FROM rows GROUP BY ALL"""
_EVENTS = """
WITH lines AS (
    SELECT content AS line
    FROM (SELECT unnest(string_split(replace(content, '\r', ''), chr(10))) AS content FROM read_text('{folder}/data/*.jsonl'))
    WHERE json_valid(content) AND json_type(content) = 'OBJECT'
), read AS (
    SELECT line ->> '$.id' AS id, line ->> '$.type' AS type, try_cast(line ->> '$.created_at' AS TIMESTAMPTZ) AS created_at,
           try_cast(line ->> '$.attempt' AS INTEGER) AS attempt, CAST(line ->> '$.account.id' AS BIGINT) AS account_id,
           line ->> '$.actor.email' AS email,
           try_cast(line -> '$.items' AS STRUCT(sku VARCHAR, quantity INTEGER, price DECIMAL(10,2))[]) AS items,
           line -> '$.data' AS data
    FROM lines
    WHERE (line -> '$.items') IS NULL OR TRY(json_transform_strict(line -> '$.items', '[{"quantity": "INTEGER"}]')) IS NOT NULL
), once AS (
    SELECT * FROM read
    WHERE id LIKE 'evt~_%' ESCAPE '~' AND type IS NOT NULL AND created_at >= '2020-01-01 00:00:00Z'
      AND attempt IS NOT NULL AND email LIKE '%_@_%._%'
    QUALIFY row_number() OVER (PARTITION BY id ORDER BY attempt DESC) = 1
)
"""
_LINES = """SELECT id AS event_id, CAST(data ->> '$.order.number' AS BIGINT) AS order_number, account_id,
                   left(email, if(position('@' IN email) > 3, 2, 0)) || '***@' || split_part(email, '@', 2) AS actor_email,
                   line,
                   item.sku AS sku, item.quantity AS quantity, item.quantity * item.price AS total,
                   coalesce(CAST(data ->> '$.order.gift' AS BOOLEAN), false) AS gift,
                   CAST(created_at AS DATE) AS day
            FROM (SELECT *, unnest(items) AS item, generate_subscripts(items, 1) AS line FROM once WHERE type LIKE 'order.%')"""
_PAYMENTS = """SELECT id AS event_id, strftime(created_at, '%Y-%m-%dT%H:%M:%SZ') AS at, account_id,
                      type = 'payment.succeeded' AS succeeded, CAST(data ->> '$.payment.amount' AS DECIMAL(12,2)) AS amount,
                      data ->> '$.payment.currency' AS currency,
                      repeat('*', 12) || right(data ->> '$.payment.card.number', 4) AS card,
                      data ->> '$.payment.error.code' AS error,
                      len(from_json(data -> '$.payment.error.detail', '["json"]')) AS tries
               FROM once
               WHERE type LIKE 'payment.%' AND try_cast(data ->> '$.payment.amount' AS DECIMAL(12,2)) IS NOT NULL"""


def run(name: str, folder: Path, **parameters: Any) -> RunResult:
    return oracle.run_spec(TEMPLATES / name / "integration.yaml", {"output": str(folder), **parameters})


def expected(name: str, given: str, query: str) -> Any:
    return oracle.query(given.replace("{folder}", str(TEMPLATES / name)) + query)


def dead_letter(result: RunResult) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for file in result.written["dead_letter"]["locations"]
        for line in Path(file).read_text("utf-8").splitlines()
    ]


def accounted(result: RunResult) -> None:
    """What was read is what was written, filtered, rejected or merged away; each step says so by itself."""
    sinks = set(result.written)
    for step, line in result.books.items():
        came, went = line["read"] + line["in"] + line["added"], line["out"] + line["filtered"] + line["rejected"] + line["merged"]
        assert came == went or step in sinks or step == "kind", step
        if step in sinks:
            assert line["in"] == result.written[step]["rows"], step


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return run("orders", tmp_path_factory.mktemp("orders"))


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return run("events", tmp_path_factory.mktemp("events"))


def test_the_orders_are_those_of_one_query(orders: RunResult) -> None:
    assert oracle.differences(oracle.written(orders, "order_rows"), expected("orders", _ORDERS, "FROM rows")) == ""
    assert oracle.differences(oracle.written(orders, "daily_revenue"), expected("orders", _ORDERS, _DAYS)) == ""


def test_the_orders_reject_just_what_was_planted(orders: RunResult) -> None:
    assert oracle.reasons(orders) == {
        ("orders", "encoding"): 3,
        ("orders", "ragged"): 4,
        ("orders", "type_mismatch"): 3,
        ("customers", "malformed"): 1,
        ("clean", "cast_failed"): 8,
        ("valid", "validation_failed"): 11,
        ("with_customer", "missing_reference"): 6,
        ("with_customer", "ambiguous_reference"): 2,
    }
    letters = dead_letter(orders)
    assert Counter((letter["step"], letter["reason"]) for letter in letters) == oracle.reasons(orders)
    assert Counter(letter["column"] for letter in letters if letter["step"] in ("clean", "valid")) == {
        "price": 5,
        "placed_at": 3,
        "quantity": 3,
        "email": 5,
        "status": 3,
    }
    assert orders.drifted == [{"source": "orders", "column": "coupon"}]
    assert orders.status == "completed_with_errors"


def test_every_rejected_order_names_the_line_that_it_stands_on(orders: RunResult) -> None:
    for letter in dead_letter(orders):
        lines = Path(letter["file"]).read_bytes().split(b"\n")
        line = lines[letter["line"] - 1].decode("utf-8", "replace").strip()
        if letter["reason"] in ("encoding", "ragged", "malformed"):
            assert letter["original"].splitlines()[0][:40] == line[:40]
        else:
            assert line.startswith(f"{json.loads(letter['original'])['order_id']},")


def test_the_books_of_the_orders_balance(orders: RunResult) -> None:
    accounted(orders)
    assert orders.read == 342 + 62
    assert orders.books["latest"]["merged"] == 11


def test_the_events_are_those_of_one_query(events: RunResult) -> None:
    assert oracle.differences(oracle.written(events, "order_rows"), expected("events", _EVENTS, _LINES)) == ""
    payments = oracle.written(events, "payment_rows").to_pylist()
    wanted = {row["event_id"]: row for row in expected("events", _EVENTS, _PAYMENTS).to_pylist()}
    assert len(payments) == len(wanted) == 40
    for row in payments:
        row = {
            **row,
            "at": f"{row['at']:%Y-%m-%dT%H:%M:%SZ}",
            "amount": round(float(row["amount"]), 2),
            "tries": len(row["tries"]),
        }
        other = wanted[row["event_id"]]
        assert row == {**other, "amount": float(other["amount"]), "tries": other["tries"] or 0}


def test_the_events_reject_just_what_was_planted(events: RunResult) -> None:
    assert oracle.reasons(events) == {
        ("deliveries", "malformed"): 4,
        ("deliveries", "type_mismatch"): 3,
        ("valid", "validation_failed"): 5,
        ("payment_fields", "cast_failed"): 2,
    }
    assert events.drifted == [{"source": "deliveries", "column": "trace"}]


def test_the_books_of_the_events_balance(events: RunResult) -> None:
    accounted(events)
    assert events.books["once"]["merged"] == 9
    routed = events.books["kind"]
    taken = [events.books[step]["in"] for step in ("lines", "payment_fields", "other_rows")]
    assert routed["in"] == sum(taken)


def test_no_personal_data_is_in_the_outputs_of_the_events(events: RunResult) -> None:
    for name in ("payment_rows", "other_rows"):
        text = "".join(Path(file).read_text("utf-8") for file in events.written[name]["locations"])
        assert "Tanaka" not in text
        assert "keiko@" not in text
        assert "4000" not in text


def test_a_template_writes_beside_the_caller_and_not_beside_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(TEMPLATES.rglob("*"))
    monkeypatch.chdir(tmp_path)
    oracle.run_spec(TEMPLATES / "orders" / "integration.yaml")
    assert (tmp_path / "out" / "orders" / "daily_revenue.csv").is_file()
    assert sorted(TEMPLATES.rglob("*")) == before


@pytest.mark.parametrize("name", sorted(folder.name for folder in TEMPLATES.iterdir() if folder.is_dir()))
def test_the_tests_that_a_template_carries_hold(name: str) -> None:
    outcomes = run_tests(load(TEMPLATES / name / "integration.yaml"))
    assert outcomes
    assert [outcome.problems for outcome in outcomes if outcome.problems] == []
