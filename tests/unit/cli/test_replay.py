"""`replay`: the records that a run rejected arrive through the mended integration, each once, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.unit.cli.conftest import Run, rows

pytestmark = pytest.mark.usefixtures("recording")

SPEC = """\
name: shop
sources:
  orders: {{connector: csv, connection: {{path: orders.csv}}, schema: {{id: bigint, amount: varchar}}{options}}}
transformations:
  - {{id: priced, type: mapping, input: orders, config: {{fields: {{id: id, amount: "{amount}"}}}}}}
{more}destinations:
  - {{id: out, input: {last}, connector: jsonl, connection: {{path: out.jsonl}}, write_mode: {mode}}}
{other}"""


def spec(
    amount: str = "cast(amount as integer)",
    *,
    mode: str = "append",
    options: str = "",
    more: str = "",
    last: str = "priced",
    other: str = "",
) -> str:
    return SPEC.format(amount=amount, mode=mode, options=options, more=more, last=last, other=other)


MENDED = "cast(replace(amount, 'x', '') as integer)"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with orders of which two have an amount that is no number."""
    (tmp_path / "orders.csv").write_text("id,amount\n1,10\n2,x20\n3,30\n4,x40\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(cli: Run, text: str) -> str:
    """Run a spec; gives the run's id."""
    Path("shop.yaml").write_text(text)
    done = cli("run", "shop.yaml", "--json")
    assert done.exit_code == 0, done.output
    return str(json.loads(done.stdout)["run_id"])


def replay(cli: Run, run_id: str, *arguments: str, mended: str | None = None) -> Any:
    """Replay a run; gives the JSON record."""
    if mended is not None:
        Path("shop.yaml").write_text(mended)
    done = cli("replay", run_id, "--json", *arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(done: Result, *parts: str) -> None:
    assert done.exit_code != 0, done.output
    for part in parts:
        assert part in done.output


def ids(file: str = "out.jsonl") -> list[int]:
    return [row["id"] for row in rows(Path(file))]


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_rejected_records_arrive_once_and_what_was_there_stays(shop: Path, cli: Run, mode: str) -> None:
    first = run(cli, spec(mode=mode))
    assert ids() == [1, 3]
    done = replay(cli, first, mended=spec(MENDED, mode=mode))
    assert (done["replayed"], done["not_replayable"]) == (2, {})
    assert ids() == [1, 3, 2, 4]
    again = replay(cli, first)
    assert (again["replayed"], again["already_replayed"]) == (0, 2)
    assert ids() == [1, 3, 2, 4]


def test_a_part_is_replayed_by_its_reason_and_the_rest_stays_for_later(shop: Path, cli: Run) -> None:
    (shop / "orders.csv").write_text("id,amount\n1,10\n2,x20\nthree,30\n")
    first = run(cli, spec())
    assert replay(cli, first, "--reason", "expression_failed", mended=spec(MENDED))["replayed"] == 1
    assert ids() == [1, 2]
    refused(cli("replay", first, "--reason", "cast_faild"), "unknown reason among the rejected records 'cast_faild'")
    rest = replay(cli, first)
    assert (rest["replayed"], rest["already_replayed"]) == (1, 1)
    assert rest["runs"][0]["rejected"] == 1


def test_a_replay_of_a_replay_sends_what_that_one_rejected_with_its_old_line(shop: Path, cli: Run) -> None:
    first = run(cli, spec())
    second = replay(cli, first, mended=spec("cast(replace(amount, 'x2', '2') as integer)"))["runs"][0]
    assert second["rejected"] == 1
    letters = [json.loads(line) for line in cli("rejects", second["run_id"], "--json").stdout.splitlines()]
    assert [(letter["line"], letter["original"]) for letter in letters] == [(5, '{"id":"4","amount":"x40"}')]
    assert replay(cli, second["run_id"], mended=spec(MENDED))["replayed"] == 1
    assert ids() == [1, 3, 2, 4]


def test_a_record_that_failed_on_one_way_does_not_arrive_twice_on_the_other(shop: Path, cli: Run) -> None:
    other = "  - {id: all, input: orders, connector: jsonl, connection: {path: all.jsonl}, write_mode: append}\n"
    first = run(cli, spec(other=other))
    assert sorted(ids("all.jsonl")) == [1, 2, 3, 4]
    done = replay(cli, first, mended=spec(MENDED, other=other))
    assert done["replayed"] == 2
    assert ids() == [1, 3, 2, 4]
    assert sorted(ids("all.jsonl")) == [1, 2, 3, 4]


def test_behind_a_union_only_the_rejected_record_comes_again_read_from_its_file(shop: Path, cli: Run) -> None:
    (shop / "more.csv").write_text("id,amount\n7,70\n8,x80\n")
    union = "  - {id: both, type: union, input: [orders, more]}\n"
    text = spec("amount").replace(
        "transformations:\n",
        "  more: {connector: csv, connection: {path: more.csv}, schema: {id: bigint, amount: varchar}}\ntransformations:\n"
        + union,
    )
    text = text.replace("type: mapping, input: orders", "type: mapping, input: both")
    first = run(cli, text.replace('"amount"', '"cast(amount as integer)"'))
    assert sorted(ids()) == [1, 3, 7]
    assert replay(cli, first, mended=text.replace('"amount"', f'"{MENDED}"'))["replayed"] == 3
    assert sorted(ids()) == [1, 2, 3, 4, 7, 8]


def test_of_a_file_that_has_changed_nothing_is_read_again(shop: Path, cli: Run) -> None:
    more = "  - {id: kept, type: mapping, input: orders, config: {keep: all}}\n"
    other = "  - {id: copy, input: kept, connector: jsonl, connection: {path: copy.jsonl}}\n"
    (shop / "other.jsonl").touch()
    text = spec(more=more, other=other)
    first = run(cli, text)
    (shop / "orders.csv").write_text("id,amount\n9,90\n9,x90\n9,90\n9,x90\n")
    done = replay(cli, first, mended=spec(MENDED, more=more, other=other))
    assert (done["replayed"], sum(done["not_replayable"].values())) == (0, 2)
    assert 9 not in ids()


def test_a_rag_of_text_is_read_by_the_header_of_its_file(shop: Path, cli: Run) -> None:
    (shop / "orders.csv").write_text("id;amount\n1;10\n2;20;surplus\n")
    first = run(cli, spec())
    assert replay(cli, first, mended=spec(options=", ragged: fit"))["replayed"] == 1
    assert ids() == [1, 2]


def test_a_lookup_is_read_as_usual(shop: Path, cli: Run) -> None:
    (shop / "names.csv").write_text("id,name\n2,two\n4,four\n")
    more = "  - {id: who, type: enrichment, config: {with: names, on: {id: id}, add: [name]}}\n"
    source = "  names: {connector: csv, connection: {path: names.csv}}\ntransformations:\n"
    text = spec(more=more, last="who").replace("transformations:\n", source)
    first = run(cli, text)
    replay(cli, first, mended=spec(MENDED, more=more, last="who").replace("transformations:\n", source))
    found = sorted((row["id"], row["name"]) for row in rows(shop / "out.jsonl"))
    assert found == [(1, None), (2, "two"), (3, None), (4, "four")]


def test_totals_of_a_whole_run_are_not_mixed_with_those_of_a_few_records(shop: Path, cli: Run) -> None:
    more = "  - {id: total, type: aggregation, config: {measures: {id: count(*)}}}\n"
    first = run(cli, spec(more=more, last="total", mode="overwrite"))
    (shop / "shop.yaml").write_text(spec(MENDED, more=more, last="total", mode="overwrite"))
    refused(cli("replay", first), "DH350", "'total' (an aggregation)", "--skip out")
    assert ids() == [2]
    assert replay(cli, first, "--append", "out")["replayed"] == 2
    assert ids() == [2, 2]


def test_what_a_later_run_has_replaced_is_not_added_to(shop: Path, cli: Run) -> None:
    first = run(cli, spec(mode="overwrite"))
    second = run(cli, spec(MENDED, mode="overwrite"))
    refused(cli("replay", first), "DH350", second)
    assert ids() == [1, 2, 3, 4]


def test_rows_that_a_run_replaces_together_are_not_replaced_by_a_few_of_them(shop: Path, cli: Run) -> None:
    table = "connector: sqlite, connection: {path: out.sqlite}, table: t, key: amount, write_mode: "

    def text(mode: str, amount: str) -> str:
        own = "connector: jsonl, connection: {path: out.jsonl}, write_mode: append"
        return spec(f"least(1, {amount})").replace(own, table + mode)

    first = run(cli, text("delete_insert", "cast(amount as integer)"))
    (shop / "shop.yaml").write_text(text("delete_insert", MENDED))
    refused(cli("replay", first), "DH350", "'out' replaces all rows of a key at once", "--skip out")


def test_of_rows_that_met_others_there_is_no_record_to_send(shop: Path, cli: Run) -> None:
    more = "  - {id: sums, type: aggregation, input: orders, config: {by: amount, measures: {id: max(id)}}}\n"
    more += "  - {id: after, type: mapping, config: {fields: {id: id, n: cast(amount as integer)}}}\n"
    first = run(cli, spec("amount", more=more, last="after", other="  - {id: p, input: priced, connector: console}\n"))
    done = replay(cli, first)
    assert done["replayed"] == 0
    assert [count for reason, count in done["not_replayable"].items() if "no single record" in reason] == [2]


def test_a_run_that_wrote_nothing_is_run_again_instead(shop: Path, cli: Run) -> None:
    (shop / "shop.yaml").write_text(spec() + "max_rejected: 1\n")
    failed = json.loads(cli("run", "shop.yaml", "--json").stdout)
    refused(cli("replay", failed["run_id"]), "DH351", "runs resume")


def test_a_destination_of_another_name_has_gone(shop: Path, cli: Run) -> None:
    first = run(cli, spec())
    mended = (shop / "shop.yaml").read_text().replace("id: out", "id: elsewhere")
    (shop / "shop.yaml").write_text(mended)
    done = replay(cli, first)
    assert done["replayed"] == 0
    assert [count for reason, count in done["not_replayable"].items() if "was on its way to is not in" in reason] == [2]


def test_a_dry_run_says_what_would_happen_and_changes_nothing(shop: Path, cli: Run) -> None:
    first = run(cli, spec())
    done = cli("replay", first, "--dry-run")
    assert "would replay 2 records to out" in done.output
    assert ids() == [1, 3]
    assert replay(cli, first, mended=spec(MENDED))["replayed"] == 2


def test_sealed_records_are_shown_with_the_key_only_and_can_be_replayed(
    shop: Path, cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    letter = "dead_letter: {connector: jsonl, connection: {path: dead/}, sealed: true}\n"
    first = run(cli, spec() + letter)
    written = "".join(file.read_text() for file in (shop / "dead").glob("*.jsonl"))
    assert "x20" not in written
    assert "x20" not in cli("run", "shop.yaml").output + cli("rejects", first).output + cli("rejects", first, "--json").output
    assert "amount: x20" in cli("rejects", first, "--unseal").output
    key = (shop / ".beam-datahub/store.key").rename(shop / "key")
    refused(cli("replay", first), "DH214")
    key.rename(shop / ".beam-datahub/store.key")
    (shop / "out.jsonl").unlink()
    assert replay(cli, first, mended=spec(MENDED) + letter)["replayed"] == 2
    assert ids() == [2, 4]
