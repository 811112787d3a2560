"""Puts masks in place of columns."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import quoted


def masked(table: pa.Table, masks: Mapping[str, str], session: KernelSession) -> pa.Table:
    """`table` with its masked columns as text; the others stay as they are."""
    wanted = {name: sql for name, sql in masks.items() if name in table.schema.names}
    if not wanted:
        return table
    session.put("masking", table.select(list(wanted)))
    made = session.fetch(f"SELECT {', '.join(f'{sql} AS {quoted(name)}' for name, sql in wanted.items())} FROM masking")
    session.drop("masking")
    for name in wanted:
        table = table.set_column(table.schema.get_field_index(name), pa.field(name, pa.string()), made[name].cast(pa.string()))
    return table
