"""What a kernel session's results become."""

from __future__ import annotations

import pyarrow as pa

from beam_datahub.kernels.session import batches_of


def test_the_large_pieces_of_a_result_go_on_as_they_are_and_small_ones_together() -> None:
    large = [pa.record_batch({"a": pa.array(range(start, start + 200_000))}) for start in (0, 400_000)]
    small = [pa.record_batch({"a": pa.array([n] * 3)}) for n in (1, 2, 3)]
    empty = large[0].slice(0, 0)
    table = pa.Table.from_batches([empty, large[0], *small, empty, large[1], *small])
    found = list(batches_of(table))
    assert [batch.num_rows for batch in found] == [200_000, 200_009, 9]
    assert found[0].column(0).buffers()[1].address == large[0].column(0).buffers()[1].address
    assert pa.Table.from_batches(found).equals(table)


def test_a_result_without_rows_is_no_batch() -> None:
    schema = pa.schema([("a", pa.int64())])
    assert list(batches_of(schema.empty_table())) == []
    assert list(batches_of(pa.table({"a": [None]}))) == [pa.record_batch({"a": [None]})]
