"""Makes the benchmarks' data from a seed: the same rows for the same number of rows, on every machine.

Everything is written by one DuckDB connection in row order, so that files are equal byte for byte for one DuckDB version.
Files are kept under bench/data; the folder's name carries a hash of the queries, so that a changed query makes new data.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import duckdb

FOLDER = Path(__file__).resolve().parent / "data"
SEED = 20250101

# One row in a hundred of the defective file; which one and which defect depend on its id alone.
DEFECTIVE = "id % 100 = 37"

# `draw(i, k)` is the k-th random number of row i, from 0 to 2^32 - 1.
_MACROS = f"create macro draw(i, k) as (hash(i * 64 + k + {SEED}) % 4294967296)::bigint"

_ORDERS = """
select
    i as id,
    draw(i, 1) % {customers} as customer_id,
    draw(i, 2) % {accounts} as account_id,
    ['paid', 'pending', 'shipped', 'returned', 'cancelled', 'failed'][greatest(1, draw(i, 3) % 10 - 3)] as status,
    (draw(i, 4) % 100000) / 100 as amount,
    1 + draw(i, 5) % 9 as quantity,
    ['de', 'fr', 'it', 'es', 'nl', 'pl', 'us', 'gb'][1 + draw(i, 6) % 8] as country,
    (date '2024-01-01' + (draw(i, 7) % 700)::integer) as created_at,
    (timestamp '2024-01-01' + to_seconds(draw(i, 8) % 63072000)) as updated_at,
    [null, null, 'gift', 'call first', 'left, then up', 'fragile'][1 + draw(i, 9) % 6] as note
from range({first}, {last}) as ids(i)
"""

_CUSTOMERS = """
select
    i as customer_id,
    'customer' || i || '@example.org' as email,
    ['bronze', 'silver', 'gold'][1 + draw(i, 11) % 3] as tier
from range(0, {customers}) as ids(i)
"""

_ACCOUNTS = """
select
    i as account_id,
    'account ' || i as owner,
    ['open', 'frozen', 'closed'][1 + draw(i, 12) % 3] as state
from range(0, {accounts}) as ids(i)
"""

_NESTED = """
select
    i as id,
    {{'id': draw(i, 1) % {customers}, 'name': 'Customer ' || (draw(i, 1) % {customers}),
      'address': {{'city': ['Berlin', 'Lyon', 'Turin', 'Gijón', 'Łódź'][1 + draw(i, 2) % 5],
                   'country': ['de', 'fr', 'it', 'es', 'pl'][1 + draw(i, 2) % 5]}}}} as customer,
    list_transform(range(0, 1 + draw(i, 3) % 4), lambda n:
        {{'sku': 'sku-' || (draw(i * 8 + n, 4) % 5000), 'quantity': 1 + draw(i * 8 + n, 5) % 5,
          'price': (draw(i * 8 + n, 6) % 20000) / 100}}) as items,
    ['new', 'web', 'sale'][1:1 + draw(i, 7) % 3] as tags,
    strftime(timestamp '2024-01-01' + to_seconds(draw(i, 8) % 63072000), '%Y-%m-%dT%H:%M:%S') as placed_at
from range(0, {nested}) as ids(i)
"""

# The four defects: a word for the amount, a word for the quantity, a date that is none, a field too many.
_DEFECTIVE = f"""
select
    id, customer_id, account_id, status,
    case when {DEFECTIVE} and id // 100 % 4 = 0 then 'n/a' else amount::varchar end as amount,
    case when {DEFECTIVE} and id // 100 % 4 = 1 then 'many' else quantity::varchar end as quantity,
    country,
    case when {DEFECTIVE} and id // 100 % 4 = 2 then '2024-13-45' else created_at::varchar end as created_at,
    updated_at,
    case when note like '%,%' then '"' || note || '"' else coalesce(note, '') end
        || case when {DEFECTIVE} and id // 100 % 4 = 3 then ',one too many' else '' end as note
from ({_ORDERS})
"""

_CSV = "(format csv, header)"
# The defective lines are put together as text, quoted already; \x01 stands in for a delimiter that is not there.
_LINES = "(format csv, header false, quote '', escape '', delimiter '\x01')"
_HEADER = "id,customer_id,account_id,status,amount,quantity,country,created_at,updated_at,note"

FILES: dict[str, tuple[str, str]] = {
    "orders.csv": (_ORDERS, _CSV),
    "orders.parquet": (_ORDERS, "(format parquet, compression snappy)"),
    "customers.csv": (_CUSTOMERS, _CSV),
    "accounts.csv": (_ACCOUNTS, _CSV),
    "nested.jsonl": (_NESTED, "(format json)"),
    "defective.csv": (
        f"select '{_HEADER}' union all select concat_ws(',', *columns(*)) from ({_DEFECTIVE})",
        _LINES,
    ),
}


def prepare(rows: int, names: set[str], under: Path = FOLDER) -> Path:
    """Make the named files for so many orders, unless they are there; returns their folder, which is `under` another."""
    fingerprint = hashlib.sha256(repr((SEED, FILES, duckdb.__version__)).encode()).hexdigest()[:8]
    folder = under / f"{rows}-{fingerprint}"
    folder.mkdir(parents=True, exist_ok=True)
    # The sizes keep their proportions: 10 M orders have 0.1 M customers, 5 M accounts and 2 M nested documents.
    sizes = {
        "customers": max(rows // 100, 1),
        "accounts": max(rows // 2, 1),
        "nested": max(rows // 5, 1),
        "first": 0,
        "last": rows,
    }
    missing = [name for name in FILES if name in names and not (folder / name).exists()]
    if missing:
        connection = duckdb.connect(config={"memory_limit": "4GB"})
        connection.execute(_MACROS)
        for name in missing:
            query, form = FILES[name]
            print(f"making {name} for {rows:,} orders …", file=sys.stderr)
            unfinished = folder / f".{name}.{os.getpid()}"
            connection.execute(f"copy ({query.format(**sizes)}) to '{unfinished}' {form}")
            unfinished.rename(folder / name)
        connection.close()
    return folder


if __name__ == "__main__":
    print(prepare(int(sys.argv[1]), set(sys.argv[2:])))
