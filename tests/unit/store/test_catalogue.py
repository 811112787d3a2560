"""What the store knows beside runs: schemas, lineage, profiles, named connections, the views, and who changed what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from beam_datahub.errors import Conflict, UnknownName
from beam_datahub.store.records import (
    Connection,
    LineageColumn,
    LineageDataset,
    NewRun,
    NewViolation,
    Profile,
    RunEnd,
    RunStatus,
    RunStep,
)
from beam_datahub.store.schema_records import SchemaReference
from beam_datahub.store.store import Store

ORDERS = LineageDataset("file", "/in/orders.csv", "input", "orders", {"id": "BIGINT", "total": "DOUBLE"}, {"connector": "csv"})
LAKE = LineageDataset("file", "/out/lake", "output", "lake", {"id": "BIGINT"})
BORN = LineageColumn(("file", "/in/orders.csv", "orders"), "id", ("file", "/out/lake", "lake"), "id", expression="id + 1")


def ended(store: Store, run_id: str, integration: str = "daily", status: RunStatus = "completed", **books: Any) -> None:
    store.writer.runs.begin(NewRun(run_id, integration))
    store.writer.runs.end(run_id, RunEnd(status, **books))


# subjects


def test_a_subject_counts_its_versions_and_the_same_schema_makes_no_new_one(store: Store) -> None:
    write, read = store.writer.subjects, store.reader.subjects
    first, new = write.register("orders", "avro", "one")
    assert (first.version, new, first.created_by) == (1, True, "ada@here")
    assert write.register("orders", "avro", "one")[1] is False
    second, _ = write.register("orders", "avro", "two", [SchemaReference("money.avsc", "money", 1)])
    shared, _ = write.register("refunds", "avro", "one")
    assert (second.version, shared.version, shared.id) == (2, 1, first.id)
    assert [(each.name, each.versions) for each in read.all()] == [("orders", (1, 2)), ("refunds", (1,))]
    assert read.version("orders").references == (SchemaReference("money.avsc", "money", 1),)
    assert read.text(first.id).text == "one"
    assert [each.subject for each in read.uses(first.id)] == ["orders", "refunds"]
    assert [(each.subject, each.version) for each in read.referenced_by("money", 1)] == [("orders", 2)]
    for unknown in ("ordesr", "money"):
        with pytest.raises(UnknownName):
            read.version(unknown)


def test_a_schema_that_was_compared_with_an_older_version_is_refused(store: Store) -> None:
    store.writer.subjects.register("orders", "json", "one", after=0)
    with pytest.raises(Conflict):
        store.writer.subjects.register("orders", "json", "two", after=0)
    assert store.writer.subjects.register("orders", "json", "two", after=1)[0].version == 2


def test_a_number_of_a_deleted_version_is_not_given_again(store: Store) -> None:
    write, read = store.writer.subjects, store.reader.subjects
    for text in ("one", "two"):
        write.register("orders", "json", text)
    assert write.delete("orders", 2) == [2]
    assert read.get("orders").versions == (1,)
    assert [each.version for each in read.versions("orders", deleted=True)] == [1, 2]
    assert write.register("orders", "json", "three")[0].version == 3
    assert write.delete("orders") == [1, 3]
    assert read.all() == []
    assert write.delete("orders", permanent=True) == [1, 2, 3]
    assert read.all(deleted=True) == []
    with pytest.raises(UnknownName):
        write.delete("orders")


def test_a_subject_keeps_to_its_own_level_or_to_that_of_all(store: Store) -> None:
    write, read = store.writer.subjects, store.reader.subjects
    write.register("orders", "json", "one")
    assert read.compatibility("orders") == "backward"
    write.set_compatibility(None, "full")
    write.set_compatibility("refunds", "none")
    assert [read.compatibility(name) for name in ("orders", "refunds", None)] == ["full", "none", "full"]
    write.set_compatibility("refunds", None)
    assert read.compatibility("refunds") == "full"


# lineage and profiles


def test_runs_of_the_same_plan_share_its_lineage(store: Store) -> None:
    for number in (1, 2):
        ended(store, f"run-{number}")
    first = store.writer.lineage.record("daily", [ORDERS, LAKE], [BORN], run_id="run-1")
    assert store.writer.lineage.record("daily", [ORDERS, LAKE], [BORN, BORN], run_id="run-2") == first
    graph = store.reader.lineage.of_run("run-2")
    assert graph is not None
    assert (graph.datasets, graph.columns) == ((ORDERS, LAKE), (BORN,))
    changed = store.writer.lineage.record("daily", [ORDERS], [])
    other = store.writer.lineage.record("hourly", [LAKE], [])
    assert [each.id for each in store.reader.lineage.newest()] == [changed, other]
    assert [each.id for each in store.reader.lineage.newest("daily")] == [changed]
    assert store.reader.lineage.of_run("run-9") is None


def test_lineage_that_names_what_is_not_there_leaves_nothing(store: Store) -> None:
    with pytest.raises(UnknownName, match="lake"):
        store.writer.lineage.record("daily", [ORDERS], [BORN])
    with pytest.raises(UnknownName, match="run-9"):
        store.writer.lineage.record("daily", [ORDERS, LAKE], [BORN], run_id="run-9")
    assert store.reader.lineage.newest() == []


def test_profiles_of_successful_runs_are_the_history_newest_first(store: Store) -> None:
    for number, status in enumerate(("completed", "failed", "completed_with_errors", "completed"), 1):
        ended(store, f"run-{number}", status=status)  # type: ignore[arg-type]
        found = [Profile("orders", name, "BIGINT", number, {"nulls": float("nan")}, b"\0\xff") for name in ("id", "total")]
        store.writer.profiles.add(f"run-{number}", found)
    history = store.reader.profiles.history("daily", "orders", "id", before="run-4")
    assert [(each.run_id, each.rows, each.sketch) for each in history] == [("run-3", 3, None), ("run-1", 1, None)]
    assert [each.run_id for each in store.reader.profiles.history("daily", "orders", "id", runs_back=1)] == ["run-4"]
    assert len(store.reader.profiles.history("daily", "orders")) == 6
    (kept, _) = store.reader.profiles.of_run("run-1", sketches=True)
    assert (kept.sketch, kept.summary, kept.column) == (b"\0\xff", {"nulls": "NaN"}, "id")
    store.writer.profiles.add("run-1", [Profile("orders", "id", "BIGINT", 7, {})])
    assert [each.rows for each in store.reader.profiles.of_run("run-1")] == [7]
    with pytest.raises(UnknownName):
        store.writer.profiles.add("run-9", [])


# connections and the audit


def test_a_connection_is_changed_only_when_asked_to_and_forgets_its_test_then(store: Store) -> None:
    write, read = store.writer.connections, store.reader.connections
    made = write.put(Connection("crm", "postgresql", {"host": "a", "port": 5432}, {"password": "sealed-1"}, "customers"))
    assert (made.options, made.sealed, made.updated_by) == ({"host": "a", "port": 5432}, {"password": "sealed-1"}, "ada@here")
    with pytest.raises(Conflict, match="crm"):
        write.put(Connection("crm", "csv", {}))
    write.tested("crm", passed=False, message="refused")
    assert (read.get("crm").test_passed, read.get("crm").test_message) == (False, "refused")
    write.reseal("crm", {"password": "sealed-2"})
    assert (read.get("crm").sealed, read.get("crm").test_passed) == ({"password": "sealed-2"}, False)
    changed = write.put(Connection("crm", "postgresql", {"host": "b"}), replace=True)
    assert (changed.options, changed.sealed, changed.tested_at, changed.created_at) == ({"host": "b"}, {}, None, made.created_at)
    write.remove("crm")
    assert read.all() == []
    for call in (lambda: write.remove("crm"), lambda: write.reseal("crm", {}), lambda: read.get("crm")):
        with pytest.raises(UnknownName):
            call()


def test_the_audit_tells_the_newest_first_and_holds_no_value_of_an_option(store: Store) -> None:
    store.writer.connections.put(Connection("crm", "csv", {"path": "private"}, {"token": "sealed"}))
    store.writer.integrations.apply("daily", "one")
    ended(store, "run-1")
    entries = store.reader.journal.audit()
    assert [(each.action, each.kind, each.name) for each in entries] == [
        ("end", "run", "run-1"),
        ("begin", "run", "run-1"),
        ("apply", "integration", "daily"),
        ("put", "connection", "crm"),
    ]
    assert {each.who for each in entries} == {"ada@here"}
    assert entries[-1].details["options"] == ["path", "token"]
    assert "private" not in str(entries)
    assert len(store.reader.journal.audit(kind="run", limit=1)) == 1
    assert [each.kind for each in store.reader.journal.audit(name="crm")] == ["connection"]
    assert store.reader.journal.audit(since=datetime.now(UTC) + timedelta(hours=1)) == []


def test_text_that_no_database_holds_is_kept_as_near_as_can_be(store: Store) -> None:
    ended(store, "run-1", error={"code": "DH301", "reason": "a\0b \ud800"})
    numbers = store.writer.violations.add(
        "run-1", [NewViolation("no\0te", "validity", "orders", "low", "report", "\udfffé", details={"seen": "\0"})]
    )
    found = store.reader.violations.get(numbers[0])
    assert (found.rule, found.message, found.details) == ("no\ufffdte", "\ufffdé", {"seen": "\0"})
    error = store.reader.runs.get("run-1").error
    assert error is not None
    assert error["code"] == "DH301"


# the views


def test_the_health_of_an_integration_tells_since_when_it_fails(store: Store) -> None:
    store.writer.integrations.apply("quiet", "one")
    ended(store, "run-1", status="failed")
    ended(store, "run-2", read=10, rejected=1, seconds=2.0)
    ended(store, "run-3", status="completed_with_errors", read=20, rejected=3, seconds=4.0)
    for number in (4, 5):
        ended(store, f"run-{number}", status="failed", seconds=60.0)
    store.writer.runs.begin(NewRun("run-6", "daily"))
    first, second = store.writer.violations.add("run-3", [NewViolation("late", "freshness", "s", "low", "report", "m")] * 2)
    store.writer.violations.decide(first, "resolved")
    store.writer.violations.decide(second, "acknowledged")
    daily, quiet = store.reader.views.integration_health()
    assert (daily.runs, daily.completed, daily.completed_with_errors, daily.failed, daily.running) == (6, 1, 1, 3, 1)
    assert (daily.records_read, daily.records_rejected, daily.mean_seconds) == (30, 4, 3.0)
    assert (daily.last_run, daily.last_status, daily.failures_since_success, daily.open_violations) == ("run-6", "running", 2, 1)
    assert daily.last_success_at == store.reader.runs.get("run-3").started_at
    assert (quiet.integration, quiet.runs, quiet.last_run, quiet.last_success_at) == ("quiet", 0, None, None)
    assert store.reader.views.integration_health("quiet") == [quiet]


def test_the_use_of_a_connector_counts_records_by_what_they_were_used_for(store: Store) -> None:
    books = (RunStep("in", "source", "csv", read=5, out=5), RunStep("map", "transformation", "mapping", taken=5, out=5))
    ended(store, "run-1", steps=(*books, RunStep("out", "destination", "csv", taken=5)))
    ended(store, "run-2", "hourly", "failed", steps=books)
    first, second = store.reader.views.connector_use()
    assert (first.connector, first.role, first.integrations, first.runs, first.records) == ("csv", "destination", 1, 1, 5)
    assert (second.role, second.integrations, second.runs, second.failed_runs, second.records) == ("source", 2, 2, 1, 10)
    assert second.last_used_at == store.reader.runs.get("run-2").started_at


def test_the_dashboard_of_quality_counts_what_became_of_each_rule(store: Store) -> None:
    late = NewViolation("late", "freshness", "s", "high", "report", "m", failed=3)
    for number in (1, 2):
        ended(store, f"run-{number}")
        store.writer.violations.add(f"run-{number}", [late])
    (one, two) = store.reader.violations.find()
    store.writer.violations.decide(one.id, "false_positive")
    store.writer.violations.add("run-2", [NewViolation("empty", "completeness", "s", "low", "report", "m", failed=1)])
    empty, found = store.reader.views.quality_dashboard("daily")
    assert (empty.rule, empty.open, empty.records_failed) == ("empty", 1, 1)
    assert (found.violations, found.open, found.false_positive, found.records_failed) == (2, 1, 1, 6)
    assert (found.first_at, found.last_at, found.last_run) == (two.created_at, one.created_at, "run-2")
    assert store.reader.views.quality_dashboard("hourly") == []
