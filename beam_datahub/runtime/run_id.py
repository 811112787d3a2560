"""The ids of runs."""

from __future__ import annotations

from datetime import UTC, datetime
from secrets import token_hex


def new_run_id() -> str:
    """A fresh run id that sorts by time, also among the runs of one second."""
    now = datetime.now(UTC)
    return f"{now:%Y%m%dT%H%M%S}-{now.microsecond * 0x10000 // 1_000_000:04x}{token_hex(2)}"
