"""What a user can rely on when records are sent to an HTTP service."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from beam_datahub.component.registry import component
from beam_datahub.component.returned import read_returned
from beam_datahub.component.sink import Committed, Receipt, Sink, WriteRequest
from beam_datahub.errors import AccessDenied, DataHubError, InvalidValue, LossyWrite, TargetUnusable, Transient, UnknownColumn
from beam_datahub.security import Reference, Secret
from beam_datahub.security.secret import known
from beam_datahub.testing.connectors import stage
from tests.unit.io.http_endpoint import Endpoint, Sent, endpoint
from tests.unit.io.test_database_tls import Authority

SCHEMA = pa.schema([("n", pa.int64()), ("name", pa.string())])
# Pauses that no test waits for.
SOON = {"initial_interval": 0.001, "max_interval": 0.002}


@pytest.fixture
def service() -> Iterator[Endpoint]:
    with endpoint() as found:
        yield found


def sink(url: str, folder: Path, connection: dict[str, Any] | None = None, **options: Any) -> Sink:
    kind: Any = component("sink", "http")
    reach = kind.Connection.model_validate({"url": url, "staging": str(folder), **(connection or {})})
    options["retry"] = {"backoff": SOON, **options.get("retry", {})}
    made: Sink = kind(reach, kind.Options.model_validate(options))
    return made


def rows(*numbers: int) -> pa.Table:
    return pa.table([list(numbers), [f"row {n}" for n in numbers]], schema=SCHEMA)


def staged(target: Sink, *tables: pa.Table, run: str = "run1") -> tuple[WriteRequest, list[Receipt]]:
    request = WriteRequest(run, "out", tables[0].schema)
    target.plan_write(request)
    target.prepare(request)
    return request, stage(target, request, tables)


def sent(target: Sink, *tables: pa.Table, run: str = "run1") -> Committed:
    return target.commit(*staged(target, *tables, run=run))


def given_back(done: Committed) -> list[dict[str, Any]]:
    """The records that came back, with what is said of them."""
    if done.returned is None:
        return []
    return [
        {**record, **said}
        for table, found in read_returned(done.returned.location)
        for record, said in zip(table.to_pylist(), found.to_pylist(), strict=True)
    ]


def refuses(*numbers: int, status: int = 422, text: str = '{"error": "bad"}') -> Any:
    """What a service answers that does not take requests with one of these records."""
    marks = [f'"n":{n},'.encode() for n in numbers]
    return lambda each: (status, text) if any(mark in each.body for mark in marks) else 200


def test_each_record_is_a_request_at_the_address_that_it_makes(service: Endpoint, tmp_path: Path) -> None:
    target = sink(
        f"{service.url}/v1/",
        tmp_path,
        {"headers": {"X-Shop": "7"}},
        path="orders/{name}/lines?n={n}",
        method="PUT",
        concurrency=1,
    )
    done = sent(target, pa.table({"n": [1, 2], "name": ["a/b c?", "é{n}"]}, schema=SCHEMA))
    assert [(each.method, each.path) for each in service.taken] == [
        ("PUT", "/v1/orders/a%2Fb%20c%3F/lines?n=1"),
        ("PUT", "/v1/orders/%C3%A9%7Bn%7D/lines?n=2"),
    ]
    assert [each.json for each in service.taken] == [{"n": 1, "name": "a/b c?"}, {"n": 2, "name": "é{n}"}]
    assert {each.headers["content-type"] for each in service.taken} == {"application/json"}
    assert {each.headers["x-shop"] for each in service.taken} == {"7"}
    assert len({each.key for each in service.taken}) == 2
    assert (done.rows, done.locations) == (2, (f"{service.url}/v1/orders/{{name}}/lines?n={{n}}",))


def test_a_record_that_makes_no_address_is_refused_before_anything_is_sent(service: Endpoint, tmp_path: Path) -> None:
    target = sink(service.url, tmp_path, path="orders/{name}")
    request = WriteRequest("run1", "out", SCHEMA)
    target.prepare(request)
    writer = target.open(request)
    table = pa.table({"n": [1, 2, 3, 4], "name": ["a", None, "", ".."]}, schema=SCHEMA)
    found = writer.write(table.to_batches()[0])
    assert found is not None
    assert [(each["row"], each["column"]) for each in found.to_pylist()] == [(1, "name"), (2, "name"), (3, "name")]
    assert target.commit(request, writer.close()).rows == 1
    assert [each.path for each in service.sent] == ["/orders/a"]


@pytest.mark.parametrize(
    ("options", "bodies"),
    [
        ({"format": "array", "batch_rows": 2}, ['[{"n":1,"name":"row 1"},{"n":2,"name":"row 2"}]', '[{"n":3,"name":"row 3"}]']),
        ({"format": "array", "envelope": "rows", "leave_out": ["name"]}, ['{"rows":[{"n":1},{"n":2},{"n":3}]}']),
        ({"format": "json", "envelope": "row", "leave_out": ["name"]}, ['{"row":{"n":1}}', '{"row":{"n":2}}', '{"row":{"n":3}}']),
        ({"format": "ndjson", "leave_out": ["name"], "batch_bytes": 16}, ['{"n":1}\n{"n":2}\n', '{"n":3}\n']),
        ({"format": "none", "method": "DELETE", "path": "{n}"}, ["", "", ""]),
    ],
)
def test_a_body_is_what_the_format_says(service: Endpoint, tmp_path: Path, options: dict[str, Any], bodies: list[str]) -> None:
    # Records of several bundles share a request.
    sent(sink(service.url, tmp_path, concurrency=1, **options), rows(1), rows(2, 3))
    assert [each.body.decode() for each in service.taken] == bodies


def test_the_bad_records_of_a_batch_come_back_and_the_others_arrive_once(service: Endpoint, tmp_path: Path) -> None:
    service.answer = refuses(13, 77, text='{"error":\n\x1b[31m"bad"}')
    target = sink(service.url, tmp_path, format="array", batch_rows=50)
    done = sent(target, rows(*range(100)))
    assert done.rows == 98
    arrived = Counter(row["n"] for each in service.taken for row in each.json)
    assert arrived == Counter(set(range(100)) - {13, 77})
    assert len(service.sent) < 40
    found = given_back(done)
    assert [(each["n"], each["reason"], each["attempts"]) for each in found] == [(13, "refused", 1), (77, "refused", 1)]
    assert found[0]["message"] == 'the service answers 422 Unprocessable Entity: {"error": [31m"bad"}'


def test_a_request_is_sent_again_while_the_service_fails(service: Endpoint, tmp_path: Path) -> None:
    tries: Counter[str] = Counter()

    def answer(each: Sent) -> int:
        tries[each.key] += 1
        return (200, 503, 408, 425, 500)[tries[each.key]] if tries[each.key] < 5 else 200

    service.answer = answer
    assert sent(sink(service.url, tmp_path), rows(1, 2, 3)).rows == 3
    assert set(tries.values()) == {5}
    assert sorted(each.json["n"] for each in service.taken) == [1, 2, 3]


def test_a_record_that_a_service_fails_on_comes_back_when_its_attempts_are_used_up(service: Endpoint, tmp_path: Path) -> None:
    service.answer = refuses(2, status=500)
    done = sent(sink(service.url, tmp_path, retry={"attempts": 3}), rows(1, 2, 3))
    assert (done.rows, done.returned and dict(done.returned.reasons)) == (2, {"undelivered": 1})
    (found,) = given_back(done)
    assert (found["n"], found["attempts"]) == (2, 3)
    assert found["message"] == 'the service answers 500 Internal Server Error: {"error": "bad"} (attempt 3 of 3)'


def test_a_service_that_wants_to_be_left_alone_is(service: Endpoint, tmp_path: Path) -> None:
    moments: list[float] = []

    def answer(_: Sent) -> Any:
        moments.append(time.monotonic())
        return (429, "", {"Retry-After": "3600"}) if len(moments) == 1 else 200

    service.answer = answer
    assert sent(sink(service.url, tmp_path, retry={"longest_wait": "300 ms"}), rows(1)).rows == 1
    assert moments[1] - moments[0] >= 0.29


@pytest.mark.parametrize("form", ["seconds", "moment", "nonsense"])
def test_a_retry_after_is_read_in_all_of_its_forms(service: Endpoint, tmp_path: Path, form: str) -> None:
    moment = datetime.now(UTC) + timedelta(hours=1)
    text = {"seconds": "7", "moment": format_datetime(moment, usegmt=True), "nonsense": "soon"}[form]
    service.answer = lambda _: (503, "", {"Retry-After": text})
    target: Any = sink(service.url, tmp_path)
    with target.connection.client() as client:
        answer = client.send("POST", service.url, b"{}", {}, fixed=True)
    low, high = {"seconds": (7, 7), "moment": (3000, 3600), "nonsense": (0, 0)}[form]
    assert low <= answer.wait <= high


def test_a_service_that_does_not_answer_one_record_in_time_gets_the_others(service: Endpoint, tmp_path: Path) -> None:
    over = threading.Event()

    def answer(each: Sent) -> int:
        over.wait(60)
        return 200

    service.answer = answer
    done = sent(sink(service.url, tmp_path, {"timeout_seconds": 0.2}, retry={"attempts": 2}), rows(1))
    over.set()
    assert done.rows == 0
    assert [each["message"] for each in given_back(done)] == ["there was no answer within 0.2 seconds (attempt 2 of 2)"]


def test_many_failures_in_a_row_are_an_outage_and_reject_nothing(service: Endpoint, tmp_path: Path) -> None:
    service.answer = lambda _: 503
    target = sink(service.url, tmp_path, retry={"attempts": 2, "outage_after": 4}, concurrency=1)
    request, receipts = staged(target, rows(*range(20)))
    with pytest.raises(Transient, match="answers 503"):
        target.commit(request, receipts)
    assert len(service.sent) == 8
    service.answer = lambda _: 200
    done = target.commit(request, receipts)
    assert (done.rows, done.returned) == (20, None)
    assert sorted(each.json["n"] for each in service.taken) == list(range(20))


def test_a_service_that_is_away_fails_the_run_and_gets_everything_later(service: Endpoint, tmp_path: Path) -> None:
    target = sink(service.url, tmp_path, retry={"attempts": 2})
    request, receipts = staged(target, rows(1, 2, 3))
    service.stop()
    with pytest.raises(Transient, match="there is no connection") as error:
        target.commit(request, receipts)
    assert error.value.hint is not None
    assert "url" in error.value.hint
    service.start()
    assert target.commit(request, receipts).rows == 3
    assert sorted(each.json["n"] for each in service.taken) == [1, 2, 3]


def test_a_service_that_is_started_again_in_the_middle_gets_each_record(service: Endpoint, tmp_path: Path) -> None:
    gone = threading.Event()

    def answer(_: Sent) -> int:
        if len(service.sent) == 10:
            gone.set()
        return 200

    def restart() -> None:
        gone.wait(60)
        service.stop()
        service.start()

    service.answer = answer
    thread = threading.Thread(target=restart)
    thread.start()
    slow = {"attempts": 100, "backoff": {"initial_interval": 0.02, "max_interval": 1.0, "multiplier": 1.5}}
    done = sent(sink(service.url, tmp_path, retry=slow), rows(*range(60)))
    thread.join()
    assert (done.rows, done.returned) == (60, None)
    keys: dict[int, set[str]] = {}
    for each in service.sent:
        keys.setdefault(each.json["n"], set()).add(each.key)
    # What was on its way is sent again, and known by the same key.
    assert sorted(keys) == list(range(60))
    assert all(len(each) == 1 for each in keys.values())


@pytest.mark.parametrize(
    ("status", "kind", "hint"),
    [
        (401, AccessDenied, "the service wants a login"),
        (403, AccessDenied, "look at its rights"),
        (404, TargetUnusable, "look at `url` and `path`"),
        (405, TargetUnusable, "look at `method`"),
        (415, TargetUnusable, "look at `format`"),
        (301, TargetUnusable, "write that one as `url`"),
    ],
)
def test_what_is_no_records_fault_fails_the_run_at_once(
    service: Endpoint, tmp_path: Path, status: int, kind: type[DataHubError], hint: str
) -> None:
    service.answer = lambda _: (status, "", {"Location": "https://elsewhere.example.com/"})
    target = sink(service.url, tmp_path, concurrency=2)
    request, receipts = staged(target, rows(*range(1000)))
    with pytest.raises(kind, match=str(status)) as error:
        target.commit(request, receipts)
    assert hint in str(error.value.hint)
    assert len(service.sent) <= 2


def test_a_place_of_its_own_that_is_not_there_rejects_just_that_record(service: Endpoint, tmp_path: Path) -> None:
    service.answer = lambda each: (404, "no such order") if each.path == "/orders/2" else 200
    done = sent(sink(service.url, tmp_path, path="orders/{n}", method="PATCH"), rows(1, 2, 3))
    assert [(each["n"], each["message"]) for each in given_back(done)] == [
        (2, "the service answers 404 Not Found: no such order")
    ]


def test_a_commit_that_broke_off_goes_on_where_it_was_with_the_same_keys(service: Endpoint, tmp_path: Path) -> None:
    service.answer = lambda each: 401 if each.json["n"] == 70 else refuses(3)(each)
    target = sink(service.url, tmp_path, concurrency=1)
    request, receipts = staged(target, rows(*range(100)))
    with pytest.raises(AccessDenied):
        target.commit(request, receipts)
    first = {each.json["n"]: each.key for each in service.sent}
    service.answer, service.sent = refuses(3), []
    done = target.commit(request, receipts)
    again = {each.json["n"]: each.key for each in service.sent}
    assert sorted({each.json["n"] for each in service.taken}) == sorted(set(range(100)) - {3})
    assert 0 < min(again) <= 70
    assert {n: key for n, key in again.items() if n in first} == {n: key for n, key in first.items() if n in again}
    assert (done.rows, [each["n"] for each in given_back(done)]) == (99, [3])
    # Once it is through, nothing is sent any more.
    service.sent = []
    assert target.commit(request, receipts) == done
    assert service.sent == []


def test_requests_of_two_runs_have_other_keys_unless_the_content_makes_them(service: Endpoint, tmp_path: Path) -> None:
    for run in ("run1", "run2"):
        sent(sink(service.url, tmp_path), rows(1, 2), run=run)
    assert len({each.key for each in service.taken}) == 4
    service.taken = []
    for run in ("run3", "run4"):
        sent(sink(service.url, tmp_path, idempotency="content"), rows(1, 2), run=run)
    assert Counter(Counter(each.key for each in service.taken).values()) == Counter({2: 2})
    service.taken = []
    sent(sink(service.url, tmp_path, idempotency_header=None), rows(1), run="run5")
    assert "idempotency-key" not in service.taken[0].headers


def test_each_epoch_of_a_stream_is_sent_by_itself(service: Endpoint, tmp_path: Path) -> None:
    service.answer = refuses(4)
    target = sink(service.url, tmp_path)
    request, first = staged(target, rows(1, 2))
    second = stage(target, request, [rows(3, 4)])
    assert target.commit(replace(request, epoch=1), first).rows == 2
    done = target.commit(replace(request, epoch=2), second)
    assert (done.rows, [each["n"] for each in given_back(done)]) == (1, [4])
    assert sorted(each.json["n"] for each in service.taken) == [1, 2, 3]
    target.abort(request)
    assert [path for path in tmp_path.rglob("*") if "staging" in path.parts] == []


TOKEN = Secret(["t0ken"], "t0ken")
LOGINS: list[tuple[dict[str, Any], str, str]] = [
    ({"type": "bearer", "token": TOKEN}, "authorization", "Bearer t0ken"),
    ({"type": "api_key", "header": "X-API-Key", "token": TOKEN}, "x-api-key", "t0ken"),
    ({"type": "basic", "user": "ada", "password": TOKEN}, "authorization", "Basic YWRhOnQwa2Vu"),
]


@pytest.mark.parametrize(("login", "header", "value"), LOGINS, ids=[login["type"] for login, _, _ in LOGINS])
def test_a_login_reaches_the_service_and_nothing_else(
    service: Endpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture, login: dict[str, Any], header: str, value: str
) -> None:
    caplog.set_level("DEBUG")
    # What a provider gives is known for redaction.
    known.add("t0ken")
    target = sink(service.url, tmp_path, {"auth": login})
    sent(target, rows(1))
    assert service.taken[0].headers[header] == value
    service.answer = lambda each: (401, f"no {each.headers[header]}")
    with pytest.raises(AccessDenied) as error:
        sent(target, rows(1), run="run2")
    service.answer = lambda each: (422, f"no {each.headers[header]}")
    back = given_back(sent(target, rows(1), run="run3"))
    service.answer = lambda _: 401
    (found,) = target.check().findings
    assert not found.fine
    assert "`auth`" in str(found.hint)
    told = f"{target.connection!r} {found} {error.value} {back}" + caplog.text + "".join(map(str, tmp_path.rglob("*")))
    assert "t0ken" not in told
    assert "YWRhOnQwa2Vu" not in told


def test_tokens_are_given_out_for_client_credentials_and_anew_when_taken_back(service: Endpoint, tmp_path: Path) -> None:
    given: list[str] = []
    good = {"token-1"}

    def answer(each: Sent) -> Any:
        if each.path == "/token":
            given.append(each.body.decode())
            return 200, json.dumps({"access_token": f"token-{len(given)}", "token_type": "Bearer", "expires_in": 3600})
        return 200 if each.headers["authorization"].removeprefix("Bearer ") in good else 401

    service.answer = answer
    login = {
        "type": "oauth2",
        "token_url": f"{service.url}/token",
        "client_id": "hub",
        "client_secret": Secret(["s3"], "s3"),
        "scope": "orders",
    }
    target = sink(service.url, tmp_path, {"auth": login}, concurrency=1)
    assert sent(target, rows(1, 2, 3)).rows == 3
    assert len(given) == 1
    assert "grant_type=client_credentials" in given[0]
    assert "scope=orders" in given[0]
    good.clear()
    given.clear()
    good.add("token-2")
    assert sent(target, rows(4), run="run2").rows == 1
    good.clear()
    with pytest.raises(AccessDenied, match="401"):
        sent(target, rows(5), run="run3")


def test_a_token_that_is_not_given_out_says_what_to_look_at(service: Endpoint, tmp_path: Path) -> None:
    login = {"type": "oauth2", "token_url": f"{service.url}/token", "client_id": "hub", "client_secret": Secret(["s3"], "s3cr3t")}
    service.answer = lambda _: (401, '{"error": "invalid_client"}', {"Content-Type": "application/json"})
    target = sink(service.url, tmp_path, {"auth": login})
    (found,) = target.check().findings
    assert (found.fine, found.hint) == (False, "look at `client_id` and `client_secret`")
    assert "invalid_client" in found.detail
    for answer in (503, (200, "<html>")):
        service.answer = lambda _, answer=answer: answer  # type: ignore[misc]
        (found,) = target.check().findings
        assert not found.fine
        assert "s3cr3t" not in repr(found)


@pytest.mark.parametrize(
    ("status", "path", "fine"),
    [
        (200, None, True),
        (404, None, True),
        (501, None, True),
        (503, None, False),
        (401, None, False),
        (200, "health", True),
        (404, "health", False),
        (503, "health", False),
    ],
)
def test_checking_a_service_asks_and_sends_nothing(
    service: Endpoint, tmp_path: Path, status: int, path: str | None, fine: bool
) -> None:
    service.answer = lambda _: status
    target = sink(service.url, tmp_path, {"check_path": path} if path else None, path="orders")
    assert target.check().fine is fine
    assert [(each.method, each.path, each.body) for each in service.sent] == [
        ("GET", "/health", b"") if path else ("HEAD", "/", b"")
    ]


def test_a_service_is_trusted_by_its_certificate_alone(tmp_path: Path) -> None:
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    ours.sign("service", "localhost", 30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "service.crt", tmp_path / "service.key")
    with endpoint(context) as service:
        assert sent(sink(service.url, tmp_path, {"tls_ca": str(ours.path)}), rows(1)).rows == 1
        for tls in ({}, {"tls_ca": str(others.path)}):
            target = sink(service.url, tmp_path, tls, retry={"attempts": 1})
            with pytest.raises(AccessDenied, match="TLS failed") as error:
                sent(target, rows(1), run="run2")
            assert "`tls_ca`" in str(error.value.hint)
        assert len(service.sent) == 1


def test_a_service_that_speaks_no_tls_is_told_of(service: Endpoint, tmp_path: Path) -> None:
    target = sink(service.url.replace("http:", "https:"), tmp_path)
    with pytest.raises(AccessDenied, match="TLS failed") as error:
        sent(target, rows(1))
    assert error.value.hint == "does the service speak TLS there? look at `url`"


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"path": "orders/{nme}"}, UnknownColumn, "nme"),
        ({"path": "{n}", "format": "array"}, InvalidValue, "has many records"),
        ({"path": "a/../b"}, InvalidValue, r"`\.\.`"),
        ({"path": "{n"}, InvalidValue, "brace"),
        ({"path": "a b"}, InvalidValue, "sign"),
        ({"batch_rows": 3}, InvalidValue, "batch_rows"),
        ({"format": "ndjson", "envelope": "x"}, InvalidValue, "envelope"),
        ({"idempotency_header": None, "idempotency": "content"}, InvalidValue, "idempotency_header"),
        ({"leave_out": ["x"]}, UnknownColumn, "x"),
    ],
)
def test_what_could_not_be_sent_is_refused_before_anything_runs(
    tmp_path: Path, options: dict[str, Any], kind: type[DataHubError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        sink("http://127.0.0.1:1", tmp_path, **options).plan_write(WriteRequest("run1", "out", SCHEMA))


def test_a_nested_column_makes_no_address(tmp_path: Path) -> None:
    request = WriteRequest("run1", "out", pa.schema([("n", pa.list_(pa.int64()))]))
    with pytest.raises(LossyWrite):
        sink("http://127.0.0.1:1", tmp_path, path="{n}").plan_write(request)


@pytest.mark.parametrize(
    "connection",
    [
        {"url": "example.com/v1"},
        {"url": "ftp://example.com"},
        {"url": "https://ada:pw@example.com"},
        {"url": "https://example.com/?key=1"},
        {"headers": {"Authorization": "Bearer t0ken"}},
        {"headers": {"Host": "x"}},
        {"headers": {"a b": "x"}},
        {"auth": {"type": "bearer"}},
        {"auth": {"type": "bearer", "token": "t0ken"}},
        {"auth": {"type": "basic", "user": "ada"}},
        {"auth": {"type": "api_key", "token": Secret(["t"], "t"), "header": "x", "scope": "y"}},
        {"tls_key": "key.pem"},
        {"secret_path": "T0/s3cr3t"},
    ],
)
def test_a_connection_that_cannot_be_meant_is_refused(tmp_path: Path, connection: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        sink("https://example.com", tmp_path, connection)


def test_an_address_that_is_a_secret_is_shown_nowhere(service: Endpoint, tmp_path: Path) -> None:
    target = sink(f"{service.url}/services", tmp_path, {"secret_path": Secret([Reference("environment", "hook")], "T0/s3cr3t")})
    done = sent(target, rows(1))
    assert service.taken[0].path == "/services/T0/s3cr3t"
    assert done.locations == (f"{service.url}/services",)
    service.answer = lambda _: 404
    with pytest.raises(TargetUnusable) as error:
        sent(target, rows(1), run="run2")
    told = f"{error.value} {error.value.hint} {done} {target.datasets()} {target.check()} {sorted(tmp_path.rglob('*'))}"
    assert "s3cr3t" not in told


def test_a_secret_with_a_line_break_is_told_of_without_its_value(service: Endpoint, tmp_path: Path) -> None:
    secret = Secret(["t0ken\n"], "t0ken\n")
    for connection in ({"auth": {"type": "bearer", "token": secret}}, {"secret_path": secret}):
        with pytest.raises(InvalidValue, match="line break") as error:
            sent(sink(service.url, tmp_path, connection), rows(1))
        assert "t0ken" not in f"{error.value} {error.value.hint}"


def test_no_more_requests_are_sent_in_a_second_than_wanted(service: Endpoint, tmp_path: Path) -> None:
    moments: list[float] = []

    def answer(_: Sent) -> int:
        moments.append(time.monotonic())
        return 200

    service.answer = answer
    sent(sink(service.url, tmp_path, requests_per_second=10), rows(*range(21)))
    assert max(moments) - min(moments) >= 1.0
