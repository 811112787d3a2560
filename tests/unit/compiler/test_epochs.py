from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.compiler.books import Entry, Ledger, Link
from beam_datahub.compiler.commit import Budget, receipt_to_json
from beam_datahub.compiler.epochs import Epoch, Epochs, Terms, finish_epoch, is_of_stream, publish_epoch, write_journal
from beam_datahub.compiler.plan import Write
from beam_datahub.compiler.settled import read_up_to, seam_of
from beam_datahub.compiler.tickets import Stretch, stamped, ticket_of, ticketed
from beam_datahub.component.config import Config
from beam_datahub.component.sink import Committed, Receipt, Sink, Writer, WriteRequest
from beam_datahub.component.source import Report

SCHEMA = pa.schema([("n", pa.int64())])
LEDGER = Ledger((Link((Entry("in"),), "out"),), {"in": ("in",), "out": ("out",)})


class Shelf(Sink):
    """Notes what it was asked to commit."""

    name = "shelf"
    Connection = Options = Config

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self) -> Report:
        return Report(())

    def plan_write(self, request: WriteRequest) -> None:
        return

    def prepare(self, request: WriteRequest) -> None:
        return

    def open(self, request: WriteRequest) -> Writer:
        raise NotImplementedError

    def commit(self, request: WriteRequest, receipts: Sequence[Receipt]) -> Committed:
        with self.path.open("a") as file:
            file.write(f"{request.commit_name} {','.join(sorted(each.location for each in receipts))}\n")
        return Committed(sum(each.rows for each in receipts), 0, ("shelf",))

    def abort(self, request: WriteRequest) -> None:
        return


@pytest.fixture
def epochs(tmp_path: Path) -> Epochs:
    write = Write("shelf", Shelf(tmp_path / "shelf"), WriteRequest("run", "out", SCHEMA))
    return Epochs(Terms(LEDGER, (write,), Budget(share=0.5), (), datetime.now(UTC)), {"in": {"0": 0, "1": 0}})


def read(
    ticket: str, partition: str, start: int, end: int, *, rejected: int = 0, out: int | None = None
) -> list[tuple[str, str]]:
    """What the read of a stretch reports."""
    out = end - start - rejected
    books = {"in": {"read": end - start, "rejected": rejected, "out": out}}
    return [ticketed([("books", json.dumps(books)), ("stretch", Stretch("in", partition, start, end).to_json())], ticket)]


def staged(ticket: str, rows: int) -> list[tuple[str, str]]:
    """What a destination reports that has staged rows of a ticket."""
    receipt = receipt_to_json("out", Receipt(f"file-{ticket}-{rows}", rows))
    return [ticketed([("receipt", receipt), ("books", json.dumps({"out": {"in": rows}}))], ticket)]


def done(epochs: Epochs, epoch: Epoch | None) -> list[str]:
    """Publish an epoch; gives the files that it publishes."""
    assert epoch is not None
    epochs.done(epoch, publish_epoch(epoch.chosen))
    return sorted(receipt.location for _, receipts in epoch.chosen for receipt in receipts)


def test_a_ticket_is_published_only_once_all_its_rows_are_staged(epochs: Epochs) -> None:
    epochs.take(read("a", "0", 0, 10))
    epochs.take(staged("a", 4))
    assert epochs.next() is None
    assert epochs.waiting == 10
    epochs.take(staged("a", 6))
    assert done(epochs, epochs.next()) == ["file-a-4", "file-a-6"]
    assert epochs.positions == {"in": {"0": 10, "1": 0}}
    assert (epochs.waiting, epochs.next()) == (0, None)


def test_what_is_staged_is_published_only_behind_what_was_read_before_it(epochs: Epochs) -> None:
    epochs.take(read("b", "0", 10, 20) + staged("b", 10))
    epochs.take(read("c", "1", 0, 5) + staged("c", 5))
    assert done(epochs, epochs.next()) == ["file-c-5"]
    assert epochs.positions == {"in": {"0": 0, "1": 5}}
    assert epochs.stuck() == "in/0"
    epochs.take(read("a", "0", 0, 10) + staged("a", 10))
    assert epochs.stuck() is None
    assert done(epochs, epochs.next()) == ["file-a-10", "file-b-10"]
    assert epochs.positions == {"in": {"0": 20, "1": 5}}


