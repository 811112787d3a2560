"""Where a run keeps its files: a folder of its own beside the store."""

from __future__ import annotations

import os

from beam_datahub.store.location import locate


def run_folder(run_id: str, store: str | os.PathLike[str] | None = None) -> str:
    """The folder of a run, with its report, its log and the violations that it found; `store` is what `--store` names."""
    return str(locate(store).runs / run_id)
