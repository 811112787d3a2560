"""Profiles against the exact answer, within the sketches' bounds, however the rows fall into batches."""

from __future__ import annotations

import datetime as dt
import json
import math
import statistics
from collections import Counter
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_datahub.errors import UnreadableData
from beam_datahub.kernels.profiling import Profile
from beam_datahub.kernels.profiling.summary import summarise
from beam_datahub.kernels.types import JSON

# KLL's rank error with 99 % confidence, doubled: a test must not fail once in a hundred times.
RANK_ERROR = 0.02
DISTINCT_ERROR = 0.08

NUMBERS = st.one_of(st.none(), st.floats(width=64), st.sampled_from([0.0, -0.0, 1.0, math.inf, -math.inf, math.nan]))
TEXTS = st.one_of(st.none(), st.text(max_size=70), st.sampled_from(["", "AB-123", "Łódź", "日本", "\x00"]))


def profile(table: pa.Table, batch_rows: int | None = None) -> Profile:
    found = Profile.of(table.schema)
    for batch in table.to_batches(max_chunksize=batch_rows) if batch_rows else table.to_batches():
        found.add(batch)
    return found


def column(values: pa.Array, batch_rows: int | None = None) -> dict:
    return summarise(profile(pa.table({"c": values}), batch_rows))["columns"]["c"]


def exact_part(found: Profile) -> dict:
    """What does not depend on a sketch's chance."""
    columns = {}
    for path, each in summarise(found)["columns"].items():
        kept = (
            "type",
            "rows",
            "nulls",
            "distinct",
            "min",
            "max",
            "zeros",
            "negative",
            "nans",
            "infinite",
            "true",
            "top",
            "patterns",
        )
        columns[path] = {name: each[name] for name in kept if name in each}
        if "lengths" in each:
            columns[path]["lengths"] = {name: each["lengths"][name] for name in ("min", "max", "empty")}
    return {"rows": found.rows, "columns": columns}


@given(values=st.lists(NUMBERS, max_size=200))
@settings(max_examples=60, deadline=None)
def test_numbers_are_counted_exactly_and_odd_ones_apart(values: list[float | None]) -> None:
    found = column(pa.array(values, pa.float64()))
    present = [value for value in values if value is not None]
    sound = [value for value in present if not math.isnan(value)]
    finite = [value for value in sound if math.isfinite(value)]
    assert (found["rows"], found["nulls"]) == (len(values), len(values) - len(present))
    assert found["nans"] == len(present) - len(sound)
    assert found["infinite"] == len(sound) - len(finite)
    assert found["zeros"] == sum(value == 0 for value in finite)
    assert found["negative"] == sum(value < 0 for value in finite)
    assert found["distinct"] == len(set(sound))
    if sound:
        assert (float(found["min"]), float(found["max"])) == (min(sound), max(sound))
    if finite and all(abs(value) < 1e100 for value in finite):
        assert found["mean"] == pytest.approx(statistics.fmean(finite), rel=1e-9, abs=1e-9 * max(map(abs, finite)))
        assert found["quantiles"]["0.5"] in finite
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("data_type", [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint64()], ids=str)
@pytest.mark.parametrize("rows", [300, 20_000])
@pytest.mark.parametrize("span", [10, 200, 60_000, 2**31 + 5, 2**64])
def test_whole_numbers_of_every_width_and_range_are_counted_exactly(data_type: pa.DataType, rows: int, span: int) -> None:
    bounds = np.iinfo(data_type.to_pandas_dtype())
    random = np.random.default_rng(span)
    for least in (int(bounds.min), max(int(bounds.max) - span, int(bounds.min))):
        most = min(least + span, int(bounds.max))
        drawn = random.integers(least, most, rows, dtype=data_type.to_pandas_dtype(), endpoint=True)
        found = column(pa.array(drawn), 7_000)
        assert (found["min"], found["max"]) == (int(drawn.min()), int(drawn.max()))
        assert found["zeros"] == int((drawn == 0).sum())
        assert found["negative"] == int((drawn < 0).sum())
        exact = len(np.unique(drawn))
        assert found["distinct"] == exact if found["distinct_exact"] else abs(found["distinct"] / exact - 1) < DISTINCT_ERROR
        assert found["mean"] == pytest.approx(float(drawn.astype(np.float64).mean()), rel=1e-9, abs=1e-9)


