"""Databases that are a file: the folder in which one is made."""

from __future__ import annotations

import os

from beam_datahub.errors import TargetUnusable


def make_folder(path: str) -> None:
    """Make the folder that the database `path` stands in. Raises TargetUnusable."""
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder or ".", exist_ok=True)
    except OSError as error:
        raise TargetUnusable(f"the folder '{folder}' cannot be made: {error.strerror}") from error
