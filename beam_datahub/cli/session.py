"""What the commands of one call share: how much to say, whether to speak to a machine, and where to write."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class Session:
    """The state of one call. `as_json`: standard output takes one JSON record, an error included. `detached`: where a run of its
    own tells the command that started it that it is under way.
    """

    verbose: bool = False
    as_json: bool = False
    detached: int | None = None


def session() -> Session:
    """The state of the running call."""
    return click.get_current_context().find_root().ensure_object(Session)


def out() -> Console:
    """The console for results; without a terminal it neither colours nor folds lines."""
    return _console(stderr=False)


def err() -> Console:
    """The console for progress, warnings and errors."""
    return _console(stderr=True)


def may_be_watched() -> bool:
    """Whether the console for progress may be a terminal; to ask it itself takes the library that draws."""
    return sys.stderr.isatty() or any(name in os.environ for name in ("FORCE_COLOR", "TTY_COMPATIBLE"))


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=False)
    if not stream.isatty() and "COLUMNS" not in os.environ:
        # A pipe has no width: what reads it wants whole lines.
        console.width = 200
    return console


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Let libraries log nothing while a command runs: it says itself what matters. `--verbose` lets them again."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        if logging.root.manager.disable:
            # Beam still says what it stops when the process ends.
            logging.getLogger("apache_beam").setLevel(logging.ERROR)
        logging.disable(before)


def verbose_option(command: click.Command) -> click.Command:
    """Give a command, and those below it, the option `--verbose`, once."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            verbose_option(each)
        return command
    if not any(parameter.name == "verbose" for parameter in command.params):
        option = click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            callback=_set_verbose,
            help="Show tracebacks of errors and the log of the engine.",
        )
        command.params.append(option)
    return command


def _set_verbose(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:
    if value:
        from beam_datahub.security import RedactingFilter

        ctx.find_root().ensure_object(Session).verbose = True
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        logging.getLogger().setLevel(logging.DEBUG)
        logging.disable(logging.NOTSET)
        for handler in logging.getLogger().handlers:
            handler.addFilter(RedactingFilter())
    return value
