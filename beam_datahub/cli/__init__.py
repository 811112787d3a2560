"""The command line; each command is one file, imported when it is asked for."""

from __future__ import annotations

from beam_datahub.cli.commands import main

__all__ = ["main"]
