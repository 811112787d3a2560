"""Every failure is a sentence and an exit code; tracebacks and secrets stay inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from beam_datahub.cli import commands, main
from beam_datahub.errors import DataHubError, ErrorGroup
from tests.unit.cli.conftest import Run


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect in the middle of `validate`."""

    def breaks(*_: object, **__: object) -> None:
        raise KeyError("postgresql://me:hush-hush@db/x")

    monkeypatch.setattr("beam_datahub.cli.specs.opened", breaks)


@pytest.mark.usefixtures("broken")
def test_a_defect_is_one_line_with_what_to_do(shop: Path, cli: Run) -> None:
    done = cli("validate", "shop.yaml")
    assert done.exit_code == 70
    assert "[DH900]" in done.stderr
    assert "--verbose" in done.stderr
    assert "Traceback" not in done.output
    assert "hush-hush" not in done.output


@pytest.mark.usefixtures("broken")
def test_verbose_shows_the_traceback_without_secrets(shop: Path, cli: Run) -> None:
    done = cli("validate", "shop.yaml", "--verbose")
    assert "Traceback" in done.stderr
    assert "hush-hush" not in done.output


def test_every_exit_status_of_an_error_is_documented() -> None:
    kinds = [DataHubError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    ours = {kind.exit_status for kind in kinds if kind.__module__ == "beam_datahub.errors" and kind is not ErrorGroup}
    assert ours <= set(commands.EXIT_CODES)


def test_the_help_lists_every_command_and_exit_code(cli: Run) -> None:
    text = cli("--help").stdout
    for name in commands.COMMANDS:
        assert f"\n  {name} " in text
    for code in commands.EXIT_CODES:
        assert f"\n  {code} " in text


def every_command() -> Iterator[tuple[str, ...]]:
    """The words of each command that does something by itself: groups are entered."""
    context = click.Context(main)
    for name in commands.COMMANDS:
        command = main.get_command(context, name)
        if isinstance(command, click.Group):
            yield from ((name, below) for below in command.list_commands(context))
        else:
            yield (name,)


@pytest.mark.parametrize("words", list(every_command()), ids=" ".join)
def test_every_command_has_a_help_with_verbose(cli: Run, words: tuple[str, ...]) -> None:
    done = cli(*words, "--help")
    assert done.exit_code == 0
    assert "--verbose" in done.stdout
