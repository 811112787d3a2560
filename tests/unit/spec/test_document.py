from __future__ import annotations

import json
import pickle
import textwrap
from datetime import date
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from beam_datahub.errors import (
    DataHubError,
    ErrorGroup,
    InvalidValue,
    MissingValue,
    SpecError,
    UnknownName,
    UnreadableSpec,
)
from beam_datahub.security import Secret
from beam_datahub.spec import SpecDocument, load, loads, validate_config

SMALL = """
name: small
source: {connector: csv, connection: {path: in.csv}}
destination: {connector: parquet, connection: {path: out}}
"""


def spec(text: str, **given: Any) -> SpecDocument:
    given.setdefault("environment", {})
    return loads(textwrap.dedent(text), name="a.yaml", **given)


def errors(text: str, **given: Any) -> list[DataHubError]:
    with pytest.raises(DataHubError) as caught:
        spec(text, **given)
    return list(caught.value.errors) if isinstance(caught.value, ErrorGroup) else [caught.value]


def error(text: str, **given: Any) -> DataHubError:
    (found,) = errors(text, **given)
    return found


def test_the_short_forms_fill_in_names_and_inputs() -> None:
    found = spec(SMALL).integration
    assert list(found.sources) == ["source"]
    assert found.sources["source"].connection == {"path": "in.csv"}
    assert found.destinations[0].id == "parquet"
    assert found.destinations[0].input == ("source",)
    assert found.type == "batch"
    assert found.max_rejected is None
    assert found.ids == ("source", "parquet")


def test_steps_without_ids_and_inputs_follow_each_other() -> None:
    found = spec(
        SMALL + "transformations: [{type: mapping}, {type: mapping}, {id: mapping_3, type: cast}, {type: mapping, input: source}]"
    ).integration
    assert [(step.id, step.input) for step in found.transformations] == [
        ("mapping", ("source",)),
        ("mapping_2", ("mapping",)),
        ("mapping_3", ("mapping_2",)),
        ("mapping_4", ("source",)),
    ]
    assert found.destinations[0].input == ("mapping_4",)


def test_dependencies_is_another_word_for_input_and_branches_are_inputs() -> None:
    found = spec(
        SMALL
        + "transformations: [{id: r, type: route, dependencies: source}, {id: u, type: union, dependencies: [r.big, r.small]}]"
    ).integration
    assert found.transformations[0].input == ("source",)
    assert found.transformations[1].input == ("r.big", "r.small")


def test_the_only_source_may_have_a_name() -> None:
    for key in ("name", "id"):
        text = SMALL.replace("source: {", f"source: {{{key}: orders, ")
        assert list(spec(text).integration.sources) == ["orders"]
        assert spec(text).integration.sources["orders"].options == {}


def test_options_of_connectors_stay_as_they_are() -> None:
    found = spec(
        SMALL.replace("{connector: csv,", "{connector: csv, delimiter: ';', header: no, initial: 2025-01-01,")
    ).integration
    assert found.sources["source"].options == {"delimiter": ";", "header": "no", "initial": date(2025, 1, 1)}


def test_words_that_are_booleans_elsewhere_stay_keys() -> None:
    found = spec(SMALL + "transformations: [{type: enrichment, config: {on: {customer_id: id}, missing: 'null'}}]").integration
    assert found.transformations[0].config == {"on": {"customer_id": "id"}, "missing": "null"}


def test_schema_contract_write_mode_and_key() -> None:
    found = spec("""
        name: x
        source:
          connector: csv
          schema: {id: bigint, amount: "decimal(12,2)"}
          contract: {columns: freeze}
        destination: {connector: parquet, write_mode: merge, key: id, partition_by: [day]}
        dead_letter: {connector: jsonl, connection: {path: bad}, lines: yes}
    """).integration
    assert found.sources["source"].columns == {"id": "bigint", "amount": "decimal(12,2)"}
    assert (found.sources["source"].contract.columns, found.sources["source"].contract.types) == ("freeze", "evolve")
    assert (found.destinations[0].write_mode, found.destinations[0].key) == ("merge", ("id",))
    assert found.destinations[0].options == {"partition_by": ["day"]}
    assert found.dead_letter is not None
    assert found.dead_letter.options == {"lines": "yes"}


