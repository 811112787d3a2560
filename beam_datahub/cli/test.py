"""`test`: runs the tests that specs and reusable transformations carry."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from beam_datahub.cli.options import set_option
from beam_datahub.errors import DataHubError, ExpectationFailed, InvalidValue, MissingValue, UnknownName, UnreadableSpec

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
@click.option("--filter", "only", metavar="TEXT", help="Only tests whose names contain TEXT; `*` and `?` stand for anything.")
@click.option("--update", is_flag=True, help="Let failed tests expect what came, in their files, and show what changed.")
@click.option("--junit", metavar="PATH", help="Write the outcome as JUnit XML as well.")
def command(
    what: tuple[str, ...], parameters: tuple[tuple[str, str], ...], only: str | None, update: bool, junit: str | None
) -> None:
    """Run the tests of specs and the test cases of reusable transformations.

    Each argument is a file, a folder (all specs in it), or the NAME of a reusable transformation or packaged template. The
    rows that a test gives stand in for its sources; nothing is written.
    """
    from beam_datahub.cli.failures import say

    tally = _Tally()
    suites: list[tuple[str, list[TestOutcome], str | None]] = []
    for file in dict.fromkeys(file for each in what for file in _files(each)):
        try:
            outcomes = _outcomes(file, dict(parameters), only)
        except DataHubError as error:
            click.echo(str(file))
            say(error)
            tally.error = tally.error or error
            suites.append((str(file), [], str(error)))
            continue
        if outcomes:
            _show(file, outcomes)
            suites.append((str(file), outcomes, None))
        if update and any(not outcome.holds for outcome in outcomes):
            outcomes = _updated(file, outcomes)
        tally.held += sum(outcome.holds for outcome in outcomes)
        tally.failed += sum(not outcome.holds for outcome in outcomes)
    if junit is not None:
        from beam_datahub.cli.junit import write_junit

        write_junit(junit, suites)
    _conclude(tally)


def _updated(file: Path, outcomes: list[TestOutcome]) -> list[TestOutcome]:
    """Write what came into a file, show the difference, and give the outcomes with those tests held."""
    from dataclasses import replace

    from beam_datahub.spec.tree import read_text
    from beam_datahub.testing.rewriting import rewritten, rewritten_files, write_back

    if any(outcome.test is not None and outcome.place.path[:1] == ("test_cases",) for outcome in outcomes):
        click.echo("      test cases of reusable transformations are changed by hand")
        return outcomes
    before = read_text(file)
    after = rewritten(before, outcomes, is_json=file.suffix == ".json")
    if after != before:
        write_back(file, after)
        _show_change(str(file), before, after)
    for target, old, new in rewritten_files(outcomes, file.parent):
        _show_change(str(target), old, new)
    return [each if each.found is None else replace(each, problems=()) for each in outcomes]


def _show_change(name: str, before: str | None, after: str | None) -> None:
    if after is None:
        click.echo(f"    wrote {name}")
        return
    lines = difflib.unified_diff((before or "").splitlines(), after.splitlines(), name, name, lineterm="", n=2)
    for line in lines:
        click.secho(f"    {line}", fg={"-": "red", "+": "green", "@": "cyan"}.get(line[0]))


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


def _outcomes(file: Path, parameters: dict[str, str], only: str | None) -> list[TestOutcome]:
    from beam_datahub.cli.specs import with_connections
    from beam_datahub.spec import load
    from beam_datahub.spec.reusable import case_documents, load_reusable
    from beam_datahub.spec.tree import read_text, read_tree
    from beam_datahub.testing.expectations import run_tests

    value = read_tree(read_text(file), str(file)).value
    chosen = partial(_is_chosen, only)
    if isinstance(value, dict) and "test_cases" in value:
        documents = case_documents(load_reusable(file))
        return [outcome for document in documents for outcome in run_tests(document, chosen=chosen)]
    try:
        document = load(str(file), parameters=parameters)
    except MissingValue:
        # A parameter without a default may get its values from the tests.
        given = {key: each for test in _tests(value) for key, each in (test.get("parameters") or {}).items()}
        if not given.keys() - parameters.keys():
            raise
        document = load(str(file), parameters={**given, **parameters})
    return run_tests(with_connections(document), chosen=chosen)


def _tests(value: Any) -> list[dict[str, Any]]:
    tests = value.get("tests") if isinstance(value, dict) else None
    return [test for test in tests if isinstance(test, dict)] if isinstance(tests, list) else []


def _is_chosen(only: str | None, name: str) -> bool:
    if only is None:
        return True
    pattern = only if any(sign in only for sign in "*?") else f"*{only}*"
    return fnmatchcase(name.casefold(), pattern.casefold())


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
