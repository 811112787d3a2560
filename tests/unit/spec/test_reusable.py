from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

import pytest

from beam_datahub.errors import CyclicSteps, DataHubError, ErrorGroup, InvalidValue, MissingValue, UnknownName
from beam_datahub.security import Secret
from beam_datahub.spec import (
    SpecDocument,
    case_documents,
    content_folder,
    expand,
    load,
    load_reusable,
    reusable_files,
    validate_config,
)
from beam_datahub.spec.model import SpecModel

TWICE = """\
name: twice
description: Doubles a number and keeps what is large.
parameters:
  field: {type: string, description: the column}
  least: {type: integer, default: 10}
steps:
  - id: double
    type: mapping
    config:
      keep: all
      fields:
        "${param.field}": ${param.field} * 2
  - id: large
    type: filtering
    config: {where: "${param.field} >= ${param.least}", least: "${param.least}"}
test_cases:
  - name: small ones go
    config: {field: n}
    given: [{n: 1}, {n: 7}]
    expect: [{n: 14}]
    rejected: 0
"""
SPEC = """\
name: x
source: {connector: csv}
transformations:
  - {id: first, type: mapping}
  - id: big
    type: twice
    config: {field: amount}
  - {id: last, type: cast}
destination: {connector: parquet}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "transforms").mkdir()
    (tmp_path / "transforms" / "twice.yaml").write_text(TWICE)
    (tmp_path / "a.yaml").write_text(SPEC)
    return tmp_path


def document(folder: Path, text: str = SPEC) -> SpecDocument:
    (folder / "a.yaml").write_text(text)
    return load(folder / "a.yaml", environment={"BEAM_DATAHUB_SECRET_PW": "hunter2"})


def add(folder: Path, name: str, text: str) -> None:
    (folder / "transforms" / f"{name}.yaml").write_text(textwrap.dedent(text))


def errors(folder: Path, text: str) -> list[DataHubError]:
    with pytest.raises(DataHubError) as caught:
        expand(document(folder, text))
    return list(caught.value.errors) if isinstance(caught.value, ErrorGroup) else [caught.value]


def test_the_steps_take_the_place_of_the_use(folder: Path) -> None:
    steps = expand(document(folder)).integration.transformations
    assert [(step.id, step.type, step.input) for step in steps] == [
        ("first", "mapping", ("source",)),
        ("big.double", "mapping", ("first",)),
        ("big", "filtering", ("big.double",)),
        ("last", "cast", ("big",)),
    ]
    assert steps[1].config == {"keep": "all", "fields": {"amount": "amount * 2"}}
    assert steps[2].config == {"where": "amount >= 10", "least": 10}


def test_errors_inside_name_the_reusables_file_and_line(folder: Path) -> None:
    found = expand(document(folder))
    double = found.integration.transformations[1]
    place = found.place(*double.at, "config", "fields", "amount")
    assert (place.file, place.line) == (str(folder / "transforms" / "twice.yaml"), 12)
    assert found.place("transformations", 2, "type").file == str(folder / "a.yaml")

    class Filter(SpecModel):
        where: str

    step = found.integration.transformations[2]
    with pytest.raises(UnknownName) as caught:
        validate_config(Filter, step.config, found, *step.at, "config")
    assert str(caught.value).startswith(f"{folder}/transforms/twice.yaml:15 (steps[1].config.least)")


def test_a_spec_without_reusables_stays_the_same(folder: Path) -> None:
    found = document(folder, SPEC.replace("twice", "mapping").replace("{field: amount}", "{}"))
    assert expand(found) is found
    assert expand(document(folder), builtin={"twice"}).integration.transformations[1].type == "twice"
    assert expand(document(folder), builtin=lambda name: name == "twice").integration.transformations[1].type == "twice"


def test_mistakes_in_the_use_are_placed_in_the_spec(folder: Path) -> None:
    found = errors(folder, SPEC.replace("{field: amount}", "{feild: amount, least: lots}"))
    assert [(type(each), each.place and each.place.line) for each in found] == [
        (UnknownName, 7),
        (MissingValue, 7),
        (InvalidValue, 7),
    ]
    assert found[0].hint == "did you mean 'field'?"
    assert found[1].hint == "give it under `config`: `field: …`"


def test_several_inputs_branches_and_inner_names(folder: Path) -> None:
    add(
        folder,
        "split",
        """\
        name: split
        description: Splits.
        steps:
          - {id: all, type: union}
          - {id: ways, type: route, config: {}}
          - {id: end, type: union, input: [ways.a, ways.b, input]}
        test_cases: [{name: none, given: [], expect: []}]
        """,
    )
    text = """\
