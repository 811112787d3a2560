from __future__ import annotations

import textwrap
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from jsonschema import Draft202012Validator
from pydantic import Field

from beam_datahub.errors import DataHubError
from beam_datahub.security import Secret
from beam_datahub.spec import ComponentSchemas, SpecModel, content_folder, json_schema, load_reusable, loads
from beam_datahub.spec.tree import read_tree


class FileConnection(SpecModel):
    path: str
    """Where the files are."""


class DatabaseConnection(SpecModel):
    password: Secret | None = None
    port: int = 5432


class CsvOptions(SpecModel):
    delimiter: str = ","
    """What stands between two values."""
    header: bool = True
    skip_rows: int = Field(0, ge=0)


class TableOptions(SpecModel):
    table: str


class Nothing(SpecModel):
    pass


class Filtering(SpecModel):
    where: str
    mode: Literal["fast", "safe"] = "fast"


COMPONENTS = ComponentSchemas(
    sources={"csv": (FileConnection, CsvOptions), "db": (DatabaseConnection, TableOptions)},
    destinations={"csv": (FileConnection, Nothing), "db": (DatabaseConnection, TableOptions)},
    transformations={"filtering": Filtering},
    reusables={"parse_money": load_reusable(content_folder("transforms") / "parse_money.yaml").spec},
)
BARE, FULLY = Draft202012Validator(json_schema()), Draft202012Validator(json_schema(COMPONENTS))
HEAD = """
name: x
parameters: {n: {type: integer, default: 3}}
source: {connector: csv, connection: {path: a}, SOURCE}
transformations: [STEPS]
destination: {connector: csv, connection: {path: b}}
"""


def spec(source: str = "", steps: str = "", tail: str = "") -> str:
    return HEAD.replace("SOURCE", source).replace("STEPS", steps) + textwrap.dedent(tail)


FULL = """
name: everything
type: batch
description: all keys
parameters:
  input: {type: string, default: in.csv, description: where, choices: [in.csv, other.csv]}
sources:
  orders:
    connector: csv
    connection: {path: "${param.input}"}
    contract: {columns: evolve, types: freeze}
    schema: {id: bigint, amount: "decimal(12,2)"}
    header: "${param.input}"
  customers: {connector: db, table: customers, connection: {password: "${secret.pw}"}}
transformations:
  - {id: paid, type: filtering, input: orders, config: {where: status = 'paid'}}
  - {type: parse_money, dependencies: [paid], config: {field: amount, decimal_mark: ","}}
  - {type: of-the-users-own, config: {anything: 1}}
destinations:
  - {id: rows, input: paid, connector: csv, connection: {path: out}, write_mode: overwrite}
  - {id: daily, connector: db, table: t, write_mode: merge, key: [country, day]}
dead_letter: {connector: csv, connection: {path: bad}}
max_rejected: 5%
tests:
  - name: one
    given: {orders: [{id: 1, at: 2025-01-01}], customers: []}
    expect: {rows: [], daily: []}
    rejected: [{step: paid, reason: expression_failed}]
"""
CHOSEN = """
name: x
parameters: {connector: {default: csv}, path: {default: in.csv}}
source: {connector: "${param.connector}", connection: {path: "${param.path}"}, delimiter: ;}
destination: {connector: "${param.connector}", connection: {path: out}}
"""