@pytest.mark.parametrize(
    ("written", "count", "share"),
    [("5%", None, 0.05), ("0.5 %", None, 0.005), ("100", 100, None), ("0", 0, None), ("'7'", 7, None)],
)
def test_the_budget_of_rejected_records(written: str, count: int | None, share: float | None) -> None:
    budget = spec(f"{SMALL}max_rejected: {written}").integration.max_rejected
    assert budget is not None
    assert (budget.count, budget.share) == (count, share)


@pytest.mark.parametrize("written", ["200%", "-1", "some", "1.5", "[5]", "true", "x%"])
def test_an_impossible_budget_is_refused(written: str) -> None:
    found = error(f"{SMALL}max_rejected: {written}")
    assert isinstance(found, InvalidValue)
    assert found.reason.startswith("must be a share of the records read such as 5% or a count such as 100")


def test_all_errors_come_in_one_go_each_with_its_line() -> None:
    found = errors("""
        nme: x
        type: batches
        source: {connector: csv, contract: {colums: freeze, types: freez}}
        transformations:
          - typ: filtering
            input: sauce
          - {id: a b, type: mapping}
          - {id: again, type: 5}
          - {id: again, type: mapping, input: source, dependencies: source}
        destination: {connector: parquet, write_mode: overwrit, input: nothing}
        max_rejected: lots
        schedule: daily
    """)
    shown = [str(each) for each in found]
    assert len(shown) == len(set(shown))
    assert {
        (each.place.line, ".".join(map(str, each.place.path)), type(each).__name__, each.hint) for each in found if each.place
    } >= {
        (2, "nme", "UnknownName", "did you mean 'name'?"),
        (2, "name", "MissingValue", None),
        (3, "type", "InvalidValue", "did you mean 'batch'?"),
        (4, "source.contract.colums", "UnknownName", "did you mean 'columns'?"),
        (4, "source.contract.types", "InvalidValue", "did you mean 'freeze'?"),
        (6, "transformations.0.typ", "UnknownName", "did you mean 'type'?"),
        (6, "transformations.0.type", "MissingValue", None),
        (7, "transformations.0.input", "UnknownName", "did you mean 'source'?"),
        (9, "transformations.2.type", "InvalidValue", "put it into quotes"),
        (10, "transformations.3.dependencies", "InvalidValue", "they mean the same; remove one"),
        (11, "destination.write_mode", "InvalidValue", "did you mean 'overwrite'?"),
    }
    assert [each.place.line for each in found if each.place] == sorted(each.place.line or 0 for each in found if each.place)
    assert {each.place.line for each in found if each.place} == {2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13}


def test_an_error_reads_as_file_line_path_reason_and_code() -> None:
    assert str(error(SMALL + "transformations:\n  - {typ: mapping, type: mapping}\n")) == (
        "a.yaml:6 (transformations[0].typ): unknown option 'typ' [DH101]"
    )


@pytest.mark.parametrize("kind", ["real-time", "hybrid"])
def test_a_stream_says_how_often_it_commits(kind: str) -> None:
    found = loads(f"{SMALL}type: {kind}\nstream: {{commit_every: 2 minutes, latency: 500ms}}", name="a.yaml").integration
    assert found.type == kind
    assert (found.stream.commit_every, found.stream.latency, found.stream.restarts) == (120.0, 0.5, 3)


@pytest.mark.parametrize("text", ["10 parsecs", "-1", "0", "true"])
def test_a_length_of_time_that_is_none_is_refused(text: str) -> None:
    found = error(f"{SMALL}type: real-time\nstream: {{commit_every: {text}}}")
    assert found.place is not None
    assert found.place.path == ("stream", "commit_every")


