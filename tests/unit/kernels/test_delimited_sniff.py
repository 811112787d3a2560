"""What the texts of columns tell of their types."""

from __future__ import annotations

import pyarrow as pa
import pytest

from beam_datahub.kernels.delimited import Dialect
from beam_datahub.kernels.delimited_sniff import infer, read_head
from beam_datahub.kernels.session import KernelSession


class _Noted(KernelSession):
    """A session that notes how long its queries are."""

    longest = 0

    def query(self, sql: str, schema: pa.Schema | None = None) -> pa.Table:
        self.longest = max(self.longest, len(sql))
        return super().query(sql, schema)


def _types(texts: dict[str, list[str | None]], dialect: Dialect | None = None) -> list[str]:
    with KernelSession() as session:
        columns = {name: pa.array(values, pa.string()) for name, values in texts.items()}
        return [str(field.type) for field in infer(pa.table(columns), dialect or Dialect(), session)]


def test_a_table_of_many_columns_is_not_looked_at_in_one_query() -> None:
    """What DuckDB needs to plan a query grows with the square of its columns: a thousand took all memory there is."""
    with _Noted() as session:
        few = infer(pa.table({f"c{i}": ["1", "2"] for i in range(8)}), Dialect(), session)
        length = session.longest
        many = infer(pa.table({f"c{i}": ["1", "2"] for i in range(60)}), Dialect(), session)
        assert session.longest < length * 1.2
    assert {field.type for field in few} | {field.type for field in many} == {pa.int64()}
    assert len(many) == 60


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["abc", "1"], "string"),
        (["1.5", "NaN", "-Infinity"], "double"),
        (["True", "FALSE", None], "bool"),
        (["1", " 2", "n/a", ""], "int64"),
        (["2025-01-31", "N/A"], "string"),
        (["2025-01-31", "n/a"], "date32[day]"),
    ],
)
def test_a_word_makes_a_column_text_unless_it_is_a_value_or_stands_for_null(values: list[str | None], kind: str) -> None:
    assert _types({"c": values}, Dialect(null_words=("", "n/a"))) == [kind]


def test_a_format_may_read_what_has_no_digit() -> None:
    assert _types({"day": ["Monday", "Friday"]}, Dialect(date_formats=("%A",))) == ["date32[day]"]


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("4\nid,name\n1,a\n2,b\n", 1),
        ("Sales 2024\n\nid;name;day\n1;a;2024-01-01\n2;b;2024-01-02\n", 1),
        ("a title\nname,town\nAnn,Rome\nBob,Oslo\n", 1),
        # These begin with their header: a name is missing, a column holds commas, the rows are no table.
        ("a,b\nr1,5,6\nr2,7,8\nr3,7,8\n", 0),
        ("text\none, two\nthree\nfour, five, six\n", 0),
        ("x\n1,2\n3,4\n", 0),
        ("id,name\n1,a\n2,b\n", 0),
        ("id\n1\n2\n", 0),
        ("4\nid,name\n", 0),
    ],
)
def test_lines_that_stand_before_a_header_are_counted(text: str, before: int) -> None:
    assert read_head(text.encode(), Dialect(), delimiter=None, header="auto", skip_rows=0).before == before


def test_skipped_lines_are_not_counted_again() -> None:
    assert read_head(b"4\nid,name\n1,a\n2,b\n", Dialect(), delimiter=None, header="auto", skip_rows=1).before == 0
