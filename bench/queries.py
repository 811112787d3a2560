"""What each benchmark computes, as one DuckDB query over its input: the oracle, and the SQL of the DuckDB contestant."""

from __future__ import annotations

ORDERS = {
    "id": "BIGINT",
    "customer_id": "BIGINT",
    "account_id": "BIGINT",
    "status": "VARCHAR",
    "amount": "DOUBLE",
    "quantity": "INTEGER",
    "country": "VARCHAR",
    "created_at": "DATE",
    "updated_at": "TIMESTAMP",
    "note": "VARCHAR",
}
CUSTOMERS = {"customer_id": "BIGINT", "email": "VARCHAR", "tier": "VARCHAR"}
ACCOUNTS = {"account_id": "BIGINT", "owner": "VARCHAR", "state": "VARCHAR"}
NESTED = {
    "id": "BIGINT",
    "customer": "STRUCT(id BIGINT, name VARCHAR, address STRUCT(city VARCHAR, country VARCHAR))",
    "items": "STRUCT(sku VARCHAR, quantity INTEGER, price DOUBLE)[]",
    "tags": "VARCHAR[]",
    "placed_at": "TIMESTAMP",
}

_FILTER_MAP = """
select id as order_id, customer_id, round(amount * quantity, 2) as total, upper(country) as country,
    created_at::timestamp as placed_at
from {input}
where status = 'paid' and amount > 10
"""

QUERIES = {
    "filter_map": _FILTER_MAP,
    "nested": """
select id as order_id, customer.address.city as city, upper(customer.address.country) as country,
    list_transform(items, lambda item: item.sku) as skus, len(items) as lines, items[1].price as first_price
from {input}
where customer.address.country <> 'it'
""",
    "group_by": """
select customer_id, status, count(*) as orders, sum(amount * quantity) as revenue, max(quantity) as most
from {input}
group by customer_id, status
""",
    "join": """
select o.id, o.customer_id, o.amount, c.email, c.tier
from {input} o join {other} c on o.customer_id = c.customer_id
""",
    "join_large": """
select o.id, o.account_id, o.amount, a.owner, a.state
from {input} o join {other} a on o.account_id = a.account_id
""",
    "deduplicate": """
select account_id, id, status, amount, updated_at
from {input}
qualify row_number() over (partition by account_id order by updated_at desc, id desc) = 1
""",
}


def reader(path: str, columns: dict[str, str], extra: str = "") -> str:
    """The DuckDB table function that reads a file with the given columns."""
    if path.endswith(".parquet"):
        return f"read_parquet('{path}')"
    types = "{" + ", ".join(f"'{name}': '{kind}'" for name, kind in columns.items()) + "}"
    if path.endswith(".jsonl"):
        return f"read_json('{path}', format='newline_delimited', columns={types}{extra})"
    return f"read_csv('{path}', header=true, columns={types}{extra})"


def sql(query: str, folder: str, inputs: tuple[str, ...], extra: str = "") -> str:
    """The SELECT of a benchmark over its files in `folder`; `extra` are further arguments of the reader."""
    columns = {"orders": ORDERS, "defective": ORDERS, "customers": CUSTOMERS, "accounts": ACCOUNTS, "nested": NESTED}
    readers = [reader(f"{folder}/{name}", columns[name.split(".")[0]], extra) for name in inputs]
    return QUERIES[query].format(input=readers[0], other=readers[-1])
