"""Runs that go on by themselves: a process of their own, which tells the command that started it when it is under way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from beam_datahub.errors import StoreUnusable

if TYPE_CHECKING:
    from beam_datahub.runtime.record import Recorder

OUTPUT = "output.log"


def detach(command: click.Command, given: Mapping[str, Any], *, as_json: bool, quiet: bool) -> None:
    """Run `command` with its parameters in a process of its own, and say which run it is once the spec is checked and planned.

    Before that the process shares this one's terminal, so that errors are told as ever, and with their exit code. Ends the
    command.
    """
    ours, theirs = os.pipe()
    session = click.get_current_context().find_root().obj
    order = {"arguments": _arguments(command, given), "tell": theirs, "verbose": session.verbose}
    # As with the installed command, the folder that it is called in gives Python no modules.
    program = [sys.executable, "-P", "-m", "beam_datahub.cli.detached"]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, pass_fds=[theirs], start_new_session=True)
    os.close(theirs)
    assert process.stdin is not None
    try:
        # Values of the command line may be secret, and each process's arguments are there for all to see.
        with process.stdin as stdin:
            stdin.write(json.dumps(order).encode())
        with open(ours, encoding="utf-8") as pipe:
            run_id = pipe.read()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise
    if not run_id:
        click.get_current_context().exit(process.wait())
    if as_json:
        click.echo(json.dumps({"run_id": run_id, "status": "running", "pid": process.pid}))
    elif quiet:
        click.echo(run_id)
    else:
        click.echo(run_id)
        click.echo(f"it goes on by itself: beam-datahub runs watch {run_id}", err=True)
    # The process outlives this one: Python need not complain that nobody waited for it.
    process.returncode = 0


def under_way(recorder: Recorder, tell: int) -> None:
    """Tell the waiting command which run this is, and write from now on to the run's folder.

    Raises StoreUnusable where the run is not recorded: nobody would find it again.
    """
    if not recorder.ready():
        raise StoreUnusable("a run that goes on by itself is found in the store, and this one is not recorded")
    recorder.folder.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    output = os.open(recorder.folder / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    with open(tell, "w", encoding="utf-8") as pipe:
        pipe.write(recorder.facts.run_id)


def _arguments(command: click.Command, given: Mapping[str, Any]) -> list[str]:
    """The command line that gives `command` these parameters."""
    found: list[str] = []
    for parameter in command.params:
        value = given.get(parameter.name or "")
        if isinstance(parameter, click.Argument):
            found = [*found, "--", str(value)]
        elif isinstance(value, tuple):
            found = [*(f"{parameter.opts[0]}={_text(each)}" for each in value), *found]
        elif value is True:
            found = [parameter.opts[0], *found]
        elif value is not None and value is not False:
            found = [f"{parameter.opts[0]}={_text(value)}", *found]
    return found


def _text(value: Any) -> str:
    return "=".join(value) if isinstance(value, tuple) else str(value)


def main() -> None:
    """Do what the command that started this process asks for on standard input."""
    from beam_datahub.cli.commands import main as command_line
    from beam_datahub.cli.session import Session

    order = json.load(sys.stdin)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    tell = order["tell"]
    os.set_inheritable(tell, False)
    verbose = ["--verbose"] if order["verbose"] else []
    command_line(["run", *verbose, *order["arguments"]], prog_name="beam-datahub", obj=Session(detached=tell))


if __name__ == "__main__":
    main()
