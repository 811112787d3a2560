"""Any values, into each database and out again."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from beam_datahub.component.database_pool import close_pools
from beam_datahub.testing.connectors import read
from tests.unit.io.database_systems import System, made

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("text", pa.string()),
        ("number", pa.float64()),
        ("amount", pa.decimal128(18, 4)),
        ("day", pa.date32()),
        ("at", pa.timestamp("us")),
        ("zoned", pa.timestamp("us", "UTC")),
        ("fine", pa.bool_()),
        ("data", pa.binary()),
    ]
)
_numbers = itertools.count()
# A NUL is in no text of PostgreSQL's, and lone surrogates are in no UTF-8.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
MOMENTS = st.datetimes(datetime.datetime(1, 1, 2), datetime.datetime(9999, 12, 30))
VALUES = (
    st.integers(-(2**63), 2**63 - 1),
    TEXTS,
    st.floats(allow_nan=False),
    st.integers(-(10**18) + 1, 10**18 - 1).map(lambda n: Decimal(n).scaleb(-4)),
    st.dates(datetime.date(1, 1, 1), datetime.date(9999, 12, 31)),
    MOMENTS,
    MOMENTS.map(lambda moment: moment.replace(tzinfo=datetime.UTC)),
    st.booleans(),
    st.binary(max_size=20),
)
# MySQL's doubles are finite, and its moments with a zone end in 2038.
FEWER = {
    2: st.floats(allow_nan=False, allow_infinity=False),
    6: st.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(2037, 12, 31)).map(
        lambda at: at.replace(tzinfo=datetime.UTC)
    ),
}


def rows_for(system: System) -> Any:
    """Rows of values that the system has."""
    known = [FEWER.get(n, each) if system.connector == "mysql" else each for n, each in enumerate(VALUES)]
    return st.lists(st.tuples(*(st.none() | each for each in known)), min_size=1, max_size=8)


@pytest.fixture(params=["postgresql", "mysql", "sqlite", "duckdb"], scope="module")
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """An empty database, for all examples."""
    folder: Path = tmp_path_factory.mktemp("values")
    yield made(request.param, folder, request)
    close_pools()


def test_any_values_come_back_as_they_were_written(system: System) -> None:
    @settings(
        max_examples=8 if system.connector == "mysql" else 20,
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(rows=rows_for(system))
    def look(rows: list[tuple[Any, ...]]) -> None:
        table = f"t{next(_numbers)}"
        columns = list(zip(*rows, strict=True))
        written = pa.table([pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)
        system.write(system.sink(table=table), written, run=table)
        found = read(system.source(table=table))
        assert found.rejected == []
        assert found.table.schema.equals(SCHEMA)
        assert sorted(map(str, found.table.to_pylist())) == sorted(map(str, written.to_pylist()))

    look()
