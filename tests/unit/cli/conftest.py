"""A folder with a small shop, and the command line as a function."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from beam_datahub.cli import main

ORDERS = """\
id,customer,status,amount,note
1,7,paid,10.50,x
2,8,pending,3.00,y
3,9,paid,4.25,
4,7,paid,oops,z
"""

SPEC = """\
name: shop
source:
  name: orders
  connector: csv
  connection: {path: orders.csv}
  schema: {id: bigint, customer: bigint, status: varchar, amount: "decimal(8,2)", note: varchar}
transformations:
  - {id: paid, type: filtering, config: {where: status = 'paid'}}
  - id: priced
    type: mapping
    config: {fields: {id: id, gross: "round(amount * 1.2, 2)"}}
destination: {id: out, connector: jsonl, connection: {path: out.jsonl}, write_mode: overwrite}
"""

Run = Callable[..., Result]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with orders.csv and shop.yaml, which is the current one."""
    (tmp_path / "orders.csv").write_text(ORDERS)
    (tmp_path / "shop.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `beam-datahub ARGUMENTS` in this process."""
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: str, **options: Any) -> Result:
        return CliRunner().invoke(main, list(arguments), **options)

    return run


def rows(file: Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines."""
    return [json.loads(line) for line in file.read_text().splitlines()]