@pytest.mark.parametrize("key", ["schedule", "windows", "metadata"])
def test_keys_without_an_effect_are_refused(key: str) -> None:
    assert isinstance(error(f"{SMALL}{key}: {{}}"), UnknownName)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\ndestination: {connector: csv}", "`sources` is missing"),
        ("name: x\nsource: {connector: csv}", "`destinations` is missing"),
        (SMALL + "sources: {a: {connector: csv}}", "both given"),
        (SMALL + "destinations: [{connector: csv}]", "both given"),
        ("name: x\nsource: {connector: csv}\ndestinations: []", "must not be empty"),
        ("name: x\nsources: {}\ndestination: {connector: csv, input: a}", "must not be empty"),
        (SMALL.replace("small", "2025-01-01"), "must be text, not the date 2025-01-01"),
        (SMALL + "transformations: {a: b}", "must be a list, not a mapping"),
        (SMALL + "transformations: [foo]", "must be a mapping (key: value), not 'foo'"),
        (SMALL + "transformations: [{type: m, input: [source, 5]}]", "must be text, not 5"),
        (SMALL + "transformations: [{type: m, input: {a: b}}]", "must be a list, not a mapping"),
        (SMALL + "transformations: [{type: m, input: parquet}]", "'parquet' is a destination"),
        (SMALL + "transformations: [{id: source, type: m}]", "the id 'source' is taken already (line 3)"),
        (SMALL.replace("connector: parquet", "connector: parquet, input: [source, source]"), "a destination has one input"),
        ("- a\n- b", "an integration is a mapping (key: value), not a list"),
        ("just text", "an integration is a mapping (key: value), not 'just text'"),
    ],
)
def test_mistakes_are_told_in_plain_words(text: str, words: str) -> None:
    assert any(words in str(each) for each in errors(text)), [str(each) for each in errors(text)]


def test_a_first_step_must_choose_among_several_sources() -> None:
    found = error("""
        name: x
        sources: {orders: {connector: csv}, customers: {connector: csv}}
        transformations: [{type: mapping}]
        destination: {connector: csv}
    """)
    assert isinstance(found, MissingValue)
    assert "orders, customers" in (found.hint or "")


def test_parameters_have_types_defaults_and_given_values() -> None:
    text = """
        name: x
        parameters:
          path: {default: "${env.HOME}/in.csv"}
          size: {type: integer, default: 10}
          rate: {type: number, default: 0.5}
          deep: {type: boolean, default: no}
          day: {type: date}
          at: {type: timestamp, default: 2025-01-01}
        source: {connector: csv, path: "${param.path}", size: "${param.size}", deep: "${param.deep}", rate: "${param.rate}"}
        transformations: [{type: filtering, config: {where: "d >= date '${param.day}' and n < ${param.size} and ${param.deep}"}}]
        destination: {connector: csv}
    """
    found = spec(text, parameters={"size": "20", "day": "2025-02-03"}, environment={"HOME": "/home/ada"})
    assert found.integration.sources["source"].options == {"path": "/home/ada/in.csv", "size": 20, "deep": False, "rate": 0.5}
    assert found.integration.transformations[0].config["where"] == "d >= date '2025-02-03' and n < 20 and false"
    assert found.parameters["day"] == date(2025, 2, 3)


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        ("integer", "ten", "must be a whole number, not 'ten'"),
        ("integer", "1.5", "must be a whole number"),
        ("number", "much", "must be a number, not 'much'"),
        ("boolean", "maybe", "must be true or false, not 'maybe'"),
        ("date", "2025-02-30", "must be a date such as 2025-01-31"),
        ("timestamp", "noon", "must be a timestamp"),
    ],
)
def test_a_given_value_of_the_wrong_type_is_refused(kind: str, given: str, words: str) -> None:
    found = error(SMALL + f"parameters: {{p: {{type: {kind}}}}}", parameters={"p": given})
    assert isinstance(found, InvalidValue)
    assert words in found.reason
    assert "'p'" in found.reason


def test_mistakes_with_parameters() -> None:
    text = SMALL + "parameters: {size: {type: integer, default: many}, mode: {choices: [fast, safe], default: fast}, must: {}}\n"
    found = errors(text + "description: ${param.sise}", parameters={"mode": "save", "moed": "x"})
    reasons = {(each.reason, each.hint) for each in found}
    assert reasons == {
        ("must be a whole number, not 'many'", None),
        ("the parameter 'mode' must be one of fast, safe, not 'save'", "did you mean 'safe'?"),
        ("unknown parameter 'moed'", "did you mean 'mode'?"),
        ("the parameter 'must' has no value", "give it with --set must=…, or a default"),
        ("unknown parameter 'sise'", "did you mean 'size'?"),
    }


