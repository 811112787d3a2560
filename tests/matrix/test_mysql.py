"""The same shop in MySQL's own script: the same answers as everywhere."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pyarrow as pa
from pymysql.constants import CLIENT

from beam_datahub.component.database_pool import close_pools
from beam_datahub.testing.connectors import read
from tests.matrix.test_databases import CHINOOK, answers_of, expected, loaded, plain
from tests.unit.io.database_systems import System, mysql_client, new_mysql_database

TABLES = ("Artist", "Album", "Track", "Genre", "Invoice", "InvoiceLine", "Customer", "PlaylistTrack")


def test_chinook_as_mysql_has_it_gives_the_known_answers(mariadb: str, cases: Path) -> None:
    url = new_mysql_database(mariadb)
    script = gzip.decompress((cases / "chinook" / "Chinook_MySql.sql.gz").read_bytes()).decode("utf-8-sig")
    script = re.sub(r"(?mi)^(DROP DATABASE|CREATE DATABASE|USE) .*$", "", script)
    with mysql_client(url, CLIENT.MULTI_STATEMENTS) as server, server.cursor() as cursor:
        cursor.execute(script)
        while cursor.nextset():
            pass
    shop = System("mysql", {"url": url})
    found = {name: read(shop.source(table=name)) for name in TABLES}
    assert not any(each.rejected for each in found.values())
    wanted = expected(cases, "chinook", list(CHINOOK))
    assert answers_of(loaded({plain(name): each.table for name, each in found.items()}), CHINOOK) == wanted
    # The server's own answer to a query is the same.
    query = (
        "select BillingCountry, cast(round(sum(Total), 2) as double) total, count(*) n from Invoice group by 1 order by 2 desc, 1"
    )
    rows = read(shop.source(query=f"{query} limit 5")).rows
    assert rows == wanted["revenue-by-country-top5"]
    # And what is written there again is what was read.
    track = found["Track"].table
    shop.write(shop.sink(table="Again"), track)
    again = read(shop.source(table="Again")).table
    assert isinstance(again, pa.Table)
    assert again.sort_by("TrackId").to_pylist() == track.sort_by("TrackId").to_pylist()
    close_pools()
