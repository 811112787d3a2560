"""`completion`: the script that completes commands, options and files in a shell."""

from __future__ import annotations

import click


@click.command(short_help="Let a shell complete commands.")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def command(shell: str) -> None:
    """Print the script that completes commands, options and files in SHELL.

    \b
    Install it for the shells that start from now on:
      bash   echo 'eval "$(beam-datahub completion bash)"' >> ~/.bashrc
      zsh    echo 'eval "$(beam-datahub completion zsh)"' >> ~/.zshrc
      fish   beam-datahub completion fish > ~/.config/fish/completions/beam-datahub.fish

    In zsh the line stands after the one with `compinit`.
    """  # noqa: D301 - click keeps lines after this very character
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"this version of click completes nothing in {shell}")
    root = click.get_current_context().find_root().command
    click.echo(found(root, {}, "beam-datahub", "_BEAM_DATAHUB_COMPLETE").source())
