"""`errors`: the codes of errors and what they mean."""

from __future__ import annotations

import inspect

import click

from beam_datahub import errors


@click.command(short_help="List the error codes, or show one.")
@click.argument("code", required=False)
def command(code: str | None) -> None:
    """List the errors with their codes and exit statuses, or show the one with CODE, such as DH106."""
    from beam_datahub.cli.session import out
    from beam_datahub.cli.tables import simple

    listed = [(each, name, status, meaning) for each, name, status, meaning in rows() if code in (None, each, name)]
    if not listed:
        raise errors.UnknownName("error code", str(code), [each for each, *_ in rows()])
    heads = [("code", "left"), ("error", "left"), ("exit status", "right"), ("meaning", "left")]
    out().print(simple(None, heads, listed))


def rows() -> list[tuple[str, str, str, str]]:
    """(code, name, exit status, meaning) of every error of the tree that is not only a branch of it, by code."""
    found = []
    waiting = list(errors.DataHubError.__subclasses__())
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        if kind.__module__.startswith(f"{errors.__name__}.") and kind is not errors.ErrorGroup:
            found.append((kind.code, kind.__name__, str(kind.exit_status), inspect.getdoc(kind) or ""))
    return sorted(found)
