"""Expressions reach nothing but their row, wherever they stand; secrets show nowhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

REACHING = (
    "read_csv('/etc/passwd')",
    "ReAd_TeXt('/etc/passwd')",
    "\"read_text\"('/etc/passwd')",
    "'/etc/passwd'.read_text()",
    "read_blob('/etc/passwd').content",
    "(select content from read_text('/etc/passwd'))",
    "a from read_csv('/etc/passwd')",
    "glob('/etc/*')",
    "sniff_csv('/etc/passwd')",
    "pg_read_file('/etc/passwd')",
    "parquet_metadata('/etc/passwd')",
    "http_get('http://localhost')",
    "getenv('HOME')",
    "main.\"getenv\"('HOME')",
    "system.main.getenv('HOME')",
    "try(getenv('HOME'))",
    "{'x': getenv('HOME')}",
    "a || getenv('HOME')",
    "current_setting('threads')",
    "getvariable('x')",
    "current_user",
    "version()",
    "duckdb_secrets()",
    "(from duckdb_settings())",
    "(select count(*) from information_schema.tables)",
    "(select 1)",
    "exists(select 1 from input)",
    "a in (select a from input)",
    "(table input)",
    "(show tables)",
    "query('select 1')",
    "query_table('input')",
    "json_execute_serialized_sql('x')",
    "list_transform([1], x -> (select 1))",
    "list_aggregate([1], 'getenv')",
    "nextval('s')",
    "pg_sleep(1)",
    "write_log('x')",
    "force_checkpoint()",
    "error(getenv('HOME'))",
    "random()",
    "now()",
    "a; copy input to '/tmp/x'",
    "a; attach '/tmp/x.db'",
    "copy input to '/tmp/x'",
    "attach '/tmp/x.db'",
    "install httpfs",
    "load httpfs",
    "pragma version",
    "set threads = 1",
    "export database '/tmp/x'",
    "a union select 1",
    "$.d[?read_text('/etc/passwd')]",
    "$.d[?getenv('HOME') == 'x']",
    "x ${getenv('HOME')} y",
)
# A `sql` step is a query over its input, so that these are no reach.
QUERIES = {
    "(select 1)",
    "exists(select 1 from input)",
    "a in (select a from input)",
    "(table input)",
    "list_transform([1], x -> (select 1))",
    "a union select 1",
}
PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "mapping": lambda e: {"type": "mapping", "config": {"fields": {"x": e}}},
    "template": lambda e: {"type": "mapping", "config": {"fields": {"x": "v ${" + e + "} w"}}},
    "filtering": lambda e: {"type": "filtering", "config": {"where": e}},
    "route": lambda e: {"type": "route", "config": {"branches": {"b": e}, "default": "rest"}},
    "validation": lambda e: {"type": "validation", "config": {"rules": [{"that": e}]}},
    "aggregation by": lambda e: {"type": "aggregation", "config": {"by": [{"x": e}], "measures": {"n": "count(*)"}}},
    "aggregation measure": lambda e: {"type": "aggregation", "config": {"by": ["a"], "measures": {"n": e}}},
    "inside an aggregate": lambda e: {"type": "aggregation", "config": {"by": ["a"], "measures": {"n": f"max({e})"}}},
    "aggregate filter": lambda e: {"type": "aggregation", "config": {"measures": {"n": f"count(*) filter (where {e})"}}},
    "sql column": lambda e: {"type": "sql", "config": {"query": f"select {e} as x from input"}},
    "sql condition": lambda e: {"type": "sql", "config": {"query": f"select a from input where {e}"}},
    "sql query": lambda e: {"type": "sql", "config": {"query": e}},
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_expressions_that_reach_for_anything_but_their_row_are_refused_by_validate(
    place: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    from beam_datahub.cli import main

    for expression in REACHING:
        step = {"id": "s", **place(expression)}
        if step["type"] == "sql" and expression in QUERIES:
            continue
        spec = {
            "name": "reaching",
            "sources": {"in": {"connector": "inline", "rows": [{"a": 1, "d": {}}], "schema": {"a": "bigint", "d": "json"}}},
            "transformations": [step],
            "destinations": [{"id": "o", "input": "s.b" if step["type"] == "route" else "s", "connector": "console"}],
        }
        path = tmp_path / "spec.json"
        path.write_text(json.dumps(spec))
        result = CliRunner().invoke(main, ["validate", str(path)])
        assert result.exit_code == 3, (expression, result.output)
        assert "transformations[0]" in result.stderr, (expression, result.stderr)
        assert any(f"[{code}]" in result.stderr for code in ("DH102", "DH106", "DH107", "DH109")), (expression, result.stderr)
        assert "root:" not in result.output


SECRET = "s3cr3t/Pa ss&wörd"


def hidden(work: Any, *outputs: str) -> None:
    """The secret is in none of the texts, nor in any file that the runs wrote, in any of the forms in which it travels."""
    from urllib.parse import quote, quote_plus

    texts = [*outputs, *(data.decode(errors="replace") for name, data in work.files().items() if not name.startswith("secret"))]
    for form in {SECRET, quote(SECRET, safe=""), quote_plus(SECRET), json.dumps(SECRET)[1:-1], repr(SECRET)[1:-1]}:
        for text in texts:
            assert form not in text, text[max(0, text.index(form) - 200) :][:600]


@pytest.mark.parametrize(
    ("where", "arguments"),
    [
        ("missing", ("run", "--json")),
        ("missing", ("run", "--verbose")),
        ("missing", ("validate", "--verbose")),
        ("target", ("run", "--json", "--verbose")),
        ("target", ("plan",)),
        ("target", ("plan", "--format", "json")),
        ("target", ("run", "--dry-run", "--json")),
        ("option", ("run", "--json", "--verbose")),
        ("option", ("validate",)),
    ],
)
def test_a_secret_shows_in_no_output(where: str, arguments: tuple[str, ...], work: Any) -> None:
    (work.folder / "data.csv").write_text("id,name\n1,a\nx,b\n")
    (work.folder / "file").write_text("a file where a folder is wanted")
    source = {
        "missing": "{connector: csv, connection: {path: 'https://user:${secret.word}@localhost:1/x.csv'}, schema: {id: bigint}}",
        "target": "{connector: csv, connection: {path: data.csv}, schema: {id: bigint, name: varchar}}",
        "option": "{connector: csv, connection: {path: data.csv}, encoding: '${secret.word}'}",
    }[where]
    target = "'file/${secret.word}.csv'" if where == "target" else "out.csv"
    work.spec(source, f"input: in, connector: csv, connection: {{path: {target}}}")
    command, *options = arguments
    done = work.bh(command, "spec.yaml", *options, BEAM_DATAHUB_SECRET_WORD=SECRET)
    assert done.status != 70, done
    hidden(work, done.out, done.err)


@pytest.mark.parametrize("options", ["path: 'in/${secret.word}.csv'}", "path: data.csv}, null_words: ['${secret.word}']"])
def test_an_option_that_plans_and_logs_show_takes_no_secret(options: str, work: Any, refused: Callable[..., str]) -> None:
    (work.folder / "data.csv").write_text("id\n1\n")
    work.spec(f"{{connector: csv, connection: {{{options}}}", "connector: console")
    done = work.bh("run", "spec.yaml", "--json", BEAM_DATAHUB_SECRET_WORD=SECRET)
    assert "a secret cannot stand here" in refused(done, "DH102", 3)
    hidden(work, done.out, done.err)


def test_an_error_that_repeats_a_secret_is_shown_without_it(work: Any, refused: Callable[..., str]) -> None:
    (work.folder / "data.csv").write_text("id\n1\n")
    work.spec("{connector: csv, connection: {path: data.csv}}", "connector: csv, connection: {path: out.csv}")
    for options in ((), ("--json",), ("--verbose",)):
        done = work.python(LEAKING, *options, BEAM_DATAHUB_SECRET_WORD=SECRET)
        assert (done.status, "refused" in done.err) == (4, True), done
        hidden(work, done.out, done.err)


LEAKING = """
import os, sys
from beam_datahub.cli import main
import apache_beam
from beam_datahub.component.file_writer import BundleWriter
from beam_datahub.errors import AccessDenied
from beam_datahub.security.providers import default_providers
from beam_datahub.security.secret import find

