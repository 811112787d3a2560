"""Writes what tests gave into their expectations, in the spec's own file: comments and everything else stay as they are."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from beam_datahub.spec import FileRows
from beam_datahub.testing.comparing import alike
from beam_datahub.testing.expectations import Found, TestOutcome
from beam_datahub.testing.given_files import write_file
from beam_datahub.testing.values import meant
from beam_datahub.testing.verdicts import failing_rows, failures

_WIDE = 4096


def rewritten(text: str, outcomes: Sequence[TestOutcome], *, is_json: bool = False) -> str:
    """The text of a spec whose failed tests expect what came; rows that stand in files are `rewritten_files`' to change.

    Only the lines of these tests change. A test whose run failed stays as it is.
    """
    for outcome in outcomes:
        if outcome.found is not None and outcome.test is not None and outcome.problems:
            position = outcome.test.at[-1]
            assert isinstance(position, int)
            text = _with_test(text, position, outcome, is_json=is_json)
    return text


def _with_test(text: str, position: int, outcome: TestOutcome, *, is_json: bool) -> str:
    if is_json:
        value = json.loads(text)
        _expect(value["tests"][position], outcome)
        return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    yaml = _yaml(text)
    value = yaml.load(text)
    _expect(value["tests"][position], outcome)
    stream = io.StringIO()
    yaml.dump(value, stream)
    whole = stream.getvalue()
    ours, theirs = text.splitlines(keepends=True), whole.splitlines(keepends=True)
    (start, end), (new_start, new_end) = _lines_of(text, position), _lines_of(whole, position)
    spliced = "".join([*ours[:start], *theirs[new_start:new_end], *ours[end:]])
    # Where the rest is laid out in a way that a part alone does not fit into, all of it is written anew.
    return spliced if _same_content(spliced, whole) else whole


def _yaml(text: str) -> Any:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _WIDE
    tests = next((line for line in text.splitlines() if line.startswith("tests:")), None)
    after = text.splitlines()[text.splitlines().index(tests) + 1 :] if tests is not None else []
    item = next((line for line in after if line.lstrip().startswith("- ")), "  - ")
    offset = len(item) - len(item.lstrip())
    yaml.indent(mapping=2, sequence=offset + 2, offset=offset)
    return yaml


def _lines_of(text: str, position: int) -> tuple[int, int]:
    """The lines of a test, from its dash to the line before what follows."""
    from beam_datahub.spec.tree import compose

    _, root = compose(text, "spec.yaml")
    assert root is not None
    tests = next(value for key, value in root.value if key.value == "tests")
    items = tests.value
    start = items[position].start_mark.line
    if position + 1 < len(items):
        return start, items[position + 1].start_mark.line
    last = max(_ends(items[position]))
    return start, last + 1


def _ends(node: Any) -> Iterator[int]:
    """The last lines of all scalars and flow collections below a node."""
    children = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
    if isinstance(node.value, str) or node.flow_style:
        yield node.end_mark.line if node.end_mark.column or node.flow_style else node.end_mark.line - 1
        return
    yield node.start_mark.line
    for child in children:
        yield from _ends(child)


def _same_content(one: str, other: str) -> bool:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return bool(YAML(typ="safe", pure=True).load(one) == YAML(typ="safe", pure=True).load(other))
    except YAMLError:
        return False


def _expect(written: Any, outcome: TestOutcome) -> None:
    """Change the expectations of a test, in place, to what came."""
    found, test = outcome.found, outcome.test
    assert found is not None
    assert test is not None
    collected = found.collected
    for name, expected in test.expect.items():
        if isinstance(expected, FileRows):
            continue
        _rows(written["expect"][name], collected.tables[name])
    if test.rejected is not None:
        letters = collected.rejected.to_pylist()
        if isinstance(test.rejected, int):
            written["rejected"] = len(letters)
        elif any(line.startswith("rejected:") for line in outcome.problems):
            keys = ("step", "reason", "column")
            written["rejected"] = _listed([{key: each[key] for key in keys if each[key]} for each in letters])
    if test.violations is not None:
        _violations(written, test.violations, found)
    for name in test.lineage:
        came = found.origins[name]
        if came is not None and set(came) != set(test.lineage[name]):
            written["lineage"][name] = _flow(list(came))


def rewritten_files(outcomes: Sequence[TestOutcome], folder: Path) -> Iterator[tuple[Path, str | None, str | None]]:
    """Put what came into the files of rows that failed tests expect: each file with its text before and after.

    The text is None where there was no file, or where it is not text. Raises
    InvalidValue for a file that no connector writes.
    """
    for outcome in outcomes:
        if outcome.found is None or outcome.test is None:
            continue
        for name, expected in outcome.test.expect.items():
            if isinstance(expected, FileRows) and _stands(outcome, name):
                target = Path(folder, expected.file)
                before = _text_of(target)
                write_file(expected, outcome.found.collected.tables[name], folder)
                yield target, before, _text_of(target)


def _text_of(file: Path) -> str | None:
    try:
        return file.read_bytes().decode("utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def _stands(outcome: TestOutcome, name: str) -> bool:
    return any(line.startswith((f"{name}:", f"{name} ")) for line in outcome.problems)


def _violations(written: Any, expected: int | Mapping[str, Any], found: Found) -> None:
    came = failures(found.collected)
    if isinstance(expected, int):
        written["violations"] = sum(came.values())
        return
    for name in dict.fromkeys([*expected, *came]):
        if name not in came:
            del written["violations"][name]
        elif isinstance(expected.get(name, 0), int):
            written["violations"][name] = came[name]
        else:
            columns = dict.fromkeys(column for row in expected[name] for column in row)
            rows = failing_rows(found.collected, name)
            written["violations"][name] = _listed([{c: row.get(c) for c in columns} if columns else row for row in rows])


def _rows(written: Any, table: pa.Table) -> None:
    """Change a list of rows to those of a table: what is right stays, what differs in a few cells is mended there."""
    types = {field.name: field.type for field in table.schema}
    came = table.to_pylist()
    meanings = [tuple(meant(row[name], kind) for name, kind in types.items()) for row in came]
    left = list(range(len(came)))
    kept: dict[int, int] = {}
    have = [tuple(meant(row.get(name), kind) for name, kind in types.items()) for row in written]
    for number, row in enumerate(have):
        same = next((each for each in left if meanings[each] == row and set(written[number]) <= set(types)), None)
        if same is not None:
            kept[number] = same
            left.remove(same)
    for number, row in enumerate(have):
        if number not in kept and left:
            twin = max(left, key=lambda each: alike(meanings[each], row))
            kept[number] = twin
            left.remove(twin)
    for number in reversed(range(len(written))):
        if number not in kept:
            del written[number]
        else:
            _mend(written[number], came[kept[number]], types)
    written.extend(_flow({name: _plain(value, types[name]) for name, value in came[each].items()}) for each in left)


def _mend(written: Any, row: Mapping[str, Any], types: Mapping[str, pa.DataType]) -> None:
    for name in [each for each in written if each not in types]:
        del written[name]
    for name, value in row.items():
        if name not in written or meant(written[name], types[name]) != meant(value, types[name]):
            written[name] = _plain(value, types[name])


def _listed(rows: list[dict[str, Any]]) -> Any:
    return [_flow(row) for row in rows] or _flow([])


def _flow(value: Any) -> Any:
    """A mapping or list that is written on one line."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    found = CommentedMap(value) if isinstance(value, dict) else CommentedSeq(value)
    found.fa.set_flow_style()
    return found


def _plain(value: Any, kind: pa.DataType) -> Any:
    """A value as a YAML file has it, which means the same again."""
    if isinstance(value, Decimal):
        short = int(value) if value == value.to_integral_value() and abs(value) < 2**53 else float(value)
        return short if meant(short, kind) == meant(value, kind) else str(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, float) and not isinstance(value, bool) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, str) and str(kind).startswith("extension<arrow.json"):
        return json.loads(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each, pa.null()) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, pa.null()) for each in value]
    return value


def write_back(file: Path, text: str) -> None:
    """Put `text` in the place of a file, whole or not at all."""
    staged = file.with_name(f".{file.name}.new")
    staged.write_text(text, encoding="utf-8")
    staged.replace(file)
