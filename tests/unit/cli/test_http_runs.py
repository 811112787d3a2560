"""Runs to an HTTP service: what it refuses is in the books, counts for the budget, and never shows a secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.io.http_endpoint import Endpoint, endpoint

pytestmark = pytest.mark.usefixtures("recording")

SPEC = """\
name: relay
source: {{name: in, connector: jsonl, connection: {{path: in.jsonl}}, schema: {{n: bigint}}}}
destinations:
  - {{id: api, connector: http, connection: {{url: "{url}", auth: {{type: bearer, token: "${{secret.API}}"}}}}, {options}}}
  - {{id: file, connector: jsonl, connection: {{path: file/}}, write_mode: append}}
dead_letter: {{connector: {letter}}}
max_rejected: 1
"""
FILES = "jsonl, connection: {path: dead/}"
TOKEN = "t0ken-of-the-service"


@pytest.fixture
def service() -> Iterator[Endpoint]:
    with endpoint() as found:
        yield found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BEAM_DATAHUB_STORE", str(tmp_path / "store.db"))
    monkeypatch.setenv("BEAM_DATAHUB_SECRET_API", TOKEN)
    (tmp_path / "in.jsonl").write_text("".join(f'{{"n": {n}}}\n' for n in range(100)))
    return tmp_path


def spec(folder: Path, service: Endpoint, options: str, letter: str = FILES) -> None:
    (folder / "relay.yaml").write_text(SPEC.format(url=service.url, options=options, letter=letter))


def numbers(folder: Path) -> list[int]:
    lines = [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]
    return sorted(json.loads(each["original"])["n"] if "original" in each else each["n"] for each in lines)


def refuses(*bad: int) -> Any:
    marks = [f'{{"n":{n}}}'.encode() for n in bad]
    return lambda each: (422, "bad") if any(mark in each.body for mark in marks) else 200


def test_records_that_a_service_refuses_are_in_the_books_and_count_for_the_budget(
    cli: Run, here: Path, service: Endpoint
) -> None:
    service.answer = refuses(7)
    spec(here, service, "format: array, batch_rows: 30")
    done = cli("run", "relay.yaml", "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert (record["read"], record["rejected"], record["written"]["api"]["rows"]) == (100, 1, 99)
    assert (record["books"]["api"]["in"], record["books"]["api"]["rejected"]) == (100, 1)
    assert record["books"]["dead_letter"]["in"] == record["written"]["dead_letter"]["rows"] == 1
    assert record["reasons"] == [{"step": "api", "reason": "refused", "records": 1}]
    assert numbers(here / "dead") == [7]

    service.answer = refuses(7, 8)
    done = cli("run", "relay.yaml")
    assert done.exit_code == 6, done.output
    assert "2 records were rejected, 1 are allowed" in done.stderr
    # The other destination is left as it was, and the dead letter tells of both.
    assert numbers(here / "file") == list(range(100))
    assert numbers(here / "dead") == [7, 7, 8]
    assert [path for path in here.rglob("*") if "returned" in path.name or "staging" in path.parts] == []


def test_a_login_that_is_refused_ends_the_run_and_rejects_nothing(cli: Run, here: Path, service: Endpoint) -> None:
    service.answer = lambda _: (401, f'{{"error": "no {TOKEN} for you"}}')
    spec(here, service, "concurrency: 2")
    done = cli("run", "relay.yaml")
    assert done.exit_code == 4, done.output
    assert "the service answers 401 Unauthorized" in done.stderr
    assert "[DH204]" in done.stderr
    assert "hint: look at `auth`" in done.stderr
    assert len(service.sent) <= 2
    assert {each.headers["authorization"] for each in service.sent} == {f"Bearer {TOKEN}"}
    assert not (here / "dead").exists()
    assert not (here / "file").exists()
    planned = cli("plan", "relay.yaml", "--format", "json")
    assert '"delivery": "at_least_once"' in planned.stdout
    kept = b"".join(path.read_bytes() for path in here.rglob("*") if path.is_file())
    assert TOKEN not in done.output + planned.output
    assert TOKEN.encode() not in kept


def test_a_dead_letter_does_not_go_where_it_may_be_refused(cli: Run, here: Path, service: Endpoint) -> None:
    spec(here, service, "concurrency: 1", f'http, connection: {{url: "{service.url}"}}')
    done = cli("validate", "relay.yaml")
    assert done.exit_code == 3, done.output
    assert "the dead letter cannot go to 'http'" in done.stderr
