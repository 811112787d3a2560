"""Turns every error into a message, a hint and an exit code; a traceback is shown only with --verbose."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from beam_datahub.errors import DataHubError, Defect, ErrorGroup, Interrupted

if TYPE_CHECKING:
    from beam_datahub.cli.session import Session


def report(failure: BaseException, session: Session) -> int:
    """Say what went wrong, on standard error (as JSON on standard output where that is asked for); gives the exit code."""
    if isinstance(failure, BrokenPipeError):
        # Whoever read the output has seen enough; Python would complain again when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    error = as_error(failure)
    if session.verbose and not isinstance(error, Interrupted):
        say_traceback(failure)
    if session.as_json:
        click.echo(json.dumps({"status": "failed", "error": facts(error)}, default=str))
    say(error)
    return exit_status(error)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Take no Ctrl-C: the one before is being reported."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def leave_at_once(failure: BaseException, status: int) -> None:
    """End the process where a stopped run's threads may still work: Python would tear its libraries down under them."""
    if isinstance(failure, KeyboardInterrupt | Interrupted) and threading.active_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def as_error(failure: BaseException) -> DataHubError:
    """The failure as an error of the tree, its secrets redacted."""
    from beam_datahub.security import redact_error

    if isinstance(failure, DataHubError):
        return redact_error(failure)
    if isinstance(failure, KeyboardInterrupt):
        return Interrupted("stopped")
    if isinstance(failure, click.Abort):
        hint = "where nobody can answer, an option does: see --help"
        return Interrupted("stopped at the question, and nothing was changed", hint=hint)
    place = traceback.extract_tb(failure.__traceback__)[-1:] if failure.__traceback__ else []
    where = f" at {os.path.basename(place[0].filename)}:{place[0].lineno}" if place else ""
    reason = f"{type(failure).__name__}{where}: {failure}" if str(failure) else f"{type(failure).__name__}{where}"
    hint = "this is a bug of beam-datahub; run with --verbose for the traceback, and please report it"
    return redact_error(Defect(reason, hint=hint))


def say(error: DataHubError) -> None:
    """Write an error to standard error, red on a terminal: one line, and one for the hint."""
    for each in error.errors if isinstance(error, ErrorGroup) else (error,):
        click.secho(str(each), fg="red", err=True)
        if each.hint:
            click.echo(f"  hint: {each.hint}", err=True)


def say_traceback(failure: BaseException) -> None:
    """Write the whole chain of a failure to standard error."""
    from beam_datahub.security import redact

    click.echo(redact("".join(traceback.format_exception(failure))), err=True)


def facts(error: DataHubError) -> dict[str, object]:
    """The error as a machine reads it; a group has its members under `errors`."""
    if isinstance(error, ErrorGroup):
        return {**error.errors[0].facts(), "errors": [each.facts() for each in error.errors]}
    return error.facts()


def exit_status(error: DataHubError) -> int:
    """The exit code of an error; of a group, that of its first."""
    return error.errors[0].exit_status if isinstance(error, ErrorGroup) and error.errors else error.exit_status