def test_of_a_bundle_that_an_engine_tried_twice_one_counts(epochs: Epochs) -> None:
    epochs.take(read("a", "0", 0, 10) + staged("a", 10))
    epochs.take(read("again", "0", 0, 15) + staged("again", 15))
    assert done(epochs, epochs.next()) == ["file-a-10"]
    assert epochs.waiting == 0
    assert epochs.report()["read"] == 10


def test_what_came_while_an_epoch_was_published_belongs_to_the_next(epochs: Epochs) -> None:
    epochs.take(read("a", "0", 0, 10) + staged("a", 10))
    first = epochs.next()
    epochs.take(read("b", "0", 10, 12) + staged("b", 2))
    assert done(epochs, first) == ["file-a-10"]
    assert done(epochs, epochs.next()) == ["file-b-2"]
    assert epochs.report()["written"]["out"] == {"rows": 12, "bytes": 0, "locations": ["shelf"]}


def test_a_stretch_without_records_moves_the_position(epochs: Epochs) -> None:
    epochs.take([ticketed([("stretch", Stretch("in", "0", 0, 3).to_json())], "a")])
    assert done(epochs, epochs.next()) == []
    assert epochs.positions["in"]["0"] == 3


def test_too_many_rejected_records_publish_nothing_and_move_nothing(epochs: Epochs) -> None:
    epochs.take(read("a", "0", 0, 10, rejected=6) + staged("a", 4))
    found = epochs.next()
    assert found is not None
    assert found.verdict["status"] == "too_many_rejected"
    assert "6 of 10 records were rejected" in found.verdict["reason"]
    assert (found.chosen, found.moved) == ((), {})


def test_the_budget_is_that_of_the_whole_stream(epochs: Epochs) -> None:
    epochs.take(read("a", "0", 0, 10) + staged("a", 10))
    done(epochs, epochs.next())
    epochs.take(read("b", "0", 10, 14, rejected=4))
    found = epochs.next()
    assert found is not None
    assert found.verdict["status"] == "completed"


def test_it_says_what_does_not_add_up_when_nothing_is_under_way_any_more(epochs: Epochs) -> None:
    epochs.take(read("a", "0", 0, 10) + staged("a", 9))
    assert epochs.next() is None
    assert epochs.faults() == ["in/0 behind 0: in → out: 10 went out, 9 came in"]


@pytest.mark.parametrize(("behind", "position", "caught_up"), [(0, 10, True), (None, 10, True), (3, 10, False), (0, 12, False)])
def test_a_stream_has_caught_up_where_all_that_is_there_is_published(
    epochs: Epochs, behind: int | None, position: int, caught_up: bool
) -> None:
    epochs.take(read("a", "0", 0, 10) + staged("a", 10))
    following: list[dict[str, Any]] = [
        {"source": "in", "partition": "0", "position": position, "behind": behind, "watermark": None},
        {"source": "in", "partition": "1", "position": 0, "behind": 0, "watermark": None},
    ]
    epochs.take([("following", json.dumps(each)) for each in following])
    assert not epochs.caught_up()
    done(epochs, epochs.next())
    assert epochs.caught_up() is caught_up


def begun(tmp_path: Path, positions: dict[str, Any]) -> Epochs:
    """The epochs of a stream whose rows wait for windows in two shards."""
    write = Write("shelf", Shelf(tmp_path / "shelf"), WriteRequest("run", "out", SCHEMA))
    terms = Terms(LEDGER, (write,), Budget(), (), datetime.now(UTC), windows={"sums": ("in",)}, seams=True)
    return Epochs(terms, {"in": positions})


def stands(shard: int, turn: int, clock: int, looks: int | None = None) -> tuple[str, str]:
    """What a shard of windows tells of itself; `looks` is the watermark that it waits for."""
    facts = {"step": "sums", "shard": shard, "shards": 2, "turn": turn, "clock": clock, "oldest": None, "latest": None}
    return ticketed([("shard", json.dumps({**facts, "next": looks}))], None)


def follows(partition: str, due: int | None) -> tuple[str, str]:
    """What a partition tells of where it stands."""
    return ("following", json.dumps({"source": "in", "partition": partition, "position": 0, "behind": 0, "due": due}))


