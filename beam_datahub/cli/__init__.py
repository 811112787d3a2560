"""The command line; each command is one file, imported when it is asked for."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading

# Importing makes some hundred thousand objects that stay: looking for garbage among them is a tenth of the time to start.
gc.set_threshold(100_000, 20, 100)

from beam_datahub.cli.commands import main  # noqa: E402 - after the setting that makes it fast

__all__ = ["main", "program"]


def program() -> None:
    """Run the command line as a process of its own, which ends with the command.

    Python would take all that was imported apart again, piece by piece, for a fifth of a second that nobody needs.
    """
    try:
        main()
    except SystemExit as end:
        status = end.code
        others = [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.current_thread()]
        if others or not (status is None or isinstance(status, int)):
            raise
        atexit._run_exitfuncs()
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            raise end from None
        os._exit(status or 0)