name: x
sources: {a: {connector: csv}, b: {connector: csv}}
transformations: [{id: s, type: split, input: [a, b]}]
destination: {connector: parquet}
"""
    steps = expand(document(folder, text)).integration.transformations
    assert [(step.id, step.input) for step in steps] == [
        ("s.all", ("a", "b")),
        ("s.ways", ("s.all",)),
        ("s", ("s.ways.a", "s.ways.b", "a", "b")),
    ]
    (found,) = errors(folder, text.replace("connector: parquet", "connector: parquet, input: s.all"))
    assert isinstance(found, UnknownName)


def test_reusables_use_reusables_but_not_themselves(folder: Path) -> None:
    four = """\
        name: four
        description: Doubles twice.
        parameters: {field: {default: n}}
        steps:
          - {id: a, type: twice, config: {field: "${param.field}", least: 0}}
          - {id: b, type: twice, config: {field: "${param.field}"}}
        test_cases: [{name: none, given: [], expect: []}]
    """
    add(folder, "four", four)
    text = SPEC.replace("type: twice", "type: four").replace("amount", "n")
    assert [step.id for step in expand(document(folder, text)).integration.transformations] == [
        "first",
        "big.a.double",
        "big.a",
        "big.double",
        "big",
        "last",
    ]
    add(folder, "four", four.replace("id: b, type: twice", "id: b, type: four").replace('"${param.field}"}}', "n}}"))
    (found,) = errors(folder, text)
    assert isinstance(found, CyclicSteps)
    assert "four" in str(found)


def test_a_secret_may_be_a_parameter(folder: Path) -> None:
    add(
        folder,
        "salted",
        """\
        name: salted
        description: Hashes.
        parameters: {salt: {}}
        steps: [{type: mask, config: {salt: "${param.salt}", more: "v1:${param.salt}"}}]
        test_cases: [{name: none, config: {salt: x}, given: [], expect: []}]
        """,
    )
    text = SPEC.replace("type: twice", "type: salted").replace("{field: amount}", "{salt: '${secret.pw}'}")
    config = expand(document(folder, text)).integration.transformations[1].config
    assert isinstance(config["salt"], Secret)
    assert isinstance(config["more"], Secret)
    assert (config["salt"].reveal(), config["more"].reveal()) == ("hunter2", "v1:hunter2")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("name: twice", "name: thrice", "must be that of its file"),
        ("description: Doubles a number and keeps what is large.\n", "", "`description` is missing"),
        ("${param.field} * 2", "${param.feild} * 2", "unknown parameter 'feild'"),
        ("${param.field} * 2", "${env.HOME} * 2", "cannot stand here"),
        ("type: filtering", "typ: filtering", "unknown option 'typ'"),
        ("type: filtering", "type: filtering\n    input: orders", "unknown source or step 'orders'"),
        ("id: large", "id: double", "is taken already (line 7)"),
        ("expect: [{n: 14}]", "expects: [{n: 14}]", "unknown option 'expects'"),
        ("type: integer", "type: int", "did you mean 'integer'?"),
    ],
)
def test_mistakes_in_a_reusables_file_are_placed_there(folder: Path, old: str, new: str, words: str) -> None:
    path = folder / "transforms" / "twice.yaml"
    path.write_text(TWICE.replace(old, new))
    with pytest.raises(DataHubError) as caught:
        load_reusable(path)
    found = caught.value.errors if isinstance(caught.value, ErrorGroup) else (caught.value,)
    assert any(words in f"{each} {each.hint}" for each in found)
    assert all(each.place and each.place.file == str(path) and each.place.line for each in found)


def test_test_cases_become_integrations_with_a_test(folder: Path) -> None:
    (found,) = case_documents(load_reusable(folder / "transforms" / "twice.yaml"))
    spec = found.integration
    assert [step.id for step in spec.transformations] == ["result.double", "result"]
    assert spec.tests[0].given == {"input": ({"n": 1}, {"n": 7})}
    assert spec.tests[0].expect == {"output": ({"n": 14},)}
    assert spec.tests[0].rejected == 0
    assert found.place(*spec.tests[0].at, "expect").line == 20
    assert found.place("transformations", 0, "config").line == 18


def test_the_own_folder_comes_before_the_packaged_one(folder: Path) -> None:
    shutil.copy(content_folder("transforms") / "split_name.yaml", folder / "transforms" / "split_name.yaml")
    files = reusable_files(folder)
    assert files["split_name"].parent == folder / "transforms"
    assert files["clean_email"].parent == content_folder("transforms")


@pytest.mark.parametrize("path", sorted(content_folder("transforms").glob("*.yaml")), ids=lambda path: path.stem)
def test_packaged_reusables_load_and_have_test_cases(path: Path) -> None:
    reusable = load_reusable(path)
    assert all(parameter.description for parameter in reusable.spec.parameters.values())
    assert len(case_documents(reusable)) >= 2
