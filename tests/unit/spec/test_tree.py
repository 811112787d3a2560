from __future__ import annotations

import contextlib
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_datahub.errors import SpecError, UnreadableSpec
from beam_datahub.spec.tree import Tree, read_text, read_tree


def read(text: str, file: str = "a.yaml") -> Tree:
    return read_tree(text, file)


def messages(tree: Tree) -> list[str]:
    return [str(error) for error in tree.errors]


def test_words_that_are_booleans_elsewhere_stay_text() -> None:
    tree = read("{on: no, off: yes, y: n, t: true}")
    assert tree.value == {"on": "no", "off": "yes", "y": "n", "t": True}


def test_dates_and_timestamps_are_read_as_such() -> None:
    tree = read("d: 2025-01-01\nt: 2025-01-01T10:00:00Z\nl: 2025-01-01 10:00:00\nz: 2025-01-01T10:00:00+02:00\nq: '2025-01-01'")
    assert tree.value["d"] == date(2025, 1, 1)
    assert tree.value["t"] == datetime(2025, 1, 1, 10, tzinfo=UTC)
    assert tree.value["l"] == datetime(2025, 1, 1, 10)
    assert tree.value["z"] == datetime(2025, 1, 1, 8, tzinfo=UTC)
    assert tree.value["q"] == "2025-01-01"


def test_every_key_and_item_has_its_line() -> None:
    tree = read("a:\n  b:\n    - x\n    - y: 1\n      z: 2\n")
    assert str(tree.place("a", "b", 1, "z")) == "a.yaml:5 (a.b[1].z)"
    assert tree.place("a", "b", 0).line == 3


def test_what_does_not_exist_is_placed_at_its_nearest_parent() -> None:
    tree = read("a:\n  b:\n    - x\n")
    assert str(tree.place("a", "b", 0, "type")) == "a.yaml:3 (a.b[0].type)"
    assert str(tree.place("a", "c", 4)) == "a.yaml:1 (a.c[4])"


def test_a_key_given_twice_names_both_lines() -> None:
    tree = read("a: 1\nb: 2\na: 3\n")
    assert messages(tree) == ["a.yaml:3 (a): the key 'a' is given twice (first on line 1) [DH102]"]


def test_keys_must_be_text() -> None:
    assert [e.place.line for e in read("a: 1\n5: x\n? [p]\n: q\n~: r\n2025-01-01: s").errors if e.place] == [2, 3, 5, 6]
    assert read("5: x").errors[0].hint == 'put it into quotes: "5"'


def test_anchors_and_merges_bring_in_values_with_the_lines_where_they_are_written() -> None:
    tree = read("base: &base\n  k: 1\n  m: {n: 1}\nuse:\n  <<: *base\n  k: 2\nmany:\n  <<: [*base, {z: 3}]\nsame: *base\n")
    assert tree.value["use"] == {"k": 2, "m": {"n": 1}}
    assert tree.value["many"] == {"k": 1, "m": {"n": 1}, "z": 3}
    assert tree.place("use", "m", "n").line == 3
    assert tree.place("use", "k").line == 6
    assert tree.value["same"] == {"k": 1, "m": {"n": 1}}
    assert not tree.errors


@pytest.mark.parametrize("text", ["a: &x [*x]", "a: &x {b: *x}", "a: &x {<<: *x}"])
def test_an_anchor_that_contains_itself_is_an_error(text: str) -> None:
    assert "an anchor contains itself" in messages(read(text))[0]


def test_aliases_that_explode_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(UnreadableSpec, match="200,000"):
        read("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "line", "words", "hint"),
    [
        ("", 1, "empty", None),
        ("# only a comment\n", 1, "empty", None),
        ("a:\n\t- b\n", 2, "tab|cannot start", "spaces"),
        ("a: b: c\n", 1, "not YAML", "quotes"),
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "not YAML", None),
        ("a: 1\n---\nb: 2\n", 2, "second document", "one document"),
        ("a: 1\nb: %x\n", 2, "not YAML", "quotes"),
        ("a: 1\nb: \x01\n", 2, "U\\+0001", None),
        ("a: *nowhere\n", 1, "undefined alias", None),
    ],
)
def test_what_is_not_yaml_names_its_line(text: str, line: int, words: str, hint: str | None) -> None:
    with pytest.raises(UnreadableSpec, match=words) as caught:
        read(text)
    assert caught.value.place is not None
    assert caught.value.place.line == line
    assert hint is None or hint in (caught.value.hint or "")


