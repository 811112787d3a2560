"""Two integrations that meet in a folder: a shop that writes it, and a report that reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_datahub.lineage.gathering import Gathered, gather
from beam_datahub.spec import load

SHOP = """\
name: shop
sources:
  orders:
    connector: csv
    connection: {path: data/orders.csv}
    schema: {id: bigint, customer: bigint, status: varchar, amount: "decimal(8,2)", qty: integer, country: varchar}
  customers:
    connector: csv
    connection: {path: data/customers.csv}
    schema: {id: bigint, email: varchar, tier: varchar}
transformations:
  - {id: paid, type: filtering, input: orders, config: {where: status = 'paid'}}
  - id: priced
    type: mapping
    config:
      fields:
        customer: customer
        country: upper(country)
        gross: round(amount * qty, 2)
        size: case when qty > 10 then 'big' else country end
  - {id: who, type: enrichment, config: {with: customers, on: {customer: id}, add: [email, tier]}}
  - id: daily
    type: aggregation
    input: who
    config: {by: country, measures: {orders: count(*), revenue: sum(gross)}}
  - {id: masked, type: mask, input: who, config: {fields: {email: "null"}}}
  - {id: last, type: deduplication, config: {by: customer, order_by: gross desc}}
destinations:
  - {id: lasts, input: last, connector: jsonl, connection: {path: out/lasts/}, write_mode: overwrite}
  - {id: daily_out, input: daily, connector: parquet, connection: {path: out/daily}, write_mode: overwrite}
"""

REPORT = """\
name: report
source: {name: daily, connector: parquet, connection: {path: "out/daily/*.parquet"}}
transformations:
  - {id: big, type: filtering, config: {where: revenue > 5}}
  - {id: means, type: mapping, config: {keep: all, fields: {mean: revenue / orders}}}
destination: {id: best, connector: csv, connection: {path: out/best.csv}, write_mode: overwrite}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with both specs, which is the current one; nothing has run yet."""
    (tmp_path / "shop.yaml").write_text(SHOP)
    (tmp_path / "report.yaml").write_text(REPORT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def gathered(folder: Path) -> Gathered:
    """The lineage of both, the one that needs the other first."""
    return gather([load("report.yaml"), load("shop.yaml")])
