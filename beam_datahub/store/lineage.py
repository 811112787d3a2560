"""Lineage: the datasets and columns of plans, and which of them come from which."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, func, select, update

from beam_datahub.errors import UnknownName
from beam_datahub.store.access import Reading, Writing, columns_of, insert_new, now
from beam_datahub.store.records import LineageColumn, LineageDataset, LineageGraph
from beam_datahub.store.tables import lineage_columns, lineage_datasets, lineage_graphs, runs

_COLUMNS = columns_of(lineage_datasets, LineageDataset)
_CHUNK = 500


class LineageReader:
    """Reads lineage."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def of_run(self, run_id: str) -> LineageGraph | None:
        """The lineage of a run's plan; None where none was recorded."""
        query = select(lineage_graphs).join(runs, runs.c.lineage_id == lineage_graphs.c.id).where(runs.c.run_id == run_id)
        return next(iter(self._graphs(query)), None)

    def newest(self, integration: str | None = None) -> list[LineageGraph]:
        """The lineage of each integration's newest recorded plan; of one integration only, where it is named."""
        last = select(func.max(lineage_graphs.c.id)).group_by(lineage_graphs.c.integration)
        if integration is not None:
            last = last.where(lineage_graphs.c.integration == integration)
        query = select(lineage_graphs).where(lineage_graphs.c.id.in_(last)).order_by(lineage_graphs.c.integration)
        return self._graphs(query)

    def _graphs(self, query: Any) -> list[LineageGraph]:
        with self._reading.snapshot() as connection:
            return [_graph(connection, row) for row in connection.execute(query).all()]


class LineageWriter:
    """Records lineage."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing

    def record(
        self,
        integration: str,
        datasets: Sequence[LineageDataset],
        columns: Iterable[LineageColumn],
        *,
        run_id: str | None = None,
    ) -> int:
        """Record the lineage of a plan and bind it to a run; the graph's id. The same lineage again makes no new graph.

        Raises UnknownName for a column whose dataset is not among `datasets`, or a run that is not there.
        """
        edges = list(dict.fromkeys(columns))
        mark = json.dumps([[asdict(each) for each in datasets], [asdict(edge) for edge in edges]], sort_keys=True, default=str)
        fingerprint = hashlib.sha256(mark.encode()).hexdigest()
        with self._writing.transaction() as connection:
            moment = now(connection)
            row = {"integration": integration, "fingerprint": fingerprint, "created_at": moment}
            new = insert_new(connection, lineage_graphs, row)
            of_it = (lineage_graphs.c.integration == integration, lineage_graphs.c.fingerprint == fingerprint)
            graph_id = int(connection.execute(select(lineage_graphs.c.id).where(*of_it)).scalar_one())
            if new == 1:
                _fill(connection, graph_id, datasets, edges)
            if run_id is not None:
                bound = connection.execute(update(runs).where(runs.c.run_id == run_id).values(lineage_id=graph_id))
                if bound.rowcount != 1:
                    raise UnknownName("run", run_id)
            return graph_id


def _fill(connection: Connection, graph_id: int, datasets: Sequence[LineageDataset], edges: Sequence[LineageColumn]) -> None:
    ids: dict[tuple[str, str, str], int] = {}
    for each in datasets:
        done = connection.execute(lineage_datasets.insert().values(graph_id=graph_id, **asdict(each)))
        ids[each.namespace, each.name, each.step] = int(done.inserted_primary_key[0])  # type: ignore[index]
    rows = []
    for edge in edges:
        for end in (edge.from_dataset, edge.to_dataset):
            if end not in ids:
                raise UnknownName("dataset", "/".join(end), ["/".join(each) for each in ids])
        row = {"from_dataset_id": ids[edge.from_dataset], "from_column": edge.from_column, "kind": edge.kind}
        rows.append({**row, "to_dataset_id": ids[edge.to_dataset], "to_column": edge.to_column, "expression": edge.expression})
    for start in range(0, len(rows), _CHUNK):
        connection.execute(lineage_columns.insert(), rows[start : start + _CHUNK])


def _graph(connection: Connection, row: Any) -> LineageGraph:
    of_it = lineage_datasets.c.graph_id == row.id
    found = connection.execute(select(lineage_datasets.c.id, *_COLUMNS).where(of_it).order_by(lineage_datasets.c.id)).all()
    datasets = {number: LineageDataset(*rest) for number, *rest in found}
    names = {number: (each.namespace, each.name, each.step) for number, each in datasets.items()}
    query = (
        select(lineage_columns)
        .join(lineage_datasets, lineage_columns.c.to_dataset_id == lineage_datasets.c.id)
        .where(of_it)
        .order_by(lineage_columns.c.id)
    )
    edges = tuple(
        LineageColumn(
            names[edge.from_dataset_id], edge.from_column, names[edge.to_dataset_id], edge.to_column, edge.kind, edge.expression
        )
        for edge in connection.execute(query)
    )
    return LineageGraph(row.id, row.integration, row.fingerprint, tuple(datasets.values()), edges, row.created_at)
