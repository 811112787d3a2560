"""The command `beam-datahub`: its subcommands by name, its exit codes, and the one place where errors become text."""

from __future__ import annotations

import importlib
from typing import Any

import click

from beam_datahub import __version__
from beam_datahub.cli.failures import leave_at_once, report, undisturbed
from beam_datahub.cli.session import Session, quiet_logs, verbose_option

# Command → the module of this package that holds it as `command`, in the order of the help.
COMMANDS = {
    "init": "init",
    "discover": "discover",
    "validate": "validate",
    "plan": "plan",
    "preview": "preview",
    "profile": "profile",
    "pii": "pii",
    "run": "run",
    "apply": "apply",
    "integrations": "integrations",
    "runs": "runs",
    "state": "state",
    "rejects": "rejects",
    "replay": "replay",
    "export": "export",
    "erase": "erase",
    "violations": "violations",
    "report": "report",
    "test": "test",
    "diff": "diff",
    "lineage": "lineage",
    "connections": "connections",
    "events": "hub_events",
    "schemas": "schemas",
    "store": "store",
    "connectors": "connectors",
    "transforms": "transforms",
    "rules": "rules",
    "templates": "templates",
    "build": "build",
    "engines": "engines",
    "workers": "workers",
    "doctor": "doctor",
    "completion": "completion",
    "errors": "errors",
    "schema": "schema",
    "docs": "docs",
}

EXIT_CODES = {
    0: "done; a run with rejected records within its budget is done, too",
    1: "a test of a spec does not hold, two versions differ, something would break, generated pages are stale, or "
    "some places cannot be searched for a person's records",
    2: "the command line is wrong",
    3: "the spec is wrong; nothing ran",
    4: "an outside system failed: data missing, damaged or out of contract, access denied, target unusable",
    5: "the run failed",
    6: "more records were rejected than `max_rejected` allows; only the dead letter was written",
    7: "the books do not balance; only the dead letter was written",
    8: "a quality rule that is to fail the run is broken; only the dead letter and the violations were written",
    70: "a defect of beam-datahub itself",
    130: "stopped with Ctrl-C, or cancelled: a batch has published nothing, a stream what it had committed",
}


class CommandLine(click.Group):
    """Imports a subcommand when it is asked for, and turns every error into a message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The subcommands in the order of their use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The subcommand of a name; its module imports no more than click until it runs."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"beam_datahub.cli.{COMMANDS[cmd_name]}")
        return verbose_option(module.command)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """The subcommand that the arguments name; an unknown one is refused with a guess."""
        from beam_datahub.errors import nearest

        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            guess = nearest(args[0], COMMANDS)
            if guess is None or args[0] in COMMANDS:
                raise
            raise click.UsageError(f"No such command '{args[0]}'. Did you mean '{guess}'?", ctx) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; no error leaves as a traceback."""
        ctx.obj = ctx.obj or Session()
        try:
            with quiet_logs():
                return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException):
            raise
        except (Exception, KeyboardInterrupt) as failure:
            with undisturbed():
                status = report(failure, ctx.obj)
                leave_at_once(failure, status)
            ctx.exit(status)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The exit codes."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES.items()])


@click.group(cls=CommandLine, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="beam-datahub")
def main() -> None:
    """Run data integrations that are written down as one YAML file each.

    Begin with `init DATA_FILE`, look at what it wrote with `plan` and `preview`, then `run` it.
    """
