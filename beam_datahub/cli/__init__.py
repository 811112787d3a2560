"""The command line; each command is one file, imported when it is asked for."""

from __future__ import annotations

import gc

# Importing makes some hundred thousand objects that stay: looking for garbage among them is a tenth of the time to start.
gc.set_threshold(100_000, 20, 100)

from beam_datahub.cli.commands import main  # noqa: E402 - after the setting that makes it fast

__all__ = ["main"]
