"""Whether data written with one Avro schema can be read with another, by Avro's rules of schema resolution."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from beam_datahub.schemas.avro_model import AvroSchema
from beam_datahub.schemas.difference import Difference

_PROMOTED: dict[str, frozenset[str]] = {
    "long": frozenset({"int"}),
    "float": frozenset({"int", "long"}),
    "double": frozenset({"int", "long", "float"}),
    "bytes": frozenset({"string"}),
    "string": frozenset({"bytes"}),
}
_NAMED = ("record", "error", "enum", "fixed")


def avro_differences(reader: AvroSchema, writer: AvroSchema) -> list[Difference]:
    """Why `reader` cannot read what `writer` wrote; empty when it can."""
    return _Comparison(reader, writer).compare(reader.root, writer.root)


@dataclass
class _Comparison:
    reader: AvroSchema
    writer: AvroSchema
    done: dict[tuple[str, str], list[Difference]] = field(default_factory=dict)
    under_way: set[tuple[str, str]] = field(default_factory=set)
    assumed: set[tuple[str, str]] = field(default_factory=set)

    def compare(self, reader: Any, writer: Any, path: str = "/") -> list[Difference]:
        """The differences of two schemas; `path` is where the reader's stands."""
        reader, writer = self.reader.resolve(reader), self.writer.resolve(writer)
        return [difference.below(path) for difference in self._resolved(reader, writer)]

    def _resolved(self, reader: Any, writer: Any) -> list[Difference]:
        if _kind(reader) not in ("record", "error") or _kind(writer) not in ("record", "error"):
            return self._plain(reader, writer)
        pair = (reader["name"], writer["name"])
        if pair in self.done:
            return self.done[pair]
        if pair in self.under_way:
            # A record inside itself is as compatible as the rest of it turns out to be.
            self.assumed.add(pair)
            return []
        self.under_way.add(pair)
        found = self._records(reader, writer)
        self.under_way.discard(pair)
        self.assumed.discard(pair)
        if found or not self.assumed:
            # What rests on an assumption about an outer record is compared anew elsewhere.
            self.done[pair] = found
        return found

    def _plain(self, reader: Any, writer: Any) -> list[Difference]:
        of_reader, of_writer = _kind(reader), _kind(writer)
        if of_writer == "union":
            if of_reader != "union":
                return [difference for branch in writer for difference in self.compare(reader, branch)]
            return [
                _missing_branch(self.writer.resolve(branch), f"/{index}")
                for index, branch in enumerate(writer)
                if self.compare(reader, branch)
            ]
        if of_reader == "union":
            if any(not self.compare(branch, writer) for branch in reader):
                return []
            return [_missing_branch(writer, "/")]
        if of_reader != of_writer:
            if of_writer in _PROMOTED.get(of_reader, ()):
                return _logical(reader, writer, promoted=True)
            return [
                Difference("TYPE_MISMATCH", "/", f"{{reader}} has the type {_named(reader)}, {{writer}} has {_named(writer)}")
            ]
        if of_reader == "array":
            return self.compare(reader["items"], writer["items"], "/items")
        if of_reader == "map":
            return self.compare(reader["values"], writer["values"], "/values")
        if of_reader == "fixed":
            return [*_names(reader, writer), *_sizes(reader, writer), *_logical(reader, writer)]
        if of_reader == "enum":
            return [*_names(reader, writer), *_symbols(reader, writer)]
        return _logical(reader, writer)

    def _records(self, reader: Any, writer: Any) -> list[Difference]:
        found = _names(reader, writer)
        written = {each["name"]: each for each in writer["fields"]}
        for index, each in enumerate(reader["fields"]):
            place = f"/fields/{index}"
            sources = [name for name in dict.fromkeys((each["name"], *each.get("aliases", ()))) if name in written]
            if len(sources) > 1:
                words = (
                    f"the field '{each['name']}' of {{reader}} is by name and aliases each of {', '.join(sources)} of {{writer}}"
                )
                found.append(Difference("READER_FIELD_AMBIGUOUS", place, words))
            elif sources:
                found += self.compare(each["type"], written[sources[0]]["type"], f"{place}/type")
            elif "default" not in each:
                found.append(
                    Difference(
                        "READER_FIELD_MISSING_DEFAULT_VALUE",
                        place,
                        f"the field '{each['name']}' of {{reader}} has no default, and {{writer}} does not have the field",
                    )
                )
        return found


def _kind(schema: Any) -> str:
    if isinstance(schema, list):
        return "union"
    return schema if isinstance(schema, str) else str(schema["type"])


def _named(schema: Any) -> str:
    kind = _kind(schema)
    return f"{kind} {schema['name']}" if kind in _NAMED else kind


def _missing_branch(writer: Any, path: str) -> Difference:
    return Difference(
        "MISSING_UNION_BRANCH", path, f"no type in the union of {{reader}} reads the {_named(writer)} of {{writer}}"
    )


def _names(reader: Any, writer: Any) -> list[Difference]:
    """Names match without their namespaces, or by an alias of the reader's."""
    theirs = writer["name"]
    namespace = reader["name"].rpartition(".")[0]
    aliases = {alias if "." in alias or not namespace else f"{namespace}.{alias}" for alias in reader.get("aliases", ())}
    if reader["name"].rpartition(".")[2] == theirs.rpartition(".")[2] or theirs in aliases:
        return []
    return [Difference("NAME_MISMATCH", "/name", f"{{reader}} names the {_kind(reader)} {reader['name']}, {{writer}} {theirs}")]


def _sizes(reader: Any, writer: Any) -> list[Difference]:
    if reader["size"] == writer["size"]:
        return []
    words = f"{{reader}} has {reader['size']} bytes in the fixed {reader['name']}, {{writer}} {writer['size']}"
    return [Difference("FIXED_SIZE_MISMATCH", "/size", words)]


def _symbols(reader: Any, writer: Any) -> list[Difference]:
    missing = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
    if not missing or reader.get("default") in reader["symbols"]:
        return []
    words = f"the enum {reader['name']} of {{reader}} lacks {', '.join(missing)} of {{writer}} and has no default"
    return [Difference("MISSING_ENUM_SYMBOLS", "/symbols", words)]


def _logical(reader: Any, writer: Any, *, promoted: bool = False) -> list[Difference]:
    """Logical types that would give one stored number two meanings.

    Avro asks decimals to agree in precision and scale; a unit of time that changes shifts every value without a word.
    One side without a logical type reads the number as it stands.
    """
    ours, theirs = _meaning(reader), _meaning(writer)
    if ours is None or theirs is None or ours == theirs or (promoted and _kind(reader) in ("string", "bytes")):
        return []
    code = "DECIMAL_MISMATCH" if ours.startswith("decimal") and theirs.startswith("decimal") else "LOGICAL_TYPE_MISMATCH"
    return [Difference(code, "/logicalType", f"{{reader}} takes the value for {ours}, {{writer}} for {theirs}")]


def _meaning(schema: Any) -> str | None:
    logical = schema.get("logicalType") if isinstance(schema, dict) else None
    if logical == "decimal":
        return f"decimal({schema.get('precision')},{schema.get('scale', 0)})"
    if logical in ("uuid", None) or not isinstance(logical, str):
        return None
    return logical if logical in _UNITS else None


_UNITS = frozenset(
    {
        "date",
        "time-millis",
        "time-micros",
        "timestamp-millis",
        "timestamp-micros",
        "timestamp-nanos",
        "local-timestamp-millis",
        "local-timestamp-micros",
        "local-timestamp-nanos",
        "duration",
    }
)
