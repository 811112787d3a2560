"""Texts that are no value of their column's type, or one in an unusual form: as a rule the same few come again and again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.kernels.arrays import as_numbers
from beam_datahub.kernels.delimited import Mask

# A column that has more of them, or longer ones, is not worth remembering.
_MOST, _MOST_BYTES = 64, 16 * 1024


@dataclass(frozen=True)
class OddTexts:
    """Different texts of a column, what the exact conversion makes of each, and which are `misfits`, that is of another type.

    Without any, the column has too many different ones.
    """

    texts: pa.Array
    values: pa.Array
    misfits: Mask

    def __len__(self) -> int:
        return len(self.texts)


def remembered(known: OddTexts | None, texts: pa.Array, values: pa.Array, misfits: Mask) -> OddTexts:
    """What is known of a column's odd texts, and what was found out about some, in which one may come several times."""
    if known is not None:
        if not len(known):
            return known
        texts, values = pa.concat_arrays([known.texts, texts]), pa.concat_arrays([known.values, values])
        misfits = np.concatenate([known.misfits, misfits])
    different = texts.unique()
    if len(different) > _MOST or different.nbytes > _MOST_BYTES:
        different = different[:0]
    firsts = pc.index_in(different, texts)
    return OddTexts(different, values.take(firsts), misfits[as_numbers(firsts)])
