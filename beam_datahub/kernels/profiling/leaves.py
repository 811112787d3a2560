"""The leaves of nested columns: `customer.city` inside a struct, `items[]` for the elements of a list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from beam_datahub.kernels.types import JSON, is_hidden


def leaf_types(schema: pa.Schema, columns: Sequence[str] | None = None) -> dict[str, pa.DataType]:
    """Path → type of every leaf of the named columns, all of them when None; hidden columns are none."""
    found: dict[str, pa.DataType] = {}
    for field in schema:
        if not is_hidden(field.name) and (columns is None or field.name in columns):
            found.update(_types(field.name, field.type))
    return found


def _types(path: str, data_type: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    if pa.types.is_struct(data_type) and data_type.num_fields:
        for field in data_type:
            yield from _types(f"{path}.{field.name}", field.type)
        return
    yield path, data_type
    if pa.types.is_list(data_type):
        yield from _types(f"{path}[]", data_type.value_type)
    elif pa.types.is_map(data_type):
        yield from _types(f"{path}[].key", data_type.key_type)
        yield from _types(f"{path}[].value", data_type.item_type)


def leaves(path: str, array: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    """Path → values of every leaf of a column. A leaf of a null struct is null; a null list has no elements."""
    data_type = array.type
    if pa.types.is_struct(data_type) and data_type.num_fields:
        for field, child in zip(data_type, array.flatten(), strict=True):
            yield from leaves(f"{path}.{field.name}", child)
        return
    if data_type == JSON:
        array = array.storage
    yield path, array
    if pa.types.is_list(data_type):
        yield from leaves(f"{path}[]", array.flatten())
    elif pa.types.is_map(data_type):
        entries = array.drop_null()
        for name, side in (("key", entries.keys), ("value", entries.items)):
            if len(entries):
                first, last = entries.offsets[0].as_py(), entries.offsets[-1].as_py()
                side = side.slice(first, last - first)
            else:
                side = side.slice(0, 0)
            yield from leaves(f"{path}[].{name}", side)
