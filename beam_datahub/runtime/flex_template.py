"""Packages an integration as a Dataflow Flex Template: an image to build, and what Google needs to know of its parameters."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from beam_datahub.errors import InvalidValue
from beam_datahub.runtime.engines.declaration import STREAMING_TYPES
from beam_datahub.runtime.engines.java import beam_version
from beam_datahub.runtime.shipping import exact_requirements, package_line, ship
from beam_datahub.spec.parameters import ParameterSpec
from beam_datahub.spec.tree import Tree, read_text, read_tree

IMAGE = "europe-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE:TAG"
# What a value looks like, by its type, in the regular expressions that Google checks values against.
_LOOKS = {
    "integer": r"[-+]?[0-9]+",
    "number": r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?",
    "date": r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
    "timestamp": r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]+(Z|[-+][0-9:]+)?)?",
}
_KINDS = {"integer": "NUMBER", "number": "NUMBER", "boolean": "BOOLEAN"}

_MAIN = '''\
"""Runs the integration beside this file; its parameters are options, all others are Beam's."""

from beam_datahub.cli.launcher import launch

if __name__ == "__main__":
    launch(__file__)
'''

_DOCKERFILE = """\
# One image starts jobs and runs their workers: both find the integration and its modules at the same place.
# Docker builds it beside these files; Google's launcher and Beam's worker come from their images.
FROM python:{python}-slim
COPY --from=apache/beam_python{python}_sdk:{beam} /opt/apache/beam /opt/apache/beam
COPY --from=gcr.io/dataflow-templates-base/python{short}-template-launcher-base:latest \\
    /opt/google/dataflow/python_template_launcher /opt/google/dataflow/python_template_launcher

WORKDIR /template
COPY requirements.txt {wheel}./
RUN pip install --no-cache-dir --requirement requirements.txt {package} && pip check
COPY main.py {files} ./

# Modules beside the integration can be imported on every worker.
ENV PYTHONPATH=/template
ENV FLEX_TEMPLATE_PYTHON_PY_FILE=/template/main.py
ENTRYPOINT ["/opt/apache/beam/boot"]
"""


def build_template(spec: Path, folder: Path, image: str = IMAGE) -> list[str]:
    """Fill a new folder with what makes the template of a spec; gives the names of its files.

    Raises UnreadableSpec, InvalidValue for parameters that are wrong or a folder that is not empty, MissingDependency.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidValue(f"'{folder}' is not an empty folder", hint="name a new one")
    tree = read_tree(read_text(spec), str(spec))
    if tree.errors:
        raise tree.errors[0]
    about = metadata(tree)
    if about["streaming"]:
        reason = "integrations that stream need a launcher, which publishes what they deliver"
        raise InvalidValue(reason, hint="use `beam-datahub run --detach`", place=tree.place("type"))
    folder.mkdir(parents=True, exist_ok=True)
    files = ship(spec, folder)
    package = package_line(folder)
    texts = {
        "metadata.json": _json(about),
        "template.json": _json(container_spec(about, image)),
        "requirements.txt": "".join(f"{line}\n" for line in exact_requirements(["gcp"])),
        "main.py": _MAIN,
        "Dockerfile": dockerfile(package, files),
        ".dockerignore": "template.json\nmetadata.json\nDockerfile\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
    return sorted([*texts, *files, *([package[2:]] if package.startswith("./") else [])])


def metadata(tree: Tree) -> dict[str, Any]:
    """What Google shows and checks of an integration: Dataflow's `TemplateMetadata`, from the spec as it is written.

    Raises InvalidValue with the line of a parameter that is wrong.
    """
    spec = tree.value if isinstance(tree.value, Mapping) else {}
    declared = spec.get("parameters") or {}
    found = []
    for name, raw in declared.items():
        try:
            parameter = ParameterSpec.model_validate(raw)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise InvalidValue(first["msg"], place=tree.place("parameters", name, *first["loc"])) from error
        if not re.fullmatch(r"[a-zA-Z][-_.a-zA-Z0-9]*", str(name)):
            reason = f"Dataflow takes no parameter of the name '{name}'"
            raise InvalidValue(reason, hint="letters, digits, - and _", place=tree.place("parameters", name))
        found.append(_parameter(str(name), parameter))
    return {
        "name": str(spec.get("name", "integration")),
        "description": str(spec.get("description") or f"Runs the integration {spec.get('name')}.").strip(),
        "streaming": spec.get("type") in STREAMING_TYPES,
        "parameters": found,
    }


def _parameter(name: str, declared: ParameterSpec) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": name,
        "label": name.replace("_", " ").replace("-", " ").capitalize(),
        "helpText": (declared.description or f"The parameter {name}.").strip(),
        "isOptional": declared.default is not None,
        "paramType": "ENUM" if declared.choices else _KINDS.get(declared.type, "TEXT"),
    }
    if declared.choices:
        told["enumOptions"] = [{"value": str(choice), "label": str(choice)} for choice in declared.choices]
    looks = declared.pattern or _LOOKS.get(declared.type)
    if looks and not declared.choices:
        told["regexes"] = [f"^({looks})$"]
    default = None if declared.default is None else _text(declared.default)
    # What an environment variable gives is known where the job is started.
    if default is not None and "${" not in default:
        told["defaultValue"] = default
    return told


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def container_spec(about: Mapping[str, Any], image: str) -> dict[str, Any]:
    """The file that a template is started by: Dataflow's `ContainerSpec`. The workers use the image as well."""
    return {
        "image": image,
        "sdkInfo": {"language": "PYTHON"},
        "defaultEnvironment": {"sdkContainerImage": image},
        "metadata": about,
    }


def dockerfile(package: str, files: list[str]) -> str:
    """The image that starts jobs, and runs their workers."""
    top = sorted({name.split("/")[0] for name in files})
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    wheel = f"{package[2:]} " if package.startswith("./") else ""
    # A folder is copied as what is in it: those that hold modules keep their names.
    plain = [name for name in top if name in files]
    text = _DOCKERFILE.format(
        python=python, short=python.replace(".", ""), beam=beam_version(), wheel=wheel, package=package, files=" ".join(plain)
    )
    folders = "".join(f"COPY {name} ./{name}\n" for name in top if name not in files)
    return text.replace("\n# Modules beside", f"{folders}\n# Modules beside")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