def test_a_reference_may_be_escaped_and_other_templates_stay() -> None:
    text = SMALL + "transformations: [{type: mapping, config: {fields: {a: '${first} ${last}', b: '$${param.x}', c: $.a.b}}}]"
    found = spec(text)
    assert found.integration.transformations[0].config["fields"] == {"a": "${first} ${last}", "b": "${param.x}", "c": "$.a.b"}


def test_variables_and_secrets_that_are_missing_are_named() -> None:
    found = errors(SMALL + "description: '${env.NOT_SET} ${secret.pw} ${param.}'")
    assert [type(each) for each in found] == [MissingValue, MissingValue, InvalidValue]
    assert "NOT_SET" in found[0].reason
    assert "BEAM_DATAHUB_SECRET_PW" in (found[1].hint or "")


def test_of_a_value_that_is_not_known_nothing_else_is_said() -> None:
    assert isinstance(error(SMALL + "max_rejected: ${env.NOT_SET}"), MissingValue)
    assert isinstance(error(SMALL + "parameters: {n: {type: integer, default: '${env.NOT_SET}'}}"), MissingValue)


def test_references_do_not_stand_in_keys_nor_secrets_in_defaults() -> None:
    assert "cannot stand in a key" in error(SMALL + "transformations: [{type: m, config: {'${env.A}': 1}}]").reason
    assert "cannot stand here" in error(SMALL + "parameters: {p: {default: '${secret.pw}'}}").reason


def test_a_text_with_a_secret_is_a_secret_as_a_whole() -> None:
    text = SMALL.replace("path: in.csv", "uri: 'postgres://u:${secret.pw}@h/db', plain: x")
    found = spec(text, environment={"BEAM_DATAHUB_SECRET_PW": "hunter2"})
    uri = found.integration.sources["source"].connection["uri"]
    assert isinstance(uri, Secret)
    assert uri.reveal() == "postgres://u:hunter2@h/db"
    assert "hunter2" in set(found.secrets)
    assert b"hunter2" not in pickle.dumps(found)
    assert "hunter2" not in repr(found.integration) + str(found.integration) + repr(found.secrets)


def test_a_secret_cannot_stand_where_it_would_be_shown() -> None:
    found = error(SMALL + "description: ${secret.pw}", environment={"BEAM_DATAHUB_SECRET_PW": "hunter2"})
    assert "a secret cannot stand here" in found.reason


def test_tests_name_sources_steps_and_destinations() -> None:
    text = (
        SMALL
        + """
transformations: [{id: m, type: mapping}]
tests:
  - name: one
    given: {source: [{id: 1, day: 2025-01-01}]}
    expect: {parquet: [], m: [{id: 1}]}
    rejected: [{step: m, reason: cast_failed}]
  - {name: two, given: {}, rejected: 1}
"""
    )
    first, second = spec(text).integration.tests
    assert first.given == {"source": ({"id": 1, "day": date(2025, 1, 1)},)}
    assert first.expect["m"] == ({"id": 1},)
    assert isinstance(first.rejected, tuple)
    assert first.rejected[0].reason == "cast_failed"
    assert second.rejected == 1
    wrong = text.replace("{source: [{", "{sorce: [{").replace("parquet: []", "parket: []").replace("{step: m", "{step: n")
    assert [(type(each), each.hint) for each in errors(wrong.replace(", rejected: 1", ""))] == [
        (UnknownName, "did you mean 'source'?"),
        (UnknownName, "did you mean 'parquet'?"),
        (UnknownName, "known: m, parquet, source"),
        (MissingValue, "say which rows come out, or what is rejected"),
    ]


def test_json_and_yaml_say_the_same(tmp_path: Path) -> None:
    value = {"name": "x", "source": {"connector": "csv", "header": False}, "destination": {"connector": "csv"}}
    (tmp_path / "a.json").write_text(json.dumps(value, indent="\t"))
    (tmp_path / "a.yaml").write_text("name: x\nsource:\n  connector: csv\n  header: false\ndestination:\n  connector: csv\n")
    from_json, from_yaml = load(tmp_path / "a.json"), load(tmp_path / "a.yaml")
    assert from_json.integration == from_yaml.integration
    assert from_json.folder == tmp_path
    assert from_json.path == tmp_path / "a.json"
    assert from_json.place("source", "header").line == 5
    assert from_yaml.place("source", "header").line == 4


