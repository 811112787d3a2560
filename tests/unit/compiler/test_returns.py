"""Records that a destination gives back while an epoch is published reach the dead letter once, whatever dies meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.compiler.accounts import Account
from beam_datahub.compiler.dead_letter import Identity, Provenance
from beam_datahub.compiler.epochs import Epoch, finish_epoch, write_journal
from beam_datahub.compiler.plan import Write
from beam_datahub.compiler.returns import Returns, marked, with_origin
from beam_datahub.component.registry import component
from beam_datahub.component.sink import Sink, WriteRequest
from beam_datahub.component.source import Origin
from beam_datahub.errors import Transient
from beam_datahub.kernels.rejection import DEAD_LETTER
from beam_datahub.testing.connectors import stage
from tests.unit.io.http_endpoint import endpoint

SCHEMA = pa.schema([("n", pa.int64())])


def write(connector: str, step: str, schema: pa.Schema, connection: dict[str, Any], **more: Any) -> Write:
    kind: Any = component("sink", connector)
    sink: Sink = kind(kind.Connection(**connection), kind.Options(**more.pop("options", {})))
    request = WriteRequest("run1", step, schema)
    sink.prepare(request)
    return Write(connector, sink, replace(request, epoch=1), **more)


def rows(source: str, file: str, *numbers: int) -> pa.RecordBatch:
    batch = pa.record_batch([list(numbers)], schema=SCHEMA)
    provenance = Provenance(source, Origin(file=file, first_row=100))
    return marked(batch, batch.replace_schema_metadata(provenance.onto(SCHEMA).metadata))


def letters(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]


@pytest.fixture
def journal(tmp_path: Path) -> Callable[[str], str]:
    def written(url: str) -> str:
        retry = {"attempts": 1}
        api = write("http", "api", SCHEMA, {"url": url, "staging": str(tmp_path)}, options={"retry": retry, "format": "array"})
        letter = write("jsonl", "dead_letter", DEAD_LETTER, {"path": f"{tmp_path}/dead/"}, dead_letter=True)
        hidden = replace(api.request, schema=with_origin(SCHEMA))
        table = pa.Table.from_batches([rows("in", "a", 1, 2), rows("in", "b", 3, 4)])
        receipts = tuple(stage(api.sink, hidden, [table]))
        returns = Returns(Identity("run1", "shop"), letter)
        epoch = Epoch(1, frozenset(), Account(), {}, {}, {"status": "completed"}, ((api, receipts),), returns)
        books = {step: {"in": 4 * (step == "api"), "rejected": 0} for step in ("api", "dead_letter")}
        path = str(tmp_path / "commit.journal")
        write_journal(path, epoch, {"books": books, "rejected": 0, "reasons": [], "written": {}})
        return path

    return written


def test_what_came_back_is_in_the_dead_letter_once_though_the_epoch_is_finished_twice(
    journal: Callable[[str], str], tmp_path: Path
) -> None:
    with endpoint() as service:
        service.answer = lambda each: 422 if {row["n"] for row in each.json} & {2, 3} else 200
        path, sent = journal(service.url), set[int]()
        for _ in range(2):
            report = finish_epoch(path)
            assert (report["rejected"], report["books"]["api"]["rejected"], report["books"]["dead_letter"]["in"]) == (2, 2, 2)
            assert report["reasons"] == [{"step": "api", "reason": "refused", "records": 2}]
            assert {step: each["rows"] for step, each in report["written"].items()} == {"api": 2, "dead_letter": 2}
            assert [(each["source"], each["file"], each["original"]) for each in letters(tmp_path / "dead")] == [
                ("in", "a", '{"n":2}'),
                ("in", "b", '{"n":3}'),
            ]
            sent.add(len(service.sent))
        assert len(sent) == 1
    assert [found for found in tmp_path.rglob("*") if "returned" in found.name] == []


def test_an_epoch_whose_service_is_away_rejects_nothing_until_it_is_back(journal: Callable[[str], str], tmp_path: Path) -> None:
    with endpoint() as service:
        path = journal(service.url)
        service.stop()
        with pytest.raises(Transient):
            finish_epoch(path)
        assert letters(tmp_path / "dead") == []
        service.start()
        assert finish_epoch(path)["rejected"] == 0
        assert sorted(row["n"] for each in service.taken for row in each.json) == [1, 2, 3, 4]


def test_an_epoch_whose_dead_letter_is_away_sends_nothing_twice(
    journal: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> Any:
        raise Transient("it is away")

    with endpoint() as service:
        service.answer = lambda each: 422 if {row["n"] for row in each.json} & {3} else 200
        path = journal(service.url)
        with monkeypatch.context() as patch:
            patch.setattr(component("sink", "jsonl"), "commit", away)
            with pytest.raises(Transient):
                finish_epoch(path)
        assert finish_epoch(path)["rejected"] == 1
        assert [each["original"] for each in letters(tmp_path / "dead")] == ['{"n":3}']
        assert sorted(row["n"] for each in service.taken for row in each.json) == [1, 2, 4]