@given(values=st.lists(TEXTS, max_size=120))
@settings(max_examples=60, deadline=None)
def test_texts_are_counted_exactly_while_they_are_few(values: list[str | None]) -> None:
    found = column(pa.array(values, pa.string()))
    present = [value for value in values if value is not None]
    assert found["nulls"] == len(values) - len(present)
    assert found["distinct"] == len(set(present))
    assert found["distinct_exact"]
    assert found["top_error"] == 0
    counted = Counter(present)
    assert {each["value"]: each["count"] for each in found["top"]}.items() <= counted.items()
    assert [each["count"] for each in found["top"]] == [count for _, count in counted.most_common(10)]
    if present:
        lengths = [len(value) for value in present]
        shown = found["lengths"]
        assert (shown["min"], shown["max"], shown["empty"]) == (min(lengths), max(lengths), lengths.count(0))
        assert shown["mean"] == pytest.approx(statistics.fmean(lengths))
        # Texts are ordered by their UTF-8 bytes, which is the order of their characters' numbers.
        assert (found["min"], found["max"]) == (min(present), max(present))


@given(
    numbers=st.lists(NUMBERS, min_size=1, max_size=150),
    texts=st.lists(TEXTS, min_size=150, max_size=150),
    batch_rows=st.integers(1, 40),
    cut=st.integers(0, 150),
)
@settings(max_examples=40, deadline=None)
def test_how_rows_fall_into_batches_and_parts_changes_nothing(
    numbers: list[float | None], texts: list[str | None], batch_rows: int, cut: int
) -> None:
    table = pa.table({"n": pa.array(numbers, pa.float64()), "t": pa.array(texts[: len(numbers)], pa.string())})
    whole = exact_part(profile(table))
    assert exact_part(profile(table, batch_rows)) == whole
    head, tail = profile(table.slice(0, cut)), profile(table.slice(cut))
    sent = Profile.from_bytes(head.to_bytes())
    sent.merge(Profile.from_bytes(tail.to_bytes()))
    assert exact_part(sent) == whole
    tail.merge(head)
    assert exact_part(tail) == whole


def test_merging_is_associative() -> None:
    table = pa.table({"n": np.random.default_rng(5).normal(size=9000), "t": [f"v{i % 700}" for i in range(9000)]})
    parts = [table.slice(start, 3000) for start in (0, 3000, 6000)]
    left = profile(parts[0])
    left.merge(profile(parts[1]))
    left.merge(profile(parts[2]))
    right = profile(parts[1])
    right.merge(profile(parts[2]))
    first = profile(parts[0])
    first.merge(right)
    ours, theirs = (summarise(each)["columns"] for each in (left, first))
    assert ours["t"]["distinct"] == theirs["t"]["distinct"] == 700
    assert ours["n"]["mean"] == pytest.approx(theirs["n"]["mean"], abs=1e-12)
    assert ours["n"]["deviation"] == pytest.approx(theirs["n"]["deviation"])
    assert ours["n"]["distinct_bounds"] == theirs["n"]["distinct_bounds"]


