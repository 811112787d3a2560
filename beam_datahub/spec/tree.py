"""YAML or JSON → plain values, with the line of every key and item.

YAML is read as 1.2: `on` and `no` are text, dates and timestamps are dates and timestamps. Anchors, aliases and merge
keys (`<<`) work; what they bring in keeps the line where it is written.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from beam_datahub.errors import InvalidValue, Place, SpecError, UnreadableSpec, nearest

if TYPE_CHECKING:
    from ruamel.yaml import YAML
    from ruamel.yaml.nodes import MappingNode, Node

Keys = tuple[str | int, ...]

# Aliases of aliases grow exponentially: a spec of a kilobyte can stand for more values than memory holds.
_MOST_VALUES = 200_000
_TAG = "tag:yaml.org,2002:"


class Tree:
    """Values of a file and where they stand.

    `value` is made of dict, list, str, int, float, bool, None, date and datetime. `lines` gives the 1-based line of each
    key path. `errors` are the mistakes met on the way that did not stop the reading.
    """

    def __init__(self, file: str, value: Any, lines: dict[Keys, int], errors: list[SpecError]) -> None:
        self.file = file
        self.value = value
        self.lines = lines
        self.errors = errors

    def place(self, *keys: str | int) -> Place:
        """The place of a key path; where it does not exist, the line is that of its nearest existing parent."""
        for length in range(len(keys), -1, -1):
            if keys[:length] in self.lines:
                return Place(self.file, self.lines[keys[:length]], keys)
        return Place(self.file, None, keys)


def read_text(path: Path) -> str:
    """The text of a spec file. Raises UnreadableSpec where it is missing, no file, or no UTF-8 text."""
    place = Place(str(path))
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        folder = path.parent
        siblings = [f.name for f in folder.iterdir() if f.is_file()] if folder.is_dir() else []
        guess = nearest(path.name, siblings)
        hint = f"did you mean '{folder / guess}'?" if guess else "give the path of a YAML or JSON file"
        raise UnreadableSpec("there is no such file", hint=hint, place=place) from error
    except IsADirectoryError as error:
        raise UnreadableSpec("this is a folder", hint="give the path of a YAML or JSON file in it", place=place) from error
    except OSError as error:
        raise UnreadableSpec(f"the file cannot be read: {error.strerror}", place=place) from error
    if b"\0" in data:
        raise UnreadableSpec("this is a binary file", hint="a spec is YAML or JSON text in UTF-8", place=place)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UnreadableSpec(
            f"the byte 0x{data[error.start]:02x} is not UTF-8",
            hint="save the file in the encoding UTF-8",
            place=Place(str(path), line),
        ) from error


def read_tree(text: str, file: str) -> Tree:
    """The positioned tree of `text`. Raises UnreadableSpec where it is not YAML or JSON at all."""
    is_json = file.endswith(".json")
    value = _json(text, file) if is_json else None
    try:
        # Between the tokens of JSON a tab is white space, inside them it is not allowed; YAML refuses it everywhere.
        reader = _Reader(file)
        tree = reader.read(text.replace("\t", " ") if is_json else text)
    except RecursionError as error:
        raise UnreadableSpec("the values are nested too deeply", place=Place(file)) from error
    if is_json:
        # YAML reads the escapes of JSON a little differently (surrogate pairs), so that only the lines are taken from it.
        tree.value = value
    return tree


def _json(text: str, file: str) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UnreadableSpec(f"this is not JSON: {error.msg}", place=Place(file, error.lineno)) from error
    except RecursionError as error:
        raise UnreadableSpec("the values are nested too deeply", place=Place(file)) from error


def compose(text: str, file: str) -> tuple[YAML, Node | None]:
    """The node graph of a YAML text, with its marks. Raises UnreadableSpec."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    yaml = YAML(typ="safe", pure=True)
    try:
        return yaml, yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "it cannot be parsed"
        hint = None
        if "\\t" in problem:
            hint = "indent with spaces, not with tabs"
        elif "another document" in problem:
            problem, hint = "a second document starts here", "one file holds one document"
        elif "mapping values are not allowed" in problem:
            hint = "put a text that contains ': ' into quotes"
        elif "expected <block end>" in problem:
            hint = "keys of one mapping, and the dashes of one list, stand exactly below each other"
        elif "'}', but got '{'" in problem or "']', but got '{'" in problem:
            hint = "put a text with ${…} into quotes where it stands between braces"
        elif "%" in problem or "`" in problem or "@" in problem:
            hint = "put a text that starts with a special character into quotes"
        line = mark.line + 1 if mark is not None else None
        raise UnreadableSpec(f"this is not YAML: {problem}", hint=hint, place=Place(file, line)) from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UnreadableSpec(
            f"the character U+{ord(text[error.position]):04X} is not allowed", place=Place(file, line)
        ) from error
    except YAMLError as error:
        raise UnreadableSpec("this is not YAML", place=Place(file)) from error


