"""`validate` names everything that is wrong, where it is, and a way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import SPEC, Run


def test_a_fine_spec_is_said_to_be_fine_and_nothing_is_written(shop: Path, cli: Run) -> None:
    before = sorted(shop.iterdir())
    done = cli("validate", "shop.yaml")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "shop.yaml: fine (1 source, 2 steps, 1 destination)\n"
    assert sorted(shop.iterdir()) == before


def test_all_errors_come_in_one_go_with_their_lines_and_hints(shop: Path, cli: Run) -> None:
    wrong = SPEC.replace("status = 'paid'", "statsu = 'paid'").replace("{id: id,", "{id: foo(id),").replace("jsonl", "jsnl")
    (shop / "shop.yaml").write_text(wrong)
    done = cli("validate", "shop.yaml")
    assert done.exit_code == 3
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert "shop.yaml:8 (transformations[0].config.where): unknown column 'statsu' [DH106]" in lines
    assert "  hint: did you mean 'status'?" in lines
    assert any(line.startswith("shop.yaml:12 (destination.connector): unknown destination connector 'jsnl'") for line in lines)


def test_an_option_in_the_wrong_place_is_told_where_it_stands(shop: Path, cli: Run) -> None:
    text = (shop / "shop.yaml").read_text()
    wrong = text.replace("connection: {path: orders.csv}", "connection: {path: orders.csv, delimiter: ';'}\n  compression: gzip")
    (shop / "shop.yaml").write_text(wrong)
    done = cli("validate", "shop.yaml")
    assert done.exit_code == 3
    assert "unknown option 'delimiter' [DH101]\n  hint: it stands beside `connection`, not under it" in done.output
    assert "unknown option 'compression' [DH101]\n  hint: it stands under `connection`" in done.output


def test_an_error_without_a_terminal_has_no_colours(shop: Path, cli: Run) -> None:
    assert "\x1b" not in cli("validate", "nothing.yaml").stderr


def test_a_missing_file_is_the_specs_fault(shop: Path, cli: Run) -> None:
    done = cli("validate", "nothing.yaml")
    assert done.exit_code == 3
    assert done.stderr.startswith("nothing.yaml: there is no such file [DH100]")


def test_missing_data_is_the_outside_worlds_fault(shop: Path, cli: Run) -> None:
    (shop / "shop.yaml").write_text("\n".join(line for line in SPEC.splitlines() if "schema:" not in line))
    (shop / "orders.csv").unlink()
    done = cli("validate", "shop.yaml")
    assert done.exit_code == 4
    assert "DH201" in done.stderr


def test_a_folder_stands_for_the_integration_in_it(shop: Path, cli: Run) -> None:
    (shop / "shop.yaml").rename(shop / "integration.yaml")
    assert cli("validate", ".").exit_code == 0


@pytest.mark.parametrize(("given", "code"), [("1.5", 0), ("much", 3)])
def test_set_gives_a_parameter_its_typed_value(shop: Path, cli: Run, given: str, code: int) -> None:
    spec = "parameters: {rate: {type: number}}\n" + SPEC.replace("amount * 1.2", "amount * ${param.rate}")
    (shop / "shop.yaml").write_text(spec)
    assert cli("validate", "shop.yaml", "--set", f"rate={given}").exit_code == code


def test_pin_writes_the_discovered_schema(shop: Path, cli: Run) -> None:
    (shop / "shop.yaml").write_text(
        "\n".join(line for line in SPEC.splitlines() if "schema:" not in line).replace("amount *", "id *")
    )
    done = cli("validate", "shop.yaml", "--pin")
    assert done.exit_code == 0, done.output
    assert "    customer: bigint\n" in (shop / "shop.yaml").read_text()


def test_an_unknown_command_is_guessed_at(cli: Run) -> None:
    done = cli("vlidate")
    assert done.exit_code == 2
    assert "Did you mean 'validate'?" in done.stderr
