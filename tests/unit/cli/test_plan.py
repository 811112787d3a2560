"""`plan` shows what a spec compiles to."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.cli.conftest import Run


def test_the_tree_shows_schemas_push_downs_stages_and_guarantees(shop: Path, cli: Run) -> None:
    done = cli("plan", "shop.yaml")
    assert done.exit_code == 0, done.output
    assert "orders → paid → priced: in one pass" in done.stdout
    assert "reads only 3 of 5 columns: id, status, amount" in done.stdout
    assert "keeps rows where status = 'paid'" in done.stdout
    assert "id BIGINT, gross DECIMAL" in done.stdout
    assert "overwrite, exactly once" in done.stdout


def test_columns_show_where_each_one_comes_from(shop: Path, cli: Run) -> None:
    line = next(line for line in cli("plan", "shop.yaml", "--columns").stdout.splitlines() if "gross" in line)
    assert line.endswith("round(amount * 1.2, 2)  ← orders.amount")


def test_json_has_the_lineage_of_every_output_column(shop: Path, cli: Run) -> None:
    plan = json.loads(cli("plan", "shop.yaml", "--format", "json").stdout)
    out = next(step for step in plan["steps"] if step["id"] == "out")
    assert (out["kind"], out["write_mode"], out["delivery"]) == ("destination", "overwrite", "exactly_once")
    gross = next(column for column in out["columns"] if column["name"] == "gross")
    assert gross["from"] == [{"source": "orders", "column": "amount"}]
    assert gross["through"] == [{"step": "priced", "column": "gross", "expression": "round(amount * 1.2, 2)"}]


def test_mermaid_is_a_flowchart(shop: Path, cli: Run) -> None:
    lines = cli("plan", "shop.yaml", "--format", "mermaid").stdout.splitlines()
    assert lines[0] == "flowchart LR"
    assert "  n0 --> n1" in lines


def test_a_secret_is_not_in_a_plan(shop: Path, cli: Run, monkeypatch: object) -> None:
    monkeypatch.setenv("DATAHUB_SECRET_SALT", "hush-hush")  # type: ignore[attr-defined]
    monkeypatch.setenv("BEAM_DATAHUB_SECRET_SALT", "hush-hush")  # type: ignore[attr-defined]
    spec = (shop / "shop.yaml").read_text().replace("where: status = 'paid'", "where: \"status <> '${secret.SALT}'\"")
    (shop / "shop.yaml").write_text(spec)
    for form in ("tree", "json", "mermaid"):
        done = cli("plan", "shop.yaml", "--format", form)
        assert "hush-hush" not in done.output


PERSONAL = """\
name: people
source: {name: people, connector: inline, connection: {}, rows: [{id: 1, email: a@x.org}], pii: {email: email}}
transformations:
  - {id: hide, type: mask, input: people, config: {fields: {email: email}}}
destinations:
  - {id: safe, input: hide, connector: jsonl, connection: {path: safe.jsonl}}
  - {id: bare, input: people, connector: jsonl, connection: {path: bare.jsonl}, clearance: [email]}
dead_letter: {connector: jsonl, connection: {path: rejected/}, sealed: true}
"""


def test_personal_data_is_shown_with_its_masks_and_clearances(shop: Path, cli: Run) -> None:
    (shop / "people.yaml").write_text(PERSONAL)
    tree = cli("plan", "people.yaml").stdout
    for fact in (
        "personal data: email (email)",
        "masks email (email in part)",
        "personal data: email (email in part by hide)",
        "cleared for email",
        "originals and messages are sealed",
    ):
        assert f"· {fact}\n" in tree
    assert "[email in part by hide]" in cli("plan", "people.yaml", "--columns").stdout
    steps = {step["id"]: step for step in json.loads(cli("plan", "people.yaml", "--format", "json").stdout)["steps"]}
    assert steps["bare"]["clearance"] == ["email"]
    email = next(column for column in steps["safe"]["columns"] if column["name"] == "email")
    assert email["personal"] == [{"kind": "email", "shows": "in part", "origin": "people.email", "masked_by": "hide"}]
    drawn = cli("plan", "people.yaml", "--format", "mermaid").stdout
    assert "masks email (email in part)" in drawn
    assert drawn.splitlines()[-1] == "  class n0,n3 personal"
