"""Blocks of parsed pieces: the contract decides what happens to values that are not of their column's type."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from beam_datahub.component.files import DataFile
from beam_datahub.component.source import Block, Drift, Origin, ReadRequest
from beam_datahub.errors import SchemaDrift
from beam_datahub.kernels.delimited_parse import Misfits, Parsed, typed
from beam_datahub.kernels.delimited_stream import Piece
from beam_datahub.kernels.rejection import no_rejections, rejections
from beam_datahub.kernels.session import KernelSession, single_batch
from beam_datahub.kernels.types import sql_type

_SHOWN = 80


class Blocks:
    """Makes blocks of parsed pieces: types what is still text, and does with misfits what the contract says."""

    def __init__(self, file: DataFile, request: ReadRequest, drifted: tuple[str, ...], offsets: bool, from_start: bool) -> None:
        self._file, self._request, self._drifted = file, request, drifted
        self._offsets, self._from_start, self._records = offsets, from_start, 0
        self._session: KernelSession | None = None

    def close(self) -> None:
        """Release what was needed to convert texts."""
        if self._session is not None:
            self._session.close()

    def _sql(self) -> KernelSession:
        """The session that converts texts; most files need none."""
        if self._session is None:
            self._session = KernelSession(threads=self._request.threads)
        return self._session

    def block(self, parsed: Parsed) -> Block:
        """The rows of a parsed piece that are of the wanted types, and the rejected records."""
        table, misfits = typed(parsed, self._sql)
        contract = self._request.contract
        first = self._records
        self._records += parsed.total
        places = parsed.positions
        refused: dict[int, tuple[str, str, str | None]] = {
            one.position: (one.reason, one.message, None) for one in parsed.refused
        }
        gone: set[int] = set()
        if misfits and contract.types is Drift.FREEZE:
            raise self._drift(parsed, misfits[0])
        if misfits and contract.types is not Drift.DISCARD_VALUE:
            reason = "contract" if contract.types is Drift.DISCARD_ROW else "type_mismatch"
            for misfit in misfits:
                name, kind = misfit.column.name, sql_type(misfit.column.type)
                for row, value in zip(misfit.rows.tolist(), misfit.values.to_pylist(), strict=True):
                    if row not in gone:
                        gone.add(row)
                        position = row if places is None else int(places[row])
                        refused[position] = (reason, _misfit_message(value, kind), name)
        if self._drifted and contract.columns is Drift.DISCARD_ROW:
            message = f"the file has columns that the schema does not have: {', '.join(self._drifted)}"
            for row in range(table.num_rows):
                position = row if places is None else int(places[row])
                refused.setdefault(position, ("contract", message, self._drifted[0]))
            gone = set(range(table.num_rows))
        positions = pa.array(places) if places is not None else None
        if gone:
            keep = np.ones(table.num_rows, bool)
            keep[list(gone)] = False
            kept = np.flatnonzero(keep)
            table = table.filter(pa.array(keep))
            positions = pa.array(kept if places is None else places[kept])
        return Block(
            single_batch(table.replace_schema_metadata(None)),
            self._origin(parsed.piece, first),
            _rejected(refused),
            positions,
            parsed.originals,
            parsed.lines if self._from_start else None,
            self._drifted,
        )

    def _origin(self, piece: Piece, first: int) -> Origin:
        if self._offsets:
            return Origin(self._file.path, piece.start, piece.end, 0)
        return Origin(self._file.path, None, None, first)

    def _drift(self, parsed: Parsed, misfit: Misfits) -> SchemaDrift:
        row = int(misfit.rows[0])
        position = row if parsed.positions is None else int(parsed.positions[row])
        line = f", line {parsed.lines([position])[0]}" if self._from_start else ""
        message = _misfit_message(misfit.values[0].as_py(), sql_type(misfit.column.type))
        return SchemaDrift(
            f"'{self._file.path}'{line}, column '{misfit.column.name}': {message}",
            hint="widen the column's type in the source's schema, or set `contract: {types: evolve}` to reject such records",
        )


def _rejected(refused: dict[int, tuple[str, str, str | None]]) -> pa.Table | None:
    if not refused:
        return None
    rows = sorted(refused)
    table = no_rejections()
    reasons = [refused[row][0] for row in rows]
    base = rejections(rows, "", [refused[row][1] for row in rows], [refused[row][2] for row in rows])
    return base.set_column(1, table.schema.field("reason"), pa.array(reasons, pa.string()))


def _misfit_message(value: str, kind: str) -> str:
    shown = value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…"
    return f"'{shown}' is not a {kind}"
