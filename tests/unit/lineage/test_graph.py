"""Lineage from one integration to the next, how a dataset is named, and what breaks without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_datahub.component.dataset import DatasetName, file_dataset
from beam_datahub.errors import InvalidValue, UnknownColumn, UnknownName
from beam_datahub.lineage.gathering import Gathered, gather
from beam_datahub.lineage.graph import same_data
from beam_datahub.lineage.impact import breaks, impact
from beam_datahub.lineage.render import impact_json, lineage_mermaid, walk_json, walk_mermaid
from beam_datahub.lineage.selection import selected
from beam_datahub.spec import loads


@pytest.mark.parametrize(
    ("path", "namespace", "name"),
    [
        ("/data/orders.csv", "file", "/data/orders.csv"),
        ("/data/orders/", "file", "/data/orders"),
        ("/data/orders/*.parquet", "file", "/data/orders"),
        ("/data/orders/**/*.csv.gz", "file", "/data/orders"),
        ("/data/orders/country=de/*.csv", "file", "/data/orders"),
        ("/data/orders-*.csv", "file", "/data/orders-*.csv"),
        ("file:///data/a.csv", "file", "/data/a.csv"),
        ("s3://bucket/in/orders.csv", "s3://bucket", "in/orders.csv"),
        ("s3a://bucket", "s3://bucket", "/"),
        ("gs://bucket/in/", "gs://bucket", "in"),
        ("hdfs://name:8020/in/x.avro", "hdfs://name:8020", "/in/x.avro"),
    ],
)
def test_a_path_names_a_dataset(path: str, namespace: str, name: str) -> None:
    assert file_dataset(path) == DatasetName(namespace, name)


def test_a_folder_and_a_file_in_it_meet_and_namesakes_do_not() -> None:
    def meet(one: str, other: str) -> bool:
        return same_data(file_dataset(one), file_dataset(other))

    assert meet("/out/rows", "/out/rows/*.parquet")
    assert meet("/out/rows/part-1.parquet", "/out/rows/")
    assert meet("/out/2025-*.csv", "/out/2025-01.csv")
    assert not meet("/out/rows", "/out/rows2")
    assert not meet("/out/rows.csv", "s3://out/rows.csv")
    assert not same_data(DatasetName("postgres://h:1", "a.b"), DatasetName("postgres://h:1", "a.b.c"))


def test_a_column_is_followed_through_two_integrations(gathered: Gathered) -> None:
    assert gathered.problems == {}
    start = selected("orders.amount", gathered.graph)
    edges = list(gathered.graph.downstream(*start).edges())
    reached = {(way.integration, way.to.dataset.name.rpartition("/")[2], way.to.column) for _, way in edges}
    assert {("shop", "daily", "revenue"), ("report", "best.csv", "mean"), ("report", "best.csv", None)} <= reached
    back = gathered.graph.upstream(*selected("best.csv#mean", gathered.graph))
    assert ("orders.csv", "amount") in {(w.to.dataset.name.rpartition("/")[2], w.to.column) for _, w in back.edges()}


def test_a_dataset_is_followed_as_a_whole(gathered: Gathered) -> None:
    walk = gathered.graph.upstream(*selected("best", gathered.graph))
    assert [way.to.dataset.name.rpartition("/")[2] for _, way in walk.edges()] == ["daily", "orders.csv", "customers.csv"]


@pytest.mark.parametrize(
    "text",
    ["orders.amount", "orders#amount", "shop.orders.amount", "data/orders.csv#amount", "data/orders.csv.amount",
     "./data/orders.csv#amount", "orders.csv#AMOUNT", "{folder}/data/orders.csv#amount", "file:{folder}/data/orders.csv#amount"],
)  # fmt: skip
def test_a_column_has_many_names(text: str, gathered: Gathered, folder: Path) -> None:
    dataset, column = selected(text.format(folder=folder), gathered.graph)
    assert (dataset.name, column) == (str(folder / "data" / "orders.csv"), "amount")


def test_what_is_not_there_is_refused_with_a_guess(gathered: Gathered) -> None:
    with pytest.raises(UnknownName) as name:
        selected("oders.amount", gathered.graph)
    assert name.value.hint == "did you mean 'orders'?"
    with pytest.raises(UnknownColumn) as column:
        selected("orders.amuont", gathered.graph)
    assert column.value.hint == "did you mean 'amount'?"
    with pytest.raises(UnknownColumn):
        selected("data/orders.csv#nothing", gathered.graph)


def test_a_name_of_two_datasets_is_refused(folder: Path) -> None:
    other = (folder / "shop.yaml").read_text().replace("name: shop", "name: other").replace("orders.csv", "more.csv")
    graph = gather([loads((folder / "shop.yaml").read_text()), loads(other)]).graph
    with pytest.raises(InvalidValue, match="several datasets") as caught:
        selected("orders.amount", graph)
    assert caught.value.hint == "say which one: shop.orders, other.orders"
    assert selected("other.orders.amount", graph)[0].name.endswith("more.csv")


def test_a_column_that_an_expression_needs_breaks_its_step(gathered: Gathered) -> None:
    (found,) = impact(*selected("orders.qty", gathered.graph), gathered)
    assert found.breaks
    assert [(e.place.line, e.place.path[-1]) for e in found.errors if e.place] == [(19, "gross"), (20, "size")]
    assert {hit.destination for hit in found.hits} == {"lasts", "daily_out"}
    assert {hit.stale for hit in found.hits} == {(), ("report",)}


def test_a_column_that_is_only_passed_on_is_lost_there_and_breaks_who_needs_it(gathered: Gathered) -> None:
    shop = (Path("shop.yaml")).read_text().replace("fields:\n        customer", "keep: all\n      fields:\n        customer")
    shop = shop.replace(
        "by: country, measures: {orders: count(*), revenue", "by: [country, id], measures: {orders: count(*), revenue"
    )
    kept = gather([loads(shop), loads(Path("report.yaml").read_text())])
    (found,) = impact(*selected("orders.amount", kept.graph), kept)
    assert found.breaks
    (found,) = impact(*selected("daily.country", kept.graph), kept)
    assert not found.breaks
    assert [(hit.destination, hit.lost) for hit in found.hits] == [("best", ("country",))]
    assert not breaks((found,))


def test_a_lost_column_is_followed_into_the_next_integration(folder: Path) -> None:
    first = """\
