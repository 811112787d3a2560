"""A shell completes commands and the files of specs."""

from __future__ import annotations

import pytest
from click.shell_completion import BashComplete

from beam_datahub.cli import main
from tests.unit.cli.conftest import Run


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_asks_the_program_what_fits(cli: Run, shell: str) -> None:
    done = cli("completion", shell)
    assert done.exit_code == 0
    assert f"_BEAM_DATAHUB_COMPLETE={shell}_complete" in done.stdout


def test_an_unknown_shell_is_refused_and_the_help_says_how_to_install(cli: Run) -> None:
    assert cli("completion", "csh").exit_code == 2
    assert "~/.bashrc" in cli("completion", "--help").stdout


def test_commands_and_files_of_specs_are_completed() -> None:
    shell = BashComplete(main, {}, "beam-datahub", "_BEAM_DATAHUB_COMPLETE")
    assert "preview" in [item.value for item in shell.get_completions([], "pre")]
    assert [item.type for item in shell.get_completions(["plan"], "sho")] == ["file"]