def test_unknown_tags_are_errors_with_a_line() -> None:
    tree = read("a: 1\nb: !env HOME\nc: !!binary aGk=\nd: !x {}\ne: !y []\n")
    assert [e.place.line for e in tree.errors if e.place] == [2, 3, 4, 5]


def test_an_impossible_date_is_an_error_with_a_hint() -> None:
    tree = read("a: 2025-13-45")
    assert "cannot be read as a timestamp" in messages(tree)[0]
    assert tree.errors[0].hint == "put it into quotes"


def test_json_is_read_with_lines_tabs_and_surrogate_pairs() -> None:
    tree = read('{\n\t"a": 1e3,\n\t"b": ["\\ud83d\\ude00", "x\\/y", "tab\\t"]\n}', "a.json")
    assert tree.value == {"a": 1000.0, "b": ["\U0001f600", "x/y", "tab\t"]}
    assert tree.place("b", 1).line == 3


def test_broken_json_names_its_line() -> None:
    with pytest.raises(UnreadableSpec, match="not JSON") as caught:
        read('{\n"a": 1,\n}', "a.json")
    assert str(caught.value).startswith("a.json:")


def test_json_with_a_key_given_twice_is_an_error() -> None:
    assert "given twice" in messages(read('{"a": 1, "a": 2}', "a.json"))[0]


@pytest.mark.parametrize("file", ["a.yaml", "a.json"])
def test_nesting_without_end_is_an_error_and_no_crash(file: str) -> None:
    with pytest.raises(UnreadableSpec, match="nested too deeply"):
        read("[" * 5000 + "]" * 5000, file)


def test_files_that_cannot_be_a_spec(tmp_path: Path) -> None:
    (tmp_path / "orders.yaml").write_text("name: x")
    (tmp_path / "binary.yaml").write_bytes(b"PAR1\x00\x01")
    (tmp_path / "latin.yaml").write_bytes("a: 1\nb: caf\xe9\n".encode("latin-1"))
    for name, words in [
        ("order.yaml", "no such file"),
        ("binary.yaml", "binary"),
        ("latin.yaml", "0xe9 is not UTF-8"),
        (".", "folder"),
        ("nowhere/x.yaml", "no such file"),
    ]:
        with pytest.raises(UnreadableSpec, match=words):
            read_text(tmp_path / name)
    with pytest.raises(UnreadableSpec) as caught:
        read_text(tmp_path / "order.yaml")
    assert "orders.yaml" in (caught.value.hint or "")
    with pytest.raises(UnreadableSpec) as caught:
        read_text(tmp_path / "latin.yaml")
    assert caught.value.place is not None
    assert caught.value.place.line == 2


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfname: x\n")
    assert read(read_text(tmp_path / "a.yaml")).value == {"name": "x"}


KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\ufeff"), max_size=6)
TREES: st.SearchStrategy[Any] = st.recursive(
    st.integers(-5, 5) | st.booleans() | KEYS,
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(KEYS, inner, min_size=1, max_size=3),
    max_leaves=12,
)


def write(value: Any, indent: int, line: int, at: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int]) -> list[str]:
    """Block YAML for `value` whose first line will be `line`; notes the line of every key and item."""
    out: list[str] = []
    margin = " " * indent
    for key, each in value.items() if isinstance(value, dict) else enumerate(value):
        head = f"{margin}{json.dumps(key, ensure_ascii=False)}:" if isinstance(value, dict) else f"{margin}-"
        lines[*at, key] = line + len(out) + (0 if isinstance(value, dict) or not isinstance(each, (dict, list)) else 1)
        if isinstance(each, (dict, list)):
            out.append(head)
            out.extend(write(each, indent + 2, line + len(out), (*at, key), lines))
        else:
            out.append(f"{head} {json.dumps(each, ensure_ascii=False)}")
    return out


@given(st.dictionaries(KEYS, TREES, min_size=1, max_size=4))
def test_any_path_of_keys_leads_to_its_line(value: dict[str, Any]) -> None:
    lines: dict[tuple[str | int, ...], int] = {}
    text = "\n".join(write(value, 0, 1, (), lines))
    tree = read(text)
    assert tree.value == value
    for path, line in lines.items():
        assert tree.place(*path).line == line, path


@given(st.text(max_size=60))
def test_no_text_makes_the_reader_fail_in_another_way(text: str) -> None:
    with contextlib.suppress(SpecError):
        read(text)
