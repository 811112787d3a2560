"""What a user calls a dataset or column: `orders`, `shop.orders.amount`, `out/rows.jsonl#gross`, `postgres://…:db.public.orders#id`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from beam_datahub.component.dataset import DatasetName
from beam_datahub.errors import InvalidValue, UnknownColumn, UnknownName
from beam_datahub.lineage.graph import LineageGraph, same_data
from beam_datahub.lineage.model import IntegrationLineage, Port


def selected(text: str, graph: LineageGraph) -> tuple[DatasetName, str | None]:
    """The dataset, and the column if one is named. Raises UnknownName, UnknownColumn, and InvalidValue for an ambiguous name.

    A dataset is named by the id of a source or destination, alone or behind its integration's name; by its path, its file
    name or its table; or by its whole OpenLineage name. The column follows `#`, or a dot where that cannot be misread.
    """
    missing: UnknownColumn | None = None
    for name, column in _readings(text):
        meant = _meant(name, graph)
        if not meant:
            continue
        ports = [port for _, port in meant]
        spelled = _spelled(column, ports)
        if column is not None and spelled is None:
            missing = missing or UnknownColumn(column, dict.fromkeys(each for port in ports for each in port.columns))
            continue
        return _one(name, meant), spelled
    if missing is not None:
        raise missing
    known = dict.fromkeys(alias for found in graph.ports() for alias in (*_ids(*found), shown(found[1].datasets[0])))
    name = text.partition("#")[0] if "#" in text else text
    if name == text and "." in text and not any(each.startswith(text[:2]) and each.count(".") for each in known):
        name = text.partition(".")[0]
    raise UnknownName("dataset", name, known)


def _meant(name: str, graph: LineageGraph) -> list[tuple[IntegrationLineage, Port]]:
    """The ports that a name means: as an id before as a whole name, and as that before as a part of one."""
    for names in (_ids, _whole, _parts):
        found = [(lineage, port) for lineage, port in graph.ports() if name in names(lineage, port)]
        if found:
            return found
    return []


def _ids(lineage: IntegrationLineage, port: Port) -> tuple[str, ...]:
    return port.id, f"{lineage.integration}.{port.id}"


def _whole(lineage: IntegrationLineage, port: Port) -> set[str]:
    return {name for each in port.datasets for name in (shown(each), str(each), each.name)}


def _parts(lineage: IntegrationLineage, port: Port) -> set[str]:
    """The names of files without their folders, and of tables without their database and schema."""
    found: set[str] = set()
    for dataset in port.datasets:
        if dataset.namespace == "file":
            found.add(os.path.basename(dataset.name))
        elif "/" not in dataset.name:
            parts = dataset.name.split(".")
            found |= {".".join(parts[start:]) for start in range(1, len(parts))}
    return found


def shown(dataset: DatasetName) -> str:
    """A dataset's name as a person reads it: a local path from here where that is shorter, else the whole."""
    if dataset.namespace != "file":
        return str(dataset)
    near = os.path.relpath(dataset.name)
    return near if len(near) < len(dataset.name) and not near.startswith("../..") else dataset.name


def _readings(text: str) -> Iterator[tuple[str, str | None]]:
    if "#" in text:
        name, _, column = text.rpartition("#")
        yield name.removeprefix("./"), column
        return
    name = text.removeprefix("./")
    yield name, None
    for position in reversed([index for index, sign in enumerate(name) if sign == "."]):
        yield name[:position], name[position + 1 :]


def _spelled(column: str | None, ports: Sequence[Port]) -> str | None:
    if column is None:
        return None
    names = [name for port in ports for name in port.columns]
    return column if column in names else next((name for name in names if name.casefold() == column.casefold()), None)


def _one(name: str, meant: Sequence[tuple[IntegrationLineage, Port]]) -> DatasetName:
    first = meant[0][1].datasets[0]
    if any(not any(same_data(each, first) for each in port.datasets) for _, port in meant):
        several = dict.fromkeys(f"{lineage.integration}.{port.id}" for lineage, port in meant)
        raise InvalidValue(f"'{name}' means several datasets", hint=f"say which one: {', '.join(several)}")
    return first
