"""The lists of what there is: connectors, transformations, templates, engines, errors, the schema and the pages."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from beam_datahub.component.registry import component, names
from tests.unit.cli.conftest import SPEC, Run


def test_every_connector_is_listed_and_shown_with_its_options(cli: Run) -> None:
    listed = cli("connectors").stdout
    for name in {*names("source"), *names("sink")}:
        assert f"\n{name} " in listed
        assert cli("connectors", name).exit_code == 0
    shown = cli("connectors", "csv").stdout
    assert "delimiter" in shown
    assert "connector: csv" in shown


def test_every_transformation_is_listed_and_shown_with_its_options(cli: Run) -> None:
    listed = cli("transforms").stdout
    for name in names("transform"):
        assert f"\n{name} " in listed
        shown = cli("transforms", name).stdout
        for option in getattr(component("transform", name), "Config").model_fields.values():  # noqa: B009
            assert option.description
        assert f"type: {name}" in shown


def test_every_quality_rule_is_listed_and_shown_with_its_options(cli: Run) -> None:
    listed = cli("rules").stdout
    for name in names("rule"):
        assert f"\n{name} " in listed
        shown = cli("rules", name).stdout
        assert f"type: {name}" in shown
        for option, field in getattr(component("rule", name), "Config").model_fields.items():  # noqa: B009
            assert f"\n  {field.alias or option}  " in shown


def test_a_reusable_transformation_is_shown_with_its_parameters(cli: Run) -> None:
    shown = cli("transforms", "split_name").stdout
    assert "first_name" in shown


@pytest.mark.parametrize(
    "arguments",
    [("connectors", "cvs"), ("transforms", "mapping2"), ("rules", "validty"), ("templates", "ordres"), ("errors", "DH999")],
)
def test_an_unknown_name_is_refused(cli: Run, arguments: tuple[str, ...]) -> None:
    assert cli(*arguments).exit_code == 3


def test_a_template_is_copied_whole_and_only_to_a_new_folder(cli: Run, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    assert cli("templates", "copy", "orders", str(target)).exit_code == 0
    assert (target / "integration.yaml").is_file()
    assert cli("validate", str(target)).exit_code == 0
    assert cli("templates", "copy", "orders", str(target)).exit_code == 3
    assert "orders" in cli("templates").stdout
    assert cli("templates", "orders").exit_code == 0
    assert cli("templates", "copy", "orders").exit_code == 2


def test_engines_and_errors_are_listed(cli: Run) -> None:
    assert "prism" in cli("engines").stdout
    assert ["DH106", "UnknownColumn", "3"] in [line.split()[:3] for line in cli("errors").stdout.splitlines()]


def test_the_schema_takes_a_fine_spec_and_refuses_a_wrong_option(cli: Run, tmp_path: Path) -> None:
    cli("schema", "-o", str(tmp_path / "schema.json"))
    validator = jsonschema.Draft202012Validator(json.loads((tmp_path / "schema.json").read_text()))
    spec = YAML(typ="safe").load(SPEC)
    assert list(validator.iter_errors(spec)) == []
    spec["transformations"][0]["config"]["were"] = "x"
    assert list(validator.iter_errors(spec)) != []


def test_docs_writes_the_pages_and_check_names_the_stale_ones(cli: Run, tmp_path: Path) -> None:
    folder = tmp_path / "reference"
    assert cli("docs", "-o", str(folder)).exit_code == 0
    assert cli("docs", "-o", str(folder), "--check").exit_code == 0
    (folder / "errors.md").write_text("old")
    done = cli("docs", "-o", str(folder), "--check")
    assert done.exit_code == 1
    assert "errors.md" in done.stderr
    assert "cli.md" not in done.stderr
    assert (folder / "errors.md").read_text() == "old"
