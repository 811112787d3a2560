"""Blocks of parsed pieces: the contract decides what happens to values that are not of their column's type."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.files import DataFile
from beam_datahub.component.source import Block, Drift, Origin, ReadRequest
from beam_datahub.errors import SchemaDrift
from beam_datahub.kernels.arrays import as_numbers, integers, mask, numbers, repeated, text, texts
from beam_datahub.kernels.delimited import Mask, Offsets
from beam_datahub.kernels.delimited_parse import Parsed, Refused
from beam_datahub.kernels.delimited_stream import Piece
from beam_datahub.kernels.delimited_typed import Misfits, typed
from beam_datahub.kernels.rejection import REJECTION, rejections
from beam_datahub.kernels.session import single_batch
from beam_datahub.kernels.types import with_article

_SHOWN = 80


class Blocks:
    """Makes blocks of parsed pieces: types what is still text, and does with misfits what the contract says.

    May be used by several threads at once.
    """

    def __init__(self, file: DataFile, request: ReadRequest, drifted: tuple[str, ...], offsets: bool, from_start: bool) -> None:
        self._file, self._request, self._drifted = file, request, drifted
        self._offsets, self._from_start = offsets, from_start

    def block(self, parsed: Parsed) -> Block:
        """The rows of a parsed piece that are of the wanted types, and the rejected records.

        Without offsets the place of its first record among those of the file is not known here: it is 0.
        """
        table, misfits = typed(parsed)
        contract = self._request.contract
        places = np.arange(table.num_rows) if parsed.positions is None else parsed.positions
        keep = np.ones(table.num_rows, bool)
        rejected = [_refused(parsed.refused)] if parsed.refused else []
        if misfits and contract.types is Drift.FREEZE:
            raise self._drift(parsed, min(misfits, key=lambda misfit: int(misfit.rows[0])))
        if self._drifted and contract.columns is Drift.DISCARD_ROW:
            message = f"the file has columns that the schema does not have: {', '.join(self._drifted)}"
            rejected.append(rejections(numbers(places), "contract", message, self._drifted[0]))
            keep[:] = False
        elif contract.types is not Drift.DISCARD_VALUE:
            reason = "contract" if contract.types is Drift.DISCARD_ROW else "type_mismatch"
            for misfit in misfits:
                # A record is rejected once, for the first of its columns that does not fit.
                new = keep[misfit.rows]
                keep[misfit.rows] = False
                rejected.append(_misfits(misfit, new, places, reason))
        positions = None if parsed.positions is None and keep.all() else numbers(places[keep])
        if not keep.all():
            # Column by column, Arrow copies the runs between the gaps; of a table it takes row by row.
            kept = mask(keep)
            table = pa.table([column.filter(kept) for column in table.columns], schema=table.schema)
        told = pa.concat_tables(rejected).sort_by("row") if rejected else None
        originals = parsed.originals if told is None else _told_ahead(parsed, told["row"].to_pylist())
        # Counted now, unless that was done on the way, so that the piece's text need not be kept for those that follow.
        parsed.piece.breaks.settle(None if self._from_start else 0)
        return Block(
            single_batch(table.replace_schema_metadata(None)),
            self._origin(parsed.piece),
            told,
            positions,
            originals,
            parsed.lines if self._from_start else None,
            self._drifted,
        )

    def _origin(self, piece: Piece) -> Origin:
        return Origin(self._file.path, piece.start, piece.end) if self._offsets else Origin(self._file.path)

    def _drift(self, parsed: Parsed, misfit: Misfits) -> SchemaDrift:
        row = int(misfit.rows[0])
        position = row if parsed.positions is None else int(parsed.positions[row])
        line = f", line {parsed.lines([position])[0]}" if self._from_start else ""
        message = _messages(misfit)[0].as_py()
        return SchemaDrift(
            f"'{self._file.path}'{line}, column '{misfit.column.name}': {message}",
            hint="widen the column's type in the source's schema, or set `contract: {types: evolve}` to reject such records",
        )


def _told_ahead(parsed: Parsed, rows: list[int]) -> Callable[[Sequence[int]], list[str]]:
    """What gives the originals; those of `rows` are made here, on a thread that works ahead, as where their lines are."""
    originals, _ = parsed.originals(rows), parsed.records
    return lambda wanted: originals if wanted == rows else parsed.originals(wanted)


def _refused(refused: Sequence[Refused]) -> pa.Table:
    columns = [
        integers([one.position for one in refused]),
        texts([one.reason for one in refused]),
        texts([one.message for one in refused]),
        pa.nulls(len(refused), pa.string()),
    ]
    return pa.table(columns, schema=REJECTION)


def _misfits(misfit: Misfits, new: Mask, places: Offsets, reason: str) -> pa.Table:
    """The rejections of those misfits that are `new`."""
    count = int(np.count_nonzero(new))
    rows, messages = numbers(places[misfit.rows[new]]), _messages(misfit).filter(mask(new))
    reasons, names = (repeated(same, pa.string(), count) for same in (reason, misfit.column.name))
    return pa.table([rows, reasons, messages, names], schema=REJECTION)


def _messages(misfit: Misfits) -> pa.Array:
    """What is wrong with each of the values, which are shortened where they are long."""
    shown, nothing = misfit.values, text("")
    long = as_numbers(pc.utf8_length(shown)) > _SHOWN
    if long.any():
        short = pc.binary_join_element_wise(pc.utf8_slice_codeunits(shown, 0, _SHOWN - 1), text("…"), nothing)
        shown = pc.if_else(mask(long), short, shown)
    return pc.binary_join_element_wise(text("'"), shown, text(f"' is not {with_article(misfit.column.type)}"), nothing)
