"""One person's rows in the tables of databases are found and removed, and nobody else's."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.database_pool import close_pools
from beam_datahub.component.subject import Held, Subject
from tests.unit.io.database_systems import System, made

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("email", pa.string()),
        ("amount", pa.decimal128(20, 2)),
        ("day", pa.date32()),
        ("original", pa.string()),
    ]
)
ROWS = [
    (1, "ada@x.org", "10.50", "2025-01-01", '{"email": "ada@x.org"}'),
    (2, "ADA@x.org", "10.5", "2025-01-02", '{"email": "bob@x.org", "note": "not ada@x.org"}'),
    (3, "ada@x.org ", "7", "2025-01-03", "email=ada@x.org;broken"),
    (4, None, None, None, None),
    (5, "ada@x.org", "1", "2025-01-01", '{"mail": "ada@x.org", "n": 5}'),
    (6, "o'neil%\\@x.org", "105", "2025-01-01", "[]"),
]


_numbers = itertools.count()


@pytest.fixture(params=["sqlite", "duckdb", "postgresql", "mysql", "sql on sqlite"], scope="module")
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A database for all tests."""
    yield made(request.param, tmp_path_factory.mktemp("erasure"), request)
    close_pools()


def people(system: System) -> str:
    """A table of people."""
    table = f"people_{next(_numbers)}"
    columns = [pa.array([_cell(row[n], field.type) for row in ROWS], field.type) for n, field in enumerate(SCHEMA)]
    system.write(system.sink(table=table), pa.table(columns, SCHEMA), run=table)
    return table


def _cell(value: Any, kind: pa.DataType) -> Any:
    if value is None or not (pa.types.is_decimal(kind) or pa.types.is_date(kind)):
        return value
    return Decimal(value) if pa.types.is_decimal(kind) else pa.scalar(value, pa.string()).cast(kind).as_py()


@pytest.mark.parametrize(
    ("subject", "theirs"),
    [
        (Subject("ada@x.org", ("email",)), [1, 5]),
        (Subject("ADA@x.org", ("EMAIL",)), [2]),
        (Subject("o'neil%\\@x.org", ("email",)), [6]),
        (Subject("5", ("id",)), [5]),
        (Subject("five", ("id",)), []),
        (Subject("10.50", ("amount",)), [1, 2]),
        (Subject("2025-01-01", ("day",)), [1, 5, 6]),
        (Subject("ada@x.org", ("email", "missing"), others=(("id", "3"),)), [1, 3, 5]),
        (Subject("ada@x.org", ("email",), inside="original"), [1]),
        (Subject("ada@x.org", ("email",), inside="original", mentions=True), [1, 3]),
    ],
)
def test_a_persons_rows_are_found_and_handed_out_and_removed(system: System, subject: Subject, theirs: list[int]) -> None:
    if system.connector == "sql" and subject.columns == ("day",):
        return
    table = people(system)
    sink, request = system.sink(table=table), system.request(SCHEMA)
    uncertain = 1 if subject.inside is not None and not subject.mentions else 0
    taken: list[bytes] = []
    place = (sink.place,) if theirs else ()  # type: ignore[attr-defined]
    assert sink.find(request, subject, taken.append) == Held(len(theirs), place, uncertain)
    assert sorted(json.loads(line)["id"] for line in b"".join(taken).splitlines()) == theirs
    assert sink.erase(request, subject).rows == len(theirs)
    assert [row["id"] for row in system.rows(table)] == [n for n in range(1, 7) if n not in theirs]
    assert sink.find(request, subject).rows == 0


def test_what_was_never_written_holds_nobody(system: System, tmp_path: Path) -> None:
    subject = Subject("ada@x.org", ("email",))
    assert system.sink(table="nowhere").find(system.request(SCHEMA), subject) == Held()
    for name in ("sqlite", "duckdb"):
        path = tmp_path / f"new.{name}"
        assert System(name, {"path": str(path)}).sink(table="t").find(system.request(SCHEMA), subject) == Held()
        assert not path.exists()


def test_rows_that_others_refer_to_stay_and_it_is_said(system: System) -> None:
    if system.connector == "sql":
        return
    kind = "" if system.connector == "mysql" else "primary key"
    system.run(
        "create table person (id bigint primary key, email varchar(50))", "insert into person values (1, 'a@x'), (2, 'a@x')"
    )
    system.run(f"create table card (n bigint {kind}, person bigint, foreign key (person) references person (id))")
    system.run("insert into card values (1, 2)")
    with pytest.raises(Exception, match=r"(?i)foreign key") as error:
        system.sink(table="person").erase(system.request(SCHEMA), Subject("a@x", ("email",)))
    assert type(error.value).__name__ == "TargetUnusable"
    assert len(system.rows("person")) == 2