def test_a_missing_file_is_an_unreadable_spec(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSpec):
        load(tmp_path / "none.yaml")


class Nested(BaseModel):
    model_config = ConfigDict(extra="forbid")
    pattern: str | None = None
    minimum: int = 0


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    delimiter: str = Field(",", max_length=1)
    null_words: tuple[str, ...] | str = ()
    mode: Literal["fast", "safe"] = "fast"
    rules: dict[str, Nested] = {}
    listed: tuple[Nested, ...] = ()
    either: Nested | str | None = None
    password: Secret | None = None
    threads: int = Field(1, ge=1)


def check(config: str, **given: Any) -> list[DataHubError]:
    document = spec(
        SMALL + f"transformations:\n  - type: t\n    config:\n{textwrap.indent(textwrap.dedent(config), ' ' * 6)}", **given
    )
    found: list[SpecError] = []
    model = validate_config(
        Options, document.integration.transformations[0].config, document, "transformations", 0, "config", errors=found
    )
    assert (model is None) == bool(found)
    return list(found)


@pytest.mark.parametrize(
    ("config", "line", "path", "reason", "hint"),
    [
        ("delimeter: x", 8, "delimeter", "unknown option 'delimeter'", "did you mean 'delimiter'?"),
        ("delimiter: ab", 8, "delimiter", "must be at most 1 characters long, not 'ab'", None),
        ("mode: sage", 8, "mode", "must be 'fast' or 'safe', not 'sage'", "did you mean 'safe'?"),
        ("threads: abc", 8, "threads", "must be a whole number, not 'abc'", None),
        ("threads: 0", 8, "threads", "must be at least 1, not 0", None),
        ("rules:\n  email: {patern: x}", 9, "rules.email.patern", "unknown option 'patern'", "did you mean 'pattern'?"),
        ("listed:\n  - pattern: x\n  - {minimum: z}", 10, "listed.1.minimum", "must be a whole number, not 'z'", None),
        ("null_words:\n  - a\n  - 5", 10, "null_words.1", "must be text, not 5", "put it into quotes"),
        ("null_words: 5", 8, "null_words", "must be a list or text, not 5", "put it into quotes"),
        ("either:\n  patern: x", 9, "either.patern", "unknown option 'patern'", "did you mean 'pattern'?"),
        (
            "either: 2025-01-01",
            8,
            "either",
            "must be a mapping (key: value) or text, not the date 2025-01-01",
            "put it into quotes",
        ),
    ],
)
def test_options_of_components_are_checked_in_place(config: str, line: int, path: str, reason: str, hint: str | None) -> None:
    (found,) = check(config)
    assert found.place is not None
    assert found.place.line == line
    assert ".".join(map(str, found.place.path[3:])) == path
    assert (found.reason, found.hint) == (reason, hint)


def test_a_password_in_clear_is_refused_and_not_repeated() -> None:
    (found,) = check("password: hunter2")
    assert "${secret.NAME}" in found.reason
    assert "hunter2" not in found.reason
    assert check("password: ${secret.pw}", environment={"BEAM_DATAHUB_SECRET_PW": "hunter2"}) == []


def test_a_secret_in_an_option_that_is_shown_is_refused() -> None:
    (found,) = check("delimiter: ${secret.pw}", environment={"BEAM_DATAHUB_SECRET_PW": "hunter2"})
    assert "a secret cannot stand here" in found.reason


def test_without_a_list_the_errors_of_options_are_raised() -> None:
    with pytest.raises(ErrorGroup) as caught:
        validate_config(Options, {"thread": 1, "mode": 5}, spec(SMALL), "source")
    assert len(caught.value.errors) == 2


@pytest.mark.parametrize(
    ("place", "key", "guess"),
    [("source", "contrac", "contract"), ("destination", "write_mod", "write_mode"), ("destination", "delimeter", "delimiter")],
)
def test_guesses_for_a_connectors_options_know_the_keys_beside_them(place: str, key: str, guess: str) -> None:
    document = spec(SMALL)
    with pytest.raises(UnknownName) as caught:
        validate_config(Options, {key: "x"}, document, place)
    assert caught.value.hint == f"did you mean '{guess}'?"