def write(self, batch):
    word = find("word", default_providers())[1]
    try:
        raise ValueError(f"cannot log in as admin:{word}")
    except ValueError as error:
        raise AccessDenied(f"the system refused {word}", hint=f"is {word} right?") from error

BundleWriter.write = write
sys.argv = ["beam-datahub", "run", "spec.yaml", *sys.argv[1:]]
main()
"""


def test_what_is_sent_to_workers_holds_no_secret_and_works_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    import pyarrow as pa

    from beam_datahub.compiler.dead_letter import Identity
    from beam_datahub.compiler.dofns import KernelOptions
    from beam_datahub.compiler.plan import Write
    from beam_datahub.compiler.staging import StageRows
    from beam_datahub.component.sink import WriteRequest
    from beam_datahub.io.csv import CsvSink
    from beam_datahub.security.providers import default_providers
    from beam_datahub.security.secret import Reference, Secret

    monkeypatch.setenv("BEAM_DATAHUB_SECRET_WORD", SECRET)
    secret = Secret(["user:", Reference("environment", "word")])
    assert secret.reveal() == f"user:{SECRET}"
    sink = CsvSink(CsvSink.Connection(path="out.csv"), CsvSink.Options())
    sink.connection = {"password": secret, "providers": len(default_providers())}
    dofn = StageRows(Write("csv", sink, WriteRequest("run", "out", pa.schema([]))), Identity("run", "shop"), KernelOptions())
    sent = pickle.dumps(dofn)
    assert SECRET.encode() not in sent
    assert pickle.loads(sent)._sink.connection["password"].reveal() == f"user:{SECRET}"
