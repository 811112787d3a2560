"""Writes a discovered schema into a spec, and leaves every other character of the file as it is."""

from __future__ import annotations

import codecs
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from beam_datahub.errors import InvalidValue, SpecError, UnknownName, UnreadableSpec
from beam_datahub.spec.tree import Keys, Tree, compose, read_text, read_tree

if TYPE_CHECKING:
    from ruamel.yaml.nodes import MappingNode, Node

# Texts that YAML takes for themselves without quotes: nothing in them can mean anything else.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OTHER = re.compile(r"(?i)(true|false|null|yes|no|on|off|y|n)")


def pin(path: str | Path, source: str, columns: Mapping[str, str]) -> None:
    """Declare `columns` (column → SQL type) as the schema of `source` in the spec file at `path`.

    A schema that is there is replaced; comments and formatting stay. Raises SpecError where it cannot be written.
    """
    file = Path(path)
    text = read_text(file)
    tree = read_tree(text, str(path))
    at = _source(tree, source)
    written = _with_schema(text, tree, at, columns)
    if written is None or not _is_pinned(written, tree, at, columns):
        raise InvalidValue(
            f"the schema of '{source}' cannot be written here",
            hint=f"it comes from an anchor or a merge; write it by hand: schema: {_flow(columns, is_json=False)}",
            place=tree.place(*at),
        )
    try:
        marked = file.read_bytes().startswith(codecs.BOM_UTF8)
        _replace(file, codecs.BOM_UTF8 * marked + written.encode())
    except OSError as error:
        raise UnreadableSpec(f"the file cannot be written: {error.strerror}", place=tree.place(*at)) from error


def _source(tree: Tree, source: str) -> Keys:
    value = tree.value if isinstance(tree.value, dict) else {}
    several, single = value.get("sources"), value.get("source")
    if isinstance(several, dict) and isinstance(several.get(source), dict):
        return ("sources", source)
    names = list(several) if isinstance(several, dict) else []
    if isinstance(single, dict):
        names = [single.get("name") or single.get("id") or "source"]
        if source in names:
            return ("source",)
    raise UnknownName("source", source, names, place=tree.place("sources"))


def _with_schema(text: str, tree: Tree, at: Keys, columns: Mapping[str, str]) -> str | None:
    """`text` with the schema put in, None where the source is not written as a mapping of its own."""
    is_json = tree.file.endswith(".json")
    # As when it is read: the positions stay, since a tab becomes one space.
    _, root = compose(text.replace("\t", " ") if is_json else text, tree.file)
    node = _find(root, at)
    if node is None or not node.value:
        return None
    field = ('"schema": ' if is_json else "schema: ") + _flow(columns, is_json=is_json)
    ending = "\r\n" if "\r\n" in text else "\n"
    for key, value in node.value:
        if key.value == "schema":
            start, end = key.start_mark.index, value.end_mark.index
            if node.flow_style:
                return f"{text[:start]}{field}{text[end:]}"
            # A block ends where the next token starts: the comments between belong to that.
            end = start + len(_trimmed(text[start:end]))
            return text[:start] + _block(columns, key.start_mark.column, ending) + text[end:]
    if node.flow_style:
        end = node.value[-1][1].end_mark.index
        return f"{text[:end]}, {field}{text[end:]}"
    key, value = next(((k, v) for k, v in node.value if k.value == "connector"), node.value[0])
    block = _block(columns, key.start_mark.column, ending)
    margin = " " * key.start_mark.column
    if value.start_mark.line != key.start_mark.line:
        # The value stands elsewhere (an alias, a merge), so that the end of this entry is not known: go before it.
        return f"{text[: key.start_mark.index]}{block}{ending}{margin}{text[key.start_mark.index :]}"
    line_end = text.find("\n", value.end_mark.index)
    if line_end < 0:
        return f"{text}{ending}{margin}{block}{ending}"
    return f"{text[: line_end + 1]}{margin}{block}{ending}{text[line_end + 1 :]}"


def _find(root: Node | None, at: Keys) -> MappingNode | None:
    from ruamel.yaml.nodes import MappingNode

    node = root
    for name in at:
        if not isinstance(node, MappingNode):
            return None
        node = next((value for key, value in node.value if key.value == name), None)
    return node if isinstance(node, MappingNode) else None


def _trimmed(text: str) -> str:
    """`text` without the blank and comment lines at its end, and without its last line break."""
    lines = text.split("\n")
    while len(lines) > 1 and (not lines[-1].strip() or lines[-1].lstrip().startswith("#")):
        lines.pop()
    return "\n".join(lines).removesuffix("\r")


def _block(columns: Mapping[str, str], indent: int, ending: str) -> str:
    margin = " " * (indent + 2)
    return ending.join(["schema:", *(f"{margin}{_quoted(name)}: {_quoted(kind)}" for name, kind in columns.items())])


def _flow(columns: Mapping[str, str], *, is_json: bool) -> str:
    if is_json:
        text = json.dumps(dict(columns), ensure_ascii=False)
        return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
    return "{" + ", ".join(f"{_quoted(name)}: {_quoted(kind)}" for name, kind in columns.items()) + "}"


def _quoted(text: str) -> str:
    """`text` as YAML: plain where that is safe, else in double quotes."""
    if _PLAIN.fullmatch(text) and not _OTHER.fullmatch(text):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08X}" for char in quoted)


def _is_pinned(text: str, tree: Tree, at: Keys, columns: Mapping[str, str]) -> bool:
    """Whether `text` says what the spec said, and the schema, and nothing else."""
    try:
        found = read_tree(text, tree.file)
    except SpecError:
        return False
    return not found.errors and bool(found.value == _expected(tree.value, at, columns))


def _expected(value: object, at: Keys, columns: Mapping[str, str]) -> object:
    assert isinstance(value, dict)
    if not at:
        return {**value, "schema": dict(columns)}
    return {**value, at[0]: _expected(value[at[0]], at[1:], columns)}


def _replace(file: Path, data: bytes) -> None:
    """Write `data` in one go: whoever reads the file sees the old one or the new one."""
    target = file.resolve()
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        os.chmod(name, target.stat().st_mode & 0o7777)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