@given(values=st.lists(TEXTS, min_size=1, max_size=300), cuts=st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_dictionaries_change_nothing(values: list[str | None], cuts: int) -> None:
    plain = pa.array(values, pa.string())
    encoded = profile(pa.table({"c": plain}))
    found = Profile.of(pa.schema({"c": pa.string()}))
    for start in range(0, len(plain), cuts):
        found.add(pa.record_batch({"c": plain.dictionary_encode().slice(start, cuts)}))
    assert exact_part(found) == exact_part(encoded)


def test_many_distinct_texts_in_dictionaries_are_counted_as_they_are_without() -> None:
    random = np.random.default_rng(5)
    texts = pa.array([f"key-{number}" for number in random.integers(0, 90_000, 300_000)])
    plain = exact_part(profile(pa.table({"c": texts}), 60_000))["columns"]["c"]
    found = Profile.of(pa.schema({"c": pa.string()}))
    for batch in pa.table({"c": texts.dictionary_encode()}).to_batches(max_chunksize=100_000):
        found.add(batch)
    kept = exact_part(found)["columns"]["c"]
    assert {**kept, "top": []} == {**plain, "top": []}


@pytest.mark.parametrize("batch_rows", [997, 50_000, 600_000])
def test_quantiles_and_distinct_counts_of_many_rows_are_within_their_bounds(batch_rows: int) -> None:
    random = np.random.default_rng(7)
    rows = 600_000
    values = np.concatenate([random.lognormal(3, 2, rows // 2), random.integers(0, 50, rows - rows // 2)])
    random.shuffle(values)
    found = profile(pa.table({"c": values}), batch_rows).columns["c"]
    shares = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]
    quantiles = found.ranks.quantiles(shares)
    assert quantiles is not None
    ordered = np.sort(values)
    for share, quantile in zip(shares, quantiles, strict=True):
        low = np.searchsorted(ordered, quantile, "left") / rows
        high = np.searchsorted(ordered, quantile, "right") / rows
        assert low - RANK_ERROR <= share <= high + RANK_ERROR
    exact = len(np.unique(values))
    assert found.distinct.estimate() == pytest.approx(exact, rel=DISTINCT_ERROR)
    assert not found.distinct.exact
    assert found.moments.mean == pytest.approx(values.mean())
    assert found.moments.deviation == pytest.approx(values.std(ddof=1))


@pytest.mark.parametrize("spread", ["numbers", "texts"])
@pytest.mark.parametrize("batch_rows", [5_000, 400_000])
def test_a_frequent_value_among_many_rare_ones_is_found(spread: str, batch_rows: int) -> None:
    random = np.random.default_rng(11)
    rows = 400_000
    values = random.integers(0, 10**9, rows)
    values[random.choice(rows, rows // 50, replace=False)] = 42
    array = pa.array(values) if spread == "numbers" else pa.array([f"customer{value}@example.org" for value in values])
    found = column(array, batch_rows)
    top = found["top"][0]
    assert top["value"] in ("42", "customer42@example.org")
    exact = int((values == 42).sum())
    assert exact - found["top_error"] <= top["count"] <= exact
    assert found["top_error"] <= rows // 50
    assert found["distinct"] == pytest.approx(len(np.unique(values)), rel=DISTINCT_ERROR)


def test_patterns_show_classes_of_characters() -> None:
    found = column(pa.array(["AB-123", "XY-987", "Łódź 5", "日本", "tab\t1", None]))
    assert {each["pattern"]: each["count"] for each in found["patterns"]["top"]} == {
        "AA-999": 2,
        "Aaaa 9": 1,
        "xx": 1,
        "aaa\t9": 1,
    }
    assert found["patterns"]["of"] == "characters"


def test_texts_of_varying_lengths_show_shapes_instead() -> None:
    found = column(pa.array([f"{'a' * (1 + i % 30)}.{'B' * (1 + i % 7)}@example.org" for i in range(3000)]))
    assert found["patterns"] == {"of": "runs", "top": [{"pattern": "a.A@a.a", "count": 3000}]}


def test_long_texts_have_no_pattern_and_differ_beyond_what_is_shown() -> None:
    found = column(pa.array(["x" * 500, "x" * 500 + "y", "short"]))
    assert found["distinct"] == 3
    assert sorted(each["count"] for each in found["top"]) == [1, 1, 1]
    assert {each["pattern"] for each in found["patterns"]["top"]} == {"…", "aaaaa"}
    assert len(found["max"]) <= 120


def test_dates_times_and_decimals_keep_their_form() -> None:
    table = pa.table(
        {
            "day": pa.array([dt.date(2024, 2, 29), None, dt.date(1900, 1, 1)]),
            "at": pa.array([dt.datetime(2024, 1, 1, 1, 2, 3, 4), dt.datetime(2024, 1, 2), None], pa.timestamp("us")),
            "zoned": pa.array([dt.datetime(2024, 1, 1), None, None], pa.timestamp("us", tz="UTC")),
            "clock": pa.array([dt.time(23, 59, 59), dt.time(0), None], pa.time64("us")),
            "price": pa.array([Decimal("1.10"), Decimal("-2.25"), None], pa.decimal128(12, 2)),
            "huge": pa.array([Decimal(10) ** 30, Decimal(-1), None], pa.decimal128(38, 0)),
            "whole": pa.array([2**64 - 1, 0, None], pa.uint64()),
        }
    )
    found = summarise(profile(table))["columns"]
    assert {name: (each["min"], each["max"], each["distinct"]) for name, each in found.items()} == {
        "day": ("1900-01-01", "2024-02-29", 2),
        "at": ("2024-01-01 01:02:03.000004", "2024-01-02 00:00:00", 2),
        "zoned": ("2024-01-01 00:00:00Z", "2024-01-01 00:00:00Z", 1),
        "clock": ("00:00:00", "23:59:59", 2),
        "price": ("-2.25", "1.10", 2),
        "huge": ("-1", str(10**30), 2),
        "whole": (0, 2**64 - 1, 2),
    }
    assert found["at"]["deviation"] == pytest.approx((86400 - 3723.000004) / math.sqrt(2))
    assert {each["value"] for each in found["price"]["top"]} == {"1.10", "-2.25"}


@pytest.mark.parametrize("start", [0, 1, 3])
def test_nested_columns_are_profiled_by_their_leaves(start: int) -> None:
    rows = [
        {
            "c": {"city": "Berlin", "geo": {"lat": 52.5}},
            "items": [{"sku": "a", "n": 1}, {"sku": "b", "n": None}],
            "m": [("k", 1)],
        },
        {"c": None, "items": None, "m": None},
        {"c": {"city": None, "geo": None}, "items": [], "m": []},
        {"c": {"city": "Lyon", "geo": {"lat": 45.7}}, "items": [{"sku": "a", "n": 4}], "m": [("k", 2), ("j", 3)]},
    ]
    schema = pa.schema(
        [
            ("c", pa.struct([("city", pa.string()), ("geo", pa.struct([("lat", pa.float64())]))])),
            ("items", pa.list_(pa.struct([("sku", pa.string()), ("n", pa.int64())]))),
            ("m", pa.map_(pa.string(), pa.int64())),
        ]
    )
    found = summarise(profile(pa.Table.from_pylist(rows, schema).slice(start)))["columns"]
    rows = rows[start:]
    items = [item for row in rows for item in row["items"] or []]
    assert list(found) == ["c.city", "c.geo.lat", "items", "items[].sku", "items[].n", "m", "m[].key", "m[].value"]
    assert found["c.city"]["nulls"] == sum(not (row["c"] and row["c"]["city"]) for row in rows)
    assert found["items"]["nulls"] == sum(row["items"] is None for row in rows)
    assert found["items"]["lengths"]["max"] == max(len(row["items"] or []) for row in rows)
    assert (found["items[].n"]["rows"], found["items[].n"]["nulls"]) == (len(items), sum(item["n"] is None for item in items))
    assert found["items[].sku"]["distinct"] == len({item["sku"] for item in items})
    assert found["m[].value"]["rows"] == sum(len(row["m"] or []) for row in rows)


def test_json_booleans_bytes_and_intervals_are_profiled() -> None:
    documents = pa.ExtensionArray.from_storage(JSON, pa.array(['{"a": 1}', None, "[]", '{"a": 1}']))
    table = pa.table(
        {
            "yes": pa.array([True, None, False, True]),
            "raw": pa.array([b"\x00\x01", None, b"", b"\x00\x01"]),
            "gap": pa.array([(1, 2, 0), None, (0, 0, 0), (1, 2, 0)], pa.month_day_nano_interval()),
        }
    ).append_column(pa.field("doc", JSON), documents)
    found = summarise(profile(table))["columns"]
    assert (found["yes"]["true"], found["yes"]["true_ratio"], found["yes"]["distinct"]) == (2, pytest.approx(2 / 3), 2)
    assert (found["raw"]["distinct"], found["raw"]["lengths"]["max"], found["raw"]["lengths"]["empty"]) == (2, 2, 1)
    assert found["doc"]["top"][0] == {"value": '{"a": 1}', "count": 2}
    assert (found["gap"]["distinct"], found["gap"]["nulls"]) == (2, 1)


def test_no_rows_have_a_profile_with_every_column() -> None:
    schema = pa.schema([("n", pa.int64()), ("t", pa.string()), ("l", pa.list_(pa.bool_()))])
    found = profile(schema.empty_table())
    assert list(found.columns) == ["n", "t", "l", "l[]"]
    summary = summarise(Profile.from_bytes(found.to_bytes()))
    assert summary["rows"] == 0
    assert summary["columns"]["n"]["null_ratio"] is None
    json.dumps(summary, allow_nan=False)


def test_only_the_named_columns_are_profiled() -> None:
    table = pa.table({"a": [1], "b": [{"a": 1}], "c": [2]})
    found = Profile.of(table.schema, ["b", "c"])
    found.add(table.to_batches()[0])
    assert {path: each.rows for path, each in found.columns.items()} == {"b.a": 1, "c": 1}


def test_a_summary_without_values_shows_none_of_the_data() -> None:
    table = pa.table({"name": ["Ada Lovelace", "Grace Hopper"], "n": [12345, 67890]})
    text = json.dumps(summarise(profile(table), values=False))
    assert "Ada" not in text
    assert "12345" not in text


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"", "no profile"), (b"BDHP\x02rest", "form 2"), (b"BDHP\x01rest", "damaged"), (b"BDHP", "no profile")],
)
def test_bytes_that_are_no_profile_are_refused(body: bytes, words: str) -> None:
    with pytest.raises(UnreadableData, match=words):
        Profile.from_bytes(body)


def test_columns_of_different_types_do_not_merge() -> None:
    with pytest.raises(ValueError, match="do not merge"):
        profile(pa.table({"c": [1]})).merge(profile(pa.table({"c": ["x"]})))