class _Reader:
    """Walks a node graph once, building values and lines."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._lines: dict[Keys, int] = {}
        self._errors: list[SpecError] = []
        self._open: set[int] = set()
        self._count = 0

    def read(self, text: str) -> Tree:
        self._yaml, node = compose(text, self._file)
        if node is None:
            raise UnreadableSpec("the file is empty", place=Place(self._file, 1))
        return Tree(self._file, self._value(node, ()), self._lines, self._errors)

    def _error(self, reason: str, node: Node, keys: Keys, hint: str | None = None) -> None:
        self._errors.append(InvalidValue(reason, hint=hint, place=Place(self._file, node.start_mark.line + 1, keys)))

    def _value(self, node: Node, keys: Keys) -> Any:
        from ruamel.yaml.nodes import MappingNode, SequenceNode

        self._lines.setdefault(keys, node.start_mark.line + 1)
        self._count += 1
        if self._count > _MOST_VALUES:
            raise UnreadableSpec(
                "it holds, or its aliases stand for, more than 200,000 values",
                hint="keep data in a file of its own",
                place=Place(self._file),
            )
        if id(node) in self._open:
            self._error("an anchor contains itself", node, keys)
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, MappingNode):
                return self._mapping(node, keys)
            if isinstance(node, SequenceNode):
                if str(node.tag) != f"{_TAG}seq":
                    self._error(f"the tag {_shown(node)} is not known here", node, keys)
                return [self._item(child, (*keys, position)) for position, child in enumerate(node.value)]
            return self._scalar(node, keys)
        finally:
            self._open.discard(id(node))

    def _item(self, node: Node, keys: Keys) -> Any:
        self._lines[keys] = node.start_mark.line + 1
        return self._value(node, keys)

    def _mapping(self, node: MappingNode, keys: Keys) -> dict[str, Any]:
        if str(node.tag) != f"{_TAG}map":
            self._error(f"the tag {_shown(node)} is not known here", node, keys)
        found: dict[str, Any] = {}
        merged: list[Node] = []
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            if str(key_node.tag) == f"{_TAG}merge":
                merged.append(value_node)
                continue
            key = self._key(key_node, keys)
            if key is None:
                continue
            line = key_node.start_mark.line + 1
            if key in first:
                reason = f"the key '{key}' is given twice (first on line {first[key]})"
                self._error(reason, key_node, (*keys, key), "remove one of them")
                continue
            first[key] = line
            self._lines[*keys, key] = line
            found[key] = self._value(value_node, (*keys, key))
        for value_node in merged:
            self._merge(value_node, keys, found)
        return found

    def _merge(self, node: Node, keys: Keys, found: dict[str, Any]) -> None:
        """Bring in what `<<` points to; the mapping's own keys win, then earlier ones of a list."""
        from ruamel.yaml.nodes import MappingNode, SequenceNode

        if isinstance(node, SequenceNode) and all(isinstance(child, MappingNode) for child in node.value):
            for child in node.value:
                self._merge(child, keys, found)
        elif isinstance(node, MappingNode):
            if id(node) in self._open:
                self._error("an anchor contains itself", node, keys)
                return
            other = _Reader(self._file)
            other._yaml, other._open, other._count = self._yaml, self._open, self._count
            brought = other._value(node, keys)
            self._count = other._count
            self._errors.extend(error for error in other._errors if str(error) not in {str(known) for known in self._errors})
            wanted = brought.keys() - found.keys()
            depth = len(keys)
            for path, line in other._lines.items():
                if len(path) > depth and path[depth] in wanted:
                    self._lines[path] = line
            found.update({key: value for key, value in brought.items() if key in wanted})
        else:
            self._error("`<<` takes a mapping or a list of mappings", node, keys)

    def _key(self, node: Node, keys: Keys) -> str | None:
        if str(node.tag) == f"{_TAG}str" and isinstance(node.value, str):
            return node.value
        if isinstance(node.value, str):
            hint = f'put it into quotes: "{node.value}"' if node.value else None
            self._error(f"a key must be text, not {node.value or 'nothing'}", node, keys, hint)
        else:
            self._error(
                "a key must be text, not a list or a mapping", node, keys, "put a text that starts with { or [ into quotes"
            )
        return None

    def _scalar(self, node: Node, keys: Keys) -> Any:
        kind = str(node.tag)
        if kind == f"{_TAG}str":
            return node.value
        if kind not in {f"{_TAG}{name}" for name in ("null", "bool", "int", "float", "timestamp")}:
            self._error(f"the tag {_shown(node)} is not known here", node, keys)
            return None
        try:
            if kind == f"{_TAG}timestamp" and len(node.value) > 10:
                try:
                    return datetime.fromisoformat(node.value)
                except ValueError:
                    pass
            return self._yaml.constructor.construct_object(node)
        except Exception:
            self._error(f"'{node.value}' cannot be read as a {kind.removeprefix(_TAG)}", node, keys, "put it into quotes")
            return None


def _shown(node: Node) -> str:
    return str(node.tag).replace(_TAG, "!!")
