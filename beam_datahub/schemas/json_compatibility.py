"""Whether data valid under one JSON Schema is valid under another, by the rules that schema registries go by.

A property may only be added where the earlier version allowed none of its name, and only be removed where the later one
allows any: that is the content model, open, partly open or closed.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from beam_datahub.errors import InvalidSchema
from beam_datahub.schemas.difference import Difference, harmful
from beam_datahub.schemas.json_codes import difference
from beam_datahub.schemas.json_model import ABSENT, JsonSchema, Node
from beam_datahub.schemas.json_values import (
    bounds,
    constants,
    covering,
    enums,
    is_open,
    numbers,
    required,
    same,
    set_change,
    strings,
)

_Pair = tuple[int, int]
_MAX_COMPARISONS = 3_000_000
_STACK_FRAMES = 200_000
# Taken as address space, and as memory only as far as it is used.
_STACK_BYTES = 512 * 1024 * 1024


def json_differences(reader: JsonSchema, writer: JsonSchema) -> list[Difference]:
    """All differences from `writer` to `reader`, harmful or not.

    A schema inside itself is first taken to be compatible with its counterpart; what turns out not to be is put in and
    all is compared again, until nothing changes.
    """
    # Definitions that all refer to each other make a chain of every pair of them, longer than Python's own stack.
    limit, size = sys.getrecursionlimit(), threading.stack_size(_STACK_BYTES)
    sys.setrecursionlimit(max(limit, _STACK_FRAMES))
    try:
        with ThreadPoolExecutor(1) as deep:
            return deep.submit(_until_stable, reader, writer).result()
    except RecursionError as error:
        raise InvalidSchema("the definitions of the schema refer to each other in too many ways to compare them") from error
    finally:
        sys.setrecursionlimit(limit)
        threading.stack_size(size)


def _until_stable(reader: JsonSchema, writer: JsonSchema) -> list[Difference]:
    refuted: dict[_Pair, list[Difference]] = {}
    while True:
        comparison = _Comparison(refuted)
        found = comparison.compare(writer.root, reader.root)
        wrong = {pair: each for pair, each in comparison.done.items() if harmful(each)}
        if not comparison.assumed or wrong.keys() == refuted.keys():
            return found
        refuted = wrong


@dataclass
class _Comparison:
    refuted: dict[_Pair, list[Difference]]
    done: dict[_Pair, list[Difference]] = field(default_factory=dict)
    under_way: set[_Pair] = field(default_factory=set)
    assumed: bool = False
    left: int = _MAX_COMPARISONS

    def compare(self, old: Node | None, new: Node | None, path: str = "#/") -> list[Difference]:
        """The differences of two schemas that stand at `path`."""
        self.left -= 1
        if self.left < 0:
            raise RecursionError
        if old is None or new is None:
            if old is new:
                return []
            return [difference("SCHEMA_ADDED" if old is None else "SCHEMA_REMOVED", path)]
        old, new = old.referred, new.referred
        pair = (id(old), id(new))
        found = self.done.get(pair)
        if found is None and pair in self.under_way:
            found = self.refuted.get(pair)
            if found is None:
                self.assumed = True
                return []
        if found is None:
            self.under_way.add(pair)
            try:
                found = self.done[pair] = list(self._nodes(old, new))
            finally:
                self.under_way.discard(pair)
        return [each.below(path) for each in found]

    def _nodes(self, old: Node, new: Node) -> Iterator[Difference]:
        found = self._into_union(old, new) if new.kind == "combined" and old.kind != "combined" else None
        if old.kind == "combined" and new.kind != "combined":
            found = self._out_of_union(old, new)
        if found is not None:
            yield from found
            return
        if old.kind != new.kind:
            if old.kind == "false" or new.anything or old.connect_type == new.connect_type == "bytes":
                return
            yield difference("TYPE_CHANGED")
            return
        for code, before, after in (
            ("ID_CHANGED", old.identity, new.identity),
            ("TITLE_CHANGED", old.title, new.title),
            ("DESCRIPTION_CHANGED", old.description, new.description),
        ):
            if before != after:
                yield difference(code)
        if not same(old.default, new.default):
            yield difference("DEFAULT_CHANGED")
        compare: Callable[[Node, Node], Iterator[Difference]] | None = {
            "string": strings,
            "number": numbers,
            "const": constants,
            "enum": enums,
            "combined": self._combined,
            "not": self._negated,
            "object": self._objects,
            "array": self._arrays,
        }.get(old.kind)
        if compare is not None:
            yield from compare(old, new)

    def _into_union(self, old: Node, new: Node) -> list[Difference] | None:
        """A schema that became one of several; None when none of them takes it."""
        nodes = new.facts["nodes"]
        if len(nodes) == 1:
            found = self.compare(old, nodes[0])
            return None if harmful(found) else found
        if new.facts["criterion"] != "allOf":
            for node in nodes:
                found = self.compare(old, node)
                if not harmful(found):
                    return [*found, difference("SUM_TYPE_EXTENDED")]
        return None

    def _out_of_union(self, old: Node, new: Node) -> list[Difference] | None:
        nodes = old.facts["nodes"]
        if len(nodes) == 1:
            found = self.compare(nodes[0], new)
            return None if harmful(found) else found
        if old.facts["criterion"] == "allOf":
            for node in nodes:
                found = self.compare(node, new)
                if not harmful(found):
                    return [*found, difference("PRODUCT_TYPE_NARROWED")]
        return None

    def _combined(self, old: Node, new: Node) -> Iterator[Difference]:
        before, after = old.facts["criterion"], new.facts["criterion"]
        if before != after:
            code = _criterion_changed(old, new)
            yield difference(code)
            if code == "COMBINED_TYPE_CHANGED":
                return
        olds, news = _once(old.facts["nodes"]), _once(new.facts["nodes"])
        if len(olds) < len(news):
            yield difference("PRODUCT_TYPE_EXTENDED" if after == "allOf" else "SUM_TYPE_EXTENDED")
        elif len(olds) > len(news):
            yield difference("PRODUCT_TYPE_NARROWED" if before == "allOf" else "SUM_TYPE_NARROWED")
        edges: dict[int, dict[int, list[Difference]]] = {}
        for index, one in enumerate(olds):
            found = {at: self.compare(one, other, f"#/{before}/{index}") for at, other in enumerate(news)}
            edges[index] = {at: each for at, each in found.items() if not harmful(each)}
        # The closest counterpart first, so that what is the same is paired with itself.
        pairs = _matching({index: [at for at, _ in sorted(found.items(), key=_closeness)] for index, found in edges.items()})
        for index, at in pairs.items():
            yield from edges[index][at]
        if len(pairs) < min(len(olds), len(news)):
            yield difference("COMBINED_TYPE_SUBSCHEMAS_CHANGED")

    def _negated(self, old: Node, new: Node) -> Iterator[Difference]:
        wider = harmful(self.compare(new.facts["node"], old.facts["node"]))
        yield difference("NOT_TYPE_EXTENDED" if wider else "NOT_TYPE_NARROWED", "#/not")

    def _objects(self, old: Node, new: Node) -> Iterator[Difference]:
        before, after = old.facts["properties"], new.facts["properties"]
        for name in before:
            if name in after:
                yield from required(old, new, name)
        for name in sorted(before.keys() | after.keys()):
            path = f"#/properties/{name}"
            if name not in after:
                yield from self._removed(before[name], new, name, path)
            elif name not in before:
                yield from self._added(old, new, name, path)
            else:
                yield from self.compare(before[name], after[name], path)
        yield from self._dependencies(old, new)
        yield from self._rest(old, new, "PROPERTIES", "#/additionalProperties")
        yield from self._unevaluated(old, new, "PROPERTIES", "#/unevaluatedProperties")
        yield from bounds(old, new, "maxProperties", "minProperties")

    def _removed(self, gone: Node, new: Node, name: str, path: str) -> Iterator[Difference]:
        if is_open(new):
            yield difference("PROPERTY_REMOVED_FROM_OPEN_CONTENT_MODEL", path)
            return
        cover = covering(new, name)
        if cover is not None:
            yield from self._covered(gone, cover, "PROPERTY_REMOVED", path)
        elif gone.kind == "false":
            yield difference("PROPERTY_WITH_FALSE_REMOVED_FROM_CLOSED_CONTENT_MODEL", path)
        else:
            yield difference("PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL", path)

    def _added(self, old: Node, new: Node, name: str, path: str) -> Iterator[Difference]:
        added, model = new.facts["properties"][name], "OPEN" if is_open(old) else "UNOPEN"
        if model == "OPEN" and added.anything:
            yield difference("PROPERTY_WITH_EMPTY_SCHEMA_ADDED_TO_OPEN_CONTENT_MODEL", path)
            return
        cover = None if model == "OPEN" else covering(old, name)
        if cover is not None:
            yield from self._covered(cover, added, "PROPERTY_ADDED", path)
        need = "OPTIONAL_PROPERTY"
        if name in new.facts["required"]:
            need = "REQUIRED_PROPERTY" if added.default is ABSENT else "REQUIRED_PROPERTY_WITH_DEFAULT"
        yield difference(f"{need}_ADDED_TO_{model}_CONTENT_MODEL", path)

    def _covered(self, old: Node, new: Node, what: str, path: str) -> Iterator[Difference]:
        found = self.compare(old, new, path)
        yield from found
        yield difference(f"{what}_{'NOT' if harmful(found) else 'IS'}_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL", path)

    def _dependencies(self, old: Node, new: Node) -> Iterator[Difference]:
        before, after = old.facts["needs"], new.facts["needs"]
        for name in sorted(before.keys() | after.keys()):
            path = f"#/dependencies/{name}"
            if name not in after:
                yield difference("DEPENDENCY_ARRAY_REMOVED", path)
            elif name not in before:
                yield difference("DEPENDENCY_ARRAY_ADDED", path)
            elif before[name] != after[name]:
                yield difference(f"DEPENDENCY_ARRAY_{set_change(before[name], after[name])}", path)
        before, after = old.facts["implies"], new.facts["implies"]
        for name in sorted(before.keys() | after.keys()):
            path = f"#/dependencies/{name}"
            if name not in after:
                yield difference("DEPENDENCY_SCHEMA_REMOVED", path)
            elif name not in before:
                yield difference("DEPENDENCY_SCHEMA_ADDED", path)
            else:
                yield from self.compare(before[name], after[name], path)

    def _rest(self, old: Node, new: Node, what: str, path: str) -> Iterator[Difference]:
        """What is said of the properties or items that are not named."""
        before, after = old.facts["rest"], new.facts["rest"]
        if old.facts["closed"] != new.facts["closed"]:
            yield difference(f"ADDITIONAL_{what}_{'ADDED' if old.facts['closed'] else 'REMOVED'}", path)
        elif before is None and after is not None:
            yield difference(f"ADDITIONAL_{what}_NARROWED", path)
        elif after is None and before is not None:
            yield difference(f"ADDITIONAL_{what}_EXTENDED", path)
        else:
            yield from self.compare(before, after, path)

    def _unevaluated(self, old: Node, new: Node, what: str, path: str) -> Iterator[Difference]:
        before, after = old.facts["unevaluated"], new.facts["unevaluated"]
        if before is None and after is None:
            return
        was = "open" if before is None else "closed" if before.kind == "false" else "any" if before.anything else "some"
        now = "open" if after is None else "closed" if after.kind == "false" else "any" if after.anything else "some"
        if was == now != "open" and was in ("some", "any", "closed"):
            yield from self.compare(before, after, path)
        elif now == "closed":
            yield difference(f"UNEVALUATED_{what}_REMOVED", path)
        elif was == "closed":
            yield difference(f"UNEVALUATED_{what}_ADDED", path)
        elif was == "open" or (was == "any" and now == "some"):
            yield difference(f"UNEVALUATED_{what}_NARROWED", path)
        else:
            yield difference(f"UNEVALUATED_{what}_EXTENDED", path)

    def _arrays(self, old: Node, new: Node) -> Iterator[Difference]:
        yield from self.compare(old.facts["items"], new.facts["items"], "#/items")
        before, after = old.facts["first"], new.facts["first"]
        for index in range(max(len(before), len(after))):
            path = f"#/items/{index}"
            if index >= len(after):
                yield from self._item_removed(before[index], new, path)
            elif index >= len(before):
                yield from self._item_added(old, after[index], path)
            else:
                yield from self.compare(before[index], after[index], path)
        yield from self._rest(old, new, "ITEMS", "#/additionalItems")
        yield from self._unevaluated(old, new, "ITEMS", "#/unevaluatedItems")
        yield from bounds(old, new, "maxItems", "minItems")
        if old.facts["unique"] != new.facts["unique"]:
            yield difference(f"UNIQUE_ITEMS_{'REMOVED' if old.facts['unique'] else 'ADDED'}", "#/uniqueItems")
        yield from bounds(old, new, "maxContains", "minContains")

    def _item_removed(self, gone: Node, new: Node, path: str) -> Iterator[Difference]:
        if is_open(new):
            yield difference("ITEM_REMOVED_FROM_OPEN_CONTENT_MODEL", path)
            return
        cover = covering(new)
        if cover is not None:
            yield from self._covered(gone, cover, "ITEM_REMOVED", path)
        elif gone.kind == "false":
            yield difference("ITEM_WITH_FALSE_REMOVED_FROM_CLOSED_CONTENT_MODEL", path)
        else:
            yield difference("ITEM_REMOVED_FROM_CLOSED_CONTENT_MODEL", path)

    def _item_added(self, old: Node, added: Node, path: str) -> Iterator[Difference]:
        if is_open(old):
            code = "ITEM_WITH_EMPTY_SCHEMA_ADDED_TO" if added.anything else "ITEM_ADDED_TO"
            yield difference(f"{code}_OPEN_CONTENT_MODEL", path)
            return
        cover = covering(old)
        if cover is not None:
            yield from self._covered(cover, added, "ITEM_ADDED", path)
        else:
            yield difference("ITEM_ADDED_TO_CLOSED_CONTENT_MODEL", path)


def _closeness(edge: tuple[int, list[Difference]]) -> int:
    return len(edge[1])


def _criterion_changed(old: Node, new: Node) -> str:
    one_before, one_after = len(old.facts["nodes"]) == 1, len(new.facts["nodes"]) == 1
    before, after = old.facts["criterion"], new.facts["criterion"]
    wider = after == "anyOf" or (one_before and (one_after or after == "oneOf")) or (one_after and before == "allOf")
    return "COMBINED_TYPE_EXTENDED" if wider else "COMBINED_TYPE_CHANGED"


def _once(nodes: Sequence[Node]) -> list[Node]:
    """Each branch once: what is written twice in a union counts once."""
    return list({node.source or str(id(node)): node for node in reversed(nodes)}.values())[::-1]


def _matching(edges: dict[int, list[int]]) -> dict[int, int]:
    """As many pairs as can be, no branch in two of them (augmenting paths)."""
    taken: dict[int, int] = {}

    def place(index: int, tried: set[int]) -> bool:
        for at in edges[index]:
            if at in tried:
                continue
            tried.add(at)
            if at not in taken or place(taken[at], tried):
                taken[at] = index
                return True
        return False

    for index in edges:
        place(index, set())
    return {index: at for at, index in sorted(taken.items(), key=lambda pair: pair[1])}
