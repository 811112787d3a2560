"""The process beside a run that writes to the store: the run itself needs to import no database library.

It is started with the number of a socket, takes pickled calls from it and answers them. When the socket closes without the run
having said how it ended, the run's process has died, and that is recorded at once.
"""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any


def main() -> None:
    """Serve until the socket closes."""
    # Ctrl-C is for the run; what it makes of it is still to be recorded.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    link = Connection(int(sys.argv[1]))
    store: Any = None
    try:
        location, who = link.recv()
        from beam_datahub.store.store import open_store

        store = open_store(location, who=who)
        while True:
            _serve(link, store)
    except (EOFError, OSError):
        _recover(store)
    finally:
        if store is not None:
            store.close()
    os._exit(0)


def _serve(link: Connection, store: Any) -> None:
    calls = link.recv()
    answer: tuple[bool, Any]
    try:
        answer = (True, perform(store, calls))
    except Exception as failure:
        answer = (False, failure)
    try:
        link.send(answer)
    except (TypeError, AttributeError) as error:
        link.send((False, RuntimeError(f"{type(answer[1]).__name__} cannot be sent: {error}")))


def _recover(store: Any) -> None:
    if store is None:
        return
    try:
        store.writer.runs.recover()
    except Exception:
        # The next run finds it, too.
        return


def perform(store: Any, calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]]) -> list[Any]:
    """Make calls such as `writer.runs.beat`; several, which all write, in one transaction."""
    if len(calls) == 1:
        return [_call(store, calls[0])]
    with store.writer.together():
        return [_call(store, each) for each in calls]


def _call(store: Any, call: tuple[str, tuple[Any, ...], dict[str, Any]]) -> Any:
    path, arguments, options = call
    found = store
    for name in path.split("."):
        found = getattr(found, name)
    return found(*arguments, **options)


if __name__ == "__main__":
    main()
