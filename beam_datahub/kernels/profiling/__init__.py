"""Profiles of columns: pure functions over batches, from counts and sketches that merge."""

from __future__ import annotations

from beam_datahub.kernels.profiling.column import ColumnProfile
from beam_datahub.kernels.profiling.profile import Profile

__all__ = ["ColumnProfile", "Profile"]
