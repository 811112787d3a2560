"""What the store keeps beside runs: integrations with their versions, cursors, metrics, logs, all or nothing."""

from __future__ import annotations

import pytest

from beam_datahub.errors import Conflict, UnknownName
from beam_datahub.store.records import Cursor, LogLine, Metric, NewRun, Step
from beam_datahub.store.store import Store

SOURCE = Step("orders", "source", "csv", config={"path": "in.csv"}, columns={"id": "BIGINT"})
TARGET = Step("lake", "destination", "parquet", inputs=("orders",), connection="disk")


def test_a_changed_spec_is_a_new_version_and_the_same_one_is_not(store: Store) -> None:
    apply = store.writer.integrations.apply
    first, new = apply("daily", "name: daily\n", description="Orders", path="daily.yaml", steps=[SOURCE])
    assert (first.version, new, first.created_by, first.path) == (1, True, "ada@here", "daily.yaml")
    same, new = apply("daily", "name: daily  \r\n", steps=[SOURCE])
    assert (same.version, new) == (1, False)
    second, new = apply("daily", "name: daily\nversion: 2\n", steps=[SOURCE, TARGET])
    assert (second.version, new) == (2, True)
    reader = store.reader.integrations
    assert [each.version for each in reader.versions("daily")] == [2, 1]
    assert reader.version("daily", 1).spec == "name: daily\n"
    assert reader.get("daily").fingerprint == second.fingerprint != first.fingerprint
    assert reader.steps("daily") == [SOURCE, TARGET]
    assert reader.steps("daily", 1) == [SOURCE]
    with pytest.raises(UnknownName, match="3"):
        reader.version("daily", 3)
    with pytest.raises(UnknownName):
        reader.steps("weekly")


def test_a_removed_integration_is_not_listed_and_comes_back_with_its_versions(store: Store) -> None:
    store.writer.integrations.apply("daily", "one")
    store.writer.integrations.apply("hourly", "one")
    store.writer.integrations.remove("daily")
    reader = store.reader.integrations
    assert [each.name for each in reader.all()] == ["hourly"]
    assert [each.name for each in reader.all(removed=True)] == ["daily", "hourly"]
    assert reader.get("daily").removed_at is not None
    back, new = store.writer.integrations.apply("daily", "one")
    assert (back.version, new) == (2, True)
    assert reader.get("daily").removed_at is None


def test_an_erased_integration_leaves_its_runs(store: Store) -> None:
    store.writer.integrations.apply("daily", "one", steps=[SOURCE])
    store.writer.runs.begin(NewRun("run-1", "daily", version=1))
    store.writer.integrations.erase("daily")
    with pytest.raises(UnknownName):
        store.reader.integrations.versions("daily")
    assert store.reader.runs.get("run-1").integration == "daily"


def test_a_cursor_moves_only_from_where_it_was_read(store: Store) -> None:
    first = store.writer.cursors.move(Cursor("daily", "orders", 100, "BIGINT"))
    assert first.revision == 1
    assert store.reader.cursors.get("daily", "refunds") is None
    second = store.writer.cursors.move(Cursor("daily", "orders", 200, "BIGINT", revision=1))
    assert store.reader.cursors.get("daily", "orders") == second
    for stale in (0, 1, 7):
        with pytest.raises(Conflict, match="orders"):
            store.writer.cursors.move(Cursor("daily", "orders", 150, "BIGINT", revision=stale))
    found = store.reader.cursors.get("daily", "orders")
    assert found is not None
    assert (found.value, found.revision) == (200, 2)


def test_each_partition_has_a_cursor_and_a_reset_forgets_only_its_source(store: Store) -> None:
    for source, partition in (("orders", "0"), ("orders", "1"), ("refunds", "")):
        store.writer.cursors.move(Cursor("daily", source, {"offset": partition}, "JSON", partition))
    assert [each.partition for each in store.reader.cursors.find("daily", "orders")] == ["0", "1"]
    assert store.writer.cursors.reset("daily", "orders") == 2
    assert [each.source for each in store.reader.cursors.find()] == ["refunds"]


def test_metrics_and_log_lines_come_back_in_order(store: Store) -> None:
    store.writer.runs.begin(NewRun("run-1", "daily"))
    store.writer.journal.measure("run-1", [Metric("rows", 3, "orders"), Metric("seconds", 1.5, labels={"phase": "read"})])
    lines = [LogLine("begun"), LogLine("slow", "WARNING", step="orders"), LogLine("über €", "ERROR")]
    store.writer.journal.log("run-1", lines)
    assert [(each.name, each.value) for each in store.reader.journal.metrics("run-1")] == [("rows", 3), ("seconds", 1.5)]
    assert store.reader.journal.metrics("run-1", "seconds")[0].labels == {"phase": "read"}
    told = store.reader.journal.logs("run-1")
    assert [line.message for _, line in told] == ["begun", "slow", "über €"]
    assert [line.message for _, line in store.reader.journal.logs("run-1", after=told[0][0])] == ["slow", "über €"]
    assert [line.message for _, line in store.reader.journal.logs("run-1", level="ERROR")] == ["über €"]


def test_what_is_written_together_is_kept_together_or_not_at_all(store: Store) -> None:
    store.writer.runs.begin(NewRun("run-1", "daily"))

    def move_and_begin(run_id: str) -> None:
        with store.writer.together():
            store.writer.cursors.move(Cursor("daily", "orders", 100, "BIGINT"))
            store.writer.runs.begin(NewRun(run_id, "daily"))

    with pytest.raises(Conflict):
        move_and_begin("run-1")
    assert store.reader.cursors.find() == []
    move_and_begin("run-2")
    assert [each.value for each in store.reader.cursors.find()] == [100]
    assert store.reader.runs.get("run-2").status == "running"