def test_windows_are_given_once_all_shards_have_looked_behind_what_was_read(tmp_path: Path) -> None:
    epochs = begun(tmp_path, {"0": 0, "1": 0})
    epochs.take([follows("0", 90_000), follows("1", 300_000), stands(0, 1, 0, 60_000)])
    assert not epochs.windows_are_given()
    epochs.take([stands(1, 1, 60_000, 120_000)])
    assert not epochs.windows_are_given()
    # Of the second turn nothing is known; it may have given results.
    epochs.take([stands(0, 3, 60_000, 120_000)])
    assert not epochs.windows_are_given()
    epochs.take([stands(0, 2, 30_000, 60_000)])
    assert epochs.windows_are_given()
    epochs.take([follows("0", 250_000)])
    assert not epochs.windows_are_given()
    epochs.take([stands(0, 4, 240_000, 250_000), stands(1, 2, 300_000, None)])
    assert epochs.windows_are_given()
    # Results that are on their way to a destination.
    epochs.take([ticketed([("books", json.dumps({"out": {"in": 1}}))], None)])
    assert not epochs.windows_are_given()


def test_windows_that_wait_for_a_partition_without_a_time_have_nothing_to_give(tmp_path: Path) -> None:
    epochs = begun(tmp_path, {"0": 0, "1": 0})
    epochs.take([follows("0", 90_000), follows("1", None), stands(0, 1, 0, 60_000), stands(1, 1, 0, 60_000)])
    assert epochs.windows_are_given()


def test_with_windows_an_epoch_is_made_only_where_nothing_is_under_way(tmp_path: Path) -> None:
    epochs = begun(tmp_path, {"0": 0, "1": 0})
    epochs.take([*read("a", "0", 0, 10), *staged("a", 10), stands(0, 1, 60)])
    # One shard has not told of itself; another one has told of its third turn before its second.
    assert (epochs.next(), epochs.divides) == (None, False)
    epochs.take([stands(1, 1, 60), stands(1, 3, 120)])
    assert epochs.next() is None
    epochs.take([stands(1, 2, 120), *read("b", "1", 0, 5)])
    assert (epochs.next(), epochs.is_under_way) == (None, True)
    epochs.take(staged("b", 5))
    found = epochs.next()
    assert found is not None
    assert found.moved["in"]["(windows)"] == {"clocks": {"sums": [60, 120]}, "read": {"0": [10, 10], "1": [5, 5]}}
    assert done(epochs, found) == ["file-a-10", "file-b-5"]


def test_what_is_read_again_up_to_the_seam_is_not_published_again(tmp_path: Path) -> None:
    seam = {"clocks": {"sums": [60, 120]}, "read": {"0": [3, 10], "1": [0, 0]}}
    epochs = begun(tmp_path, {"0": 3, "1": 0, "(windows)": seam, "watermark": "1970-01-01T00:00:00+00:00"})
    epochs.take([*read("again/a", "0", 3, 10), *staged("again/a", 7), stands(0, 1, 0), stands(1, 1, 0)])
    found = epochs.next()
    assert found is not None
    assert done(epochs, found) == []
    assert (epochs.report()["read"], epochs.positions) == (0, {"in": {"0": 10, "1": 0}})
    # Windows that were over stay over, though the shards begin anew.
    assert found.moved["in"]["(windows)"] == {"clocks": {"sums": [60, 120]}, "read": {"0": [10, 10], "1": [0, 0]}}
    epochs.take([*read("b", "0", 10, 12), *staged("b", 2)])
    assert done(epochs, epochs.next()) == ["file-b-2"]


def test_a_partition_that_was_put_elsewhere_has_no_seam() -> None:
    positions = {"in": {"0": 7, "1": 0, "(windows)": {"clocks": {}, "read": {"0": [3, 10], "1": [0, 4]}}}}
    assert seam_of(positions).read == {"in": {"1": 4}}
    assert read_up_to(positions) == {"in": {"0": 7, "1": 4}}


def test_a_journal_brings_an_epoch_to_its_end_under_its_own_name(epochs: Epochs, tmp_path: Path) -> None:
    epochs.take(read("a", "0", 0, 10) + staged("a", 10))
    found = epochs.next()
    assert found is not None
    journal = str(tmp_path / "journal")
    write_journal(journal, found, epochs.report(found))
    assert is_of_stream(journal)
    report = finish_epoch(journal)
    assert finish_epoch(journal) == report
    assert (report["read"], report["written"]["out"]["rows"]) == (10, 10)
    assert (tmp_path / "shelf").read_text() == "run.1 file-a-10\n" * 2


def test_a_batch_keeps_its_ticket_beside_what_its_metadata_say() -> None:
    batch = pa.record_batch({"n": [1]}).replace_schema_metadata({b"k": b"v"})
    assert ticket_of(batch) is None
    found = stamped(batch, "in/0/x")
    assert ticket_of(found) == "in/0/x"
    assert found.schema.metadata[b"k"] == b"v"