name: first
source: {name: raw, connector: csv, connection: {path: raw.csv}, schema: {id: bigint, n: integer}}
transformations: [{type: filtering, config: {where: id > 0}}]
destination: {id: clean, connector: jsonl, connection: {path: clean.jsonl}, write_mode: overwrite}
"""
    second = """\
name: second
source: {name: clean_in, connector: jsonl, connection: {path: clean.jsonl}}
transformations: [{id: top, type: top, config: {n: 1, by: n desc}}]
destination: {id: best, connector: jsonl, connection: {path: best.jsonl}, write_mode: overwrite}
"""
    second = second.replace(
        "{id: top, type: top, config: {n: 1, by: n desc}}", "{id: big, type: filtering, config: {where: n > 1}}"
    )
    gathered = gather([loads(second, name="second"), loads(first, name="first")])
    (found,) = impact(*selected("raw.n", gathered.graph), gathered)
    assert not found.breaks
    (hit,) = found.hits
    assert hit.lost == ("n",)
    assert [each.integration for each in hit.beyond if each.breaks] == ["second"]
    assert breaks((found,))
    assert impact_json((found,))[0]["destinations"][0]["beyond"][0]["errors"][0]["code"] == "DH106"


def test_a_whole_dataset_that_goes_breaks_who_reads_it(gathered: Gathered) -> None:
    found = impact(*selected("daily_out", gathered.graph), gathered)
    assert [(each.integration, each.breaks) for each in found] == [("report", True)]


def test_a_graph_can_be_drawn_and_read_by_programs(gathered: Gathered) -> None:
    walk = gathered.graph.downstream(*selected("orders.amount", gathered.graph))
    record = walk_json(walk)
    assert record["column"] == "amount"
    ways = {(edge["to"]["column"], edge["type"], edge["subtype"]) for edge in record["edges"]}
    assert {("revenue", "DIRECT", "AGGREGATION"), (None, "INDIRECT", "WINDOW")} <= ways
    chart = walk_mermaid(walk)
    assert chart.startswith("flowchart LR")
    assert "-.->" in chart
    assert 'subgraph d0["orders' in lineage_mermaid(gathered.lineages[0])
