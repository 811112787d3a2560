"""`test`: runs the tests that specs and reusable transformations carry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from beam_datahub.cli.options import set_option
from beam_datahub.errors import DataHubError, ExpectationFailed, InvalidValue, UnknownName, UnreadableSpec

if TYPE_CHECKING:
    from beam_datahub.testing.expectations import TestOutcome

_SUFFIXES = (".yaml", ".yml", ".json")
_HAS_TESTS = re.compile(r"^\s*[\"']?(tests|test_cases)[\"']?\s*:", re.MULTILINE)


@dataclass
class _Tally:
    held: int = 0
    failed: int = 0
    error: DataHubError | None = None


@click.command(short_help="Run the tests that specs carry.")
@click.argument("what", nargs=-1, required=True, metavar="(SPEC | FOLDER | NAME)...")
@set_option
def command(what: tuple[str, ...], parameters: tuple[tuple[str, str], ...]) -> None:
    """Run the tests of specs and the test cases of reusable transformations.

    Each argument is a file, a folder (all specs in it), or the NAME of a reusable transformation or packaged template. The
    rows that a test gives stand in for its sources; nothing is written.
    """
    from beam_datahub.cli.failures import say

    tally = _Tally()
    for file in dict.fromkeys(file for each in what for file in _files(each)):
        try:
            outcomes = _outcomes(file, dict(parameters))
        except DataHubError as error:
            click.echo(str(file))
            say(error)
            tally.error = tally.error or error
            continue
        if outcomes:
            _show(file, outcomes)
        tally.held += sum(outcome.holds for outcome in outcomes)
        tally.failed += sum(not outcome.holds for outcome in outcomes)
    _conclude(tally)


def _files(named: str) -> Iterator[Path]:
    """The files that an argument means. Raises UnknownName, UnreadableSpec."""
    path = Path(named)
    if path.is_dir():
        inside = (each for each in sorted(path.rglob("*")) if each.suffix in _SUFFIXES and each.is_file())
        found = [each for each in inside if _HAS_TESTS.search(each.read_text("utf-8", errors="replace"))]
        if not found:
            raise InvalidValue(f"no file in '{named}' has tests", hint="write some under `tests:` of a spec")
        yield from found
        return
    if path.is_file() or path.suffix in _SUFFIXES or "/" in named:
        if not path.is_file():
            raise UnreadableSpec(f"there is no file '{named}'")
        yield path
        return
    from beam_datahub.cli.templates import templates
    from beam_datahub.spec.reusable import reusable_files

    reusables, packaged = reusable_files(Path.cwd()), templates()
    if named in reusables:
        yield reusables[named]
    elif named in packaged:
        yield packaged[named] / "integration.yaml"
    else:
        raise UnknownName("file, reusable transformation or template", named, [*reusables, *packaged])


def _outcomes(file: Path, parameters: dict[str, str]) -> list[TestOutcome]:
    from beam_datahub.spec import load
    from beam_datahub.spec.reusable import case_documents, load_reusable
    from beam_datahub.spec.tree import read_text, read_tree
    from beam_datahub.testing.expectations import run_tests

    value = read_tree(read_text(file), str(file)).value
    if isinstance(value, dict) and "test_cases" in value:
        return [outcome for document in case_documents(load_reusable(file)) for outcome in run_tests(document)]
    return run_tests(load(str(file), parameters=parameters))


def _show(file: Path, outcomes: list[TestOutcome]) -> None:
    from beam_datahub.security import redact

    click.secho(str(file), bold=True)
    for outcome in outcomes:
        if outcome.holds:
            click.echo(f"  {click.style('✓', fg='green')} {outcome.name}")
            continue
        click.echo(f"  {click.style('✗', fg='red')} {outcome.name}  ({outcome.place})")
        for problem in outcome.problems:
            colour = {"-": "red", "+": "green"}.get(problem[0])
            click.secho(f"      {redact(problem)}", fg=colour)


def _conclude(tally: _Tally) -> None:
    total = tally.held + tally.failed
    if total:
        click.echo(f"{total} test{'' if total == 1 else 's'}: {tally.held} held, {tally.failed} failed")
    if tally.failed:
        raise ExpectationFailed(
            f"{tally.failed} of {total} tests failed", hint="- was expected and did not come, + came and was not expected"
        )
    if tally.error is not None:
        from beam_datahub.cli.failures import exit_status

        click.get_current_context().exit(exit_status(tally.error))
    if not total:
        raise InvalidValue("there are no tests", hint="write some under `tests:` of the spec")