def plain(value: Any) -> Any:
    """What an editor sees: JSON has no dates."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value.isoformat() if isinstance(value, (date, datetime)) else value


def mistakes(text: str, components: ComponentSchemas | None = COMPONENTS) -> list[str]:
    checker = BARE if components is None else FULLY
    return [error.message for error in checker.iter_errors(plain(read_tree(text, "a.yaml").value))]


def test_it_is_a_valid_schema_of_its_draft() -> None:
    for components in (None, COMPONENTS):
        Draft202012Validator.check_schema(json_schema(components))


@pytest.mark.parametrize("components", [None, COMPONENTS])
@pytest.mark.parametrize("text", [FULL, spec(), spec("skip_rows: '${param.n}', header: false"), CHOSEN])
def test_what_loads_meets_the_schema(text: str, components: ComponentSchemas | None) -> None:
    loads(text, environment={"BEAM_DATAHUB_SECRET_PW": "hunter2"})
    assert mistakes(text, components) == []


@pytest.mark.parametrize(
    "text",
    [
        spec(tail="schedule: daily"),
        spec(tail="type: stream"),
        spec(tail="max_rejected: lots"),
        spec(tail="sources: {a: {connector: csv}}"),
        spec(tail="tests: [{name: x}]"),
        spec("contract: {colums: freeze}"),
        spec("contract: {columns: frozen}"),
        spec("schema: [a]"),
        spec("id: a b"),
        spec(steps="{typ: filtering}"),
        spec(steps="{type: x, input: source, dependencies: source}"),
        spec(steps="{type: x, input: []}"),
        spec(steps="{type: x, config: 5}"),
        spec().replace("destination:", "dead_letter:"),
        spec().replace("name: x", "title: x"),
        spec().replace("connection: {path: b}", "connection: [b]"),
        spec().replace("destination: {", "destination: {write_mode: replace, "),
        spec().replace("type: integer", "type: int"),
    ],
)
def test_what_load_refuses_the_schema_refuses(text: str) -> None:
    with pytest.raises(DataHubError):
        loads(text, environment={})
    assert mistakes(text, None)
    assert mistakes(text)


@pytest.mark.parametrize(
    "text",
    [
        spec("delimeter: ;"),
        spec("skip_rows: -1"),
        spec("header: maybe"),
        spec().replace("connection: {path: a}, ", ""),
        spec().replace("path: a", "paht: a"),
        spec().replace("connector: csv", "connector: cvs"),
        spec().replace("destination: {connector: csv", "destination: {connector: db, connection: {path: b}}\n#"),
        spec(steps="{type: filtering}"),
        spec(steps="{type: filtering, config: {wher: x}}"),
        spec(steps="{type: filtering, config: {where: x, mode: sfe}}"),
        spec(steps="{type: parse_money, config: {feild: x}}"),
        spec(steps="{type: parse_money, config: {decimal_mark: ';'}}"),
        spec(tail="dead_letter: {connector: csv, connection: {path: bad}, table: x}"),
        spec().replace("connector: csv, connection: {path: a}", "connector: db, table: t, connection: {password: clear}"),
    ],
)
def test_options_of_components_are_checked(text: str) -> None:
    assert mistakes(text, None) == []
    assert mistakes(text)


def test_editors_find_a_description_for_every_key() -> None:
    schema = json_schema(COMPONENTS)

    def undescribed(part: Any, at: str) -> list[str]:
        if not isinstance(part, dict):
            return []
        found = [
            f"{at}.{name}"
            for name, each in part.get("properties", {}).items()
            if "$ref" not in each and not each.get("description")
        ]
        return found + [name for key, each in part.get("$defs", {}).items() for name in undescribed(each, key)]

    own = [name for name in undescribed(schema, "") if name.startswith((".", "Written", "Parameter", "Rejected", "Contract"))]
    assert own == []
    rules = schema["$defs"]["WrittenSingleSource"]["allOf"]
    csv = next(rule["then"] for rule in rules if rule["if"]["properties"]["connector"].get("const") == "csv")
    assert csv["properties"]["delimiter"]["description"] == "What stands between two values."
    assert csv["properties"]["connection"]["anyOf"][0]["properties"]["path"]["description"] == "Where the files are."


@pytest.mark.parametrize(
    "path", sorted(content_folder("templates").glob("*/integration.yaml")), ids=lambda path: path.parent.name
)
def test_packaged_templates_meet_the_schema(path: Path) -> None:
    assert mistakes(path.read_text("utf-8"), None) == []
