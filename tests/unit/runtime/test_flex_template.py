"""A Flex Template has the shape that Google documents, tells all of a spec's parameters, and its launcher takes them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.cloud.dataflow_v1beta3 import ContainerSpec, ParameterType, TemplateMetadata

from beam_datahub.cli.launcher import parted
from beam_datahub.errors import InvalidValue
from beam_datahub.runtime.flex_template import build_template, metadata
from beam_datahub.runtime.shipping import exact_requirements
from beam_datahub.spec import content_folder
from beam_datahub.spec.tree import read_text, read_tree

SPEC = """\
name: kept
description: Keeps what is large.
parameters:
  input: {description: where the numbers are, pattern: ".*[.]csv"}
  least: {type: integer, default: 3, description: the least number that is kept}
  form: {default: csv, choices: [csv, jsonl]}
  whole: {type: boolean, default: true}
  output: {default: "${env.PWD}/out"}
source: {connector: csv, connection: {path: "${param.input}"}, schema: {id: bigint}}
transformations:
  - {id: large, type: filtering, config: {where: "id >= ${param.least}"}}
  - {id: doubled, type: python, config: {module: mine.py, function: doubled, over: rows, schema: {id: bigint}}}
destination: {connector: csv, connection: {path: "${param.output}"}, write_mode: overwrite}
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template of a spec with a module of the user's."""
    here = tmp_path_factory.mktemp("spec")
    (here / "kept.yaml").write_text(SPEC)
    (here / "mine.py").write_text("def doubled(row):\n    return {'id': 2 * row['id']}\n")
    (here / "numbers.csv").write_text("id\n1\n5\n")
    build_template(here / "kept.yaml", here / "template", "europe-docker.pkg.dev/acme/hub/kept:1")
    return here / "template"


def loaded(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_the_metadata_is_what_googles_client_reads(template: Path) -> None:
    read = TemplateMetadata.from_json((template / "metadata.json").read_text(), ignore_unknown_fields=False)
    assert (read.name, read.description, read.streaming) == ("kept", "Keeps what is large.", False)
    found = {each.name: each for each in read.parameters}
    assert list(found) == ["input", "least", "form", "whole", "output"]
    assert all(each.label and each.help_text for each in found.values())
    assert [name for name, each in found.items() if not each.is_optional] == ["input"]
    assert {name: each.param_type for name, each in found.items()} == {
        "input": ParameterType.TEXT,
        "least": ParameterType.NUMBER,
        "form": ParameterType.ENUM,
        "whole": ParameterType.BOOLEAN,
        "output": ParameterType.TEXT,
    }
    assert [option.value for option in found["form"].enum_options] == ["csv", "jsonl"]
    assert (found["least"].default_value, found["whole"].default_value, found["output"].default_value) == ("3", "true", "")
    assert re.match(found["input"].regexes[0], "gs://acme/numbers.csv")
    assert not re.match(found["input"].regexes[0], "gs://acme/numbers.json")
    assert not re.match(found["least"].regexes[0], "three")


def test_the_container_spec_names_the_image_for_workers_as_well(template: Path) -> None:
    text = (template / "template.json").read_text()
    read = ContainerSpec.from_json(text, ignore_unknown_fields=False)
    assert read.image == read.default_environment.sdk_container_image == "europe-docker.pkg.dev/acme/hub/kept:1"
    assert read.sdk_info.language.name == "PYTHON"
    assert loaded(template / "template.json")["metadata"] == loaded(template / "metadata.json")


def test_the_image_has_the_package_its_dependencies_and_the_users_module(template: Path) -> None:
    lines = (template / "Dockerfile").read_text()
    copied = {name for line in re.findall(r"^COPY (?!--from)(.*) \./$", lines, re.MULTILINE) for name in line.split()}
    assert copied >= {"main.py", "integration.yaml", "mine.py", "requirements.txt"}
    assert all((template / name).is_file() for name in copied)
    assert not (template / "numbers.csv").exists()
    pins = (template / "requirements.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[a-z0-9-]+==[^ ]+", pin) for pin in pins)
    assert {"apache-beam", "duckdb", "pyarrow", "google-cloud-storage"} <= {pin.partition("==")[0] for pin in pins}
    assert pins == exact_requirements(["gcp"])


def test_the_launcher_takes_the_parameters_as_options_of_a_pipeline(template: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": "", "BEAM_DATAHUB_NO_RECORD": "1"}
    source = template.parent / "numbers.csv"
    command = [sys.executable, str(template / "main.py"), "--runner=DirectRunner", f"--input={source}", "--least", "2"]
    command.append(f"--output={template.parent / 'out.csv'}")
    done = subprocess.run(command, cwd=template, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (template.parent / "out.csv").read_text().split() == ["id", "10"]
    wrong = subprocess.run(
        [*command, "--input=x.json"], cwd=template, env=environment, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 3
    assert "matches .*[.]csv" in wrong.stderr


def test_options_are_parted_into_parameters_and_those_of_beam() -> None:
    given = ["--input=a", "--region", "europe-west1", "--least", "-3", "--streaming", "--job_name=x"]
    assert parted(given, {"input", "least"}) == (
        [("input", "a"), ("least", "-3")],
        ["--region=europe-west1", "--streaming", "--job_name=x"],
    )


@pytest.mark.parametrize("name", [path.name for path in sorted(content_folder("templates").iterdir()) if path.is_dir()])
def test_every_packaged_integration_has_metadata(name: str) -> None:
    spec = content_folder("templates") / name / "integration.yaml"
    told = metadata(read_tree(read_text(spec), str(spec)))
    TemplateMetadata.from_json(json.dumps(told), ignore_unknown_fields=False)
    assert told["parameters"]


def test_what_cannot_be_a_template_is_refused_with_its_line(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("name: a\nparameters:\n  größe: {default: 1}\n")
    with pytest.raises(InvalidValue, match=r"spec.yaml:3 \(parameters.größe\)"):
        build_template(spec, tmp_path / "new")
    spec.write_text("name: a\ntype: real-time\n")
    with pytest.raises(InvalidValue, match=r"spec.yaml:2 \(type\): .*need a launcher"):
        build_template(spec, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InvalidValue, match="not an empty folder"):
        build_template(spec, tmp_path / "full")
