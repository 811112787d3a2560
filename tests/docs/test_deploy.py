"""What deploy/ shows is valid: manifests by Kubernetes' own schemas, those of the Flink operator by its documented fields."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from beam_datahub.runtime.engines.flink import FLINK_VERSION
from beam_datahub.runtime.engines.java import beam_version
from beam_datahub.runtime.engines.spark import SPARK_VERSION

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = "1.34"
MANIFESTS = [
    pytest.param(document, id=f"{file.relative_to(DEPLOY)} {document['kind']}")
    for file in sorted(DEPLOY.rglob("*.yaml"))
    for document in YAML(typ="safe").load_all(file.read_text("utf-8"))
]

# The fields of the operator's v1beta1 that its reference names; its own schema is not to be had from a registry.
_RESOURCE = {
    "type": "object",
    "properties": {"memory": {"type": "string"}, "cpu": {"type": "number"}, "ephemeralStorage": {"type": "string"}},
    "required": ["memory", "cpu"],
    "additionalProperties": False,
}
_MANAGER = {
    "type": "object",
    "properties": {"resource": _RESOURCE, "replicas": {"type": "integer", "minimum": 1}, "podTemplate": {"type": "object"}},
    "required": ["resource"],
    "additionalProperties": False,
}
FLINK_DEPLOYMENT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "apiVersion": {"const": "flink.apache.org/v1beta1"},
        "kind": {"const": "FlinkDeployment"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "properties": {
                "image": {"type": "string"},
                "imagePullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
                "flinkVersion": {"const": f"v{FLINK_VERSION.replace('.', '_')}"},
                "flinkConfiguration": {"type": "object", "additionalProperties": {"type": "string"}},
                "logConfiguration": {"type": "object"},
                "serviceAccount": {"type": "string"},
                "ingress": {"type": "object"},
                "podTemplate": {"type": "object"},
                "jobManager": _MANAGER,
                "taskManager": _MANAGER,
                "mode": {"enum": ["native", "standalone"]},
                "restartNonce": {"type": "integer"},
                "job": {
                    "type": "object",
                    "properties": {
                        "jarURI": {"type": "string", "pattern": "^(local|https?|s3|gs)://"},
                        "entryClass": {"type": "string"},
                        "args": {"type": "array", "items": {"type": "string"}},
                        "parallelism": {"type": "integer", "minimum": 1},
                        "state": {"enum": ["running", "suspended"]},
                        "upgradeMode": {"enum": ["stateless", "last-state", "savepoint"]},
                        "initialSavepointPath": {"type": "string"},
                        "allowNonRestoredState": {"type": "boolean"},
                    },
                    "required": ["jarURI", "upgradeMode"],
                    "additionalProperties": False,
                },
            },
            "required": ["flinkVersion", "image", "serviceAccount", "jobManager", "taskManager"],
            "additionalProperties": False,
        },
    },
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_manifest_is_valid(manifest: dict[str, Any]) -> None:
    if manifest["apiVersion"].startswith("flink.apache.org"):
        jsonschema.validate(manifest, FLINK_DEPLOYMENT)
        for manager in ("jobManager", "taskManager"):
            if "podTemplate" in manifest["spec"][manager]:
                kubernetes_validate.validate(_pod(manifest["spec"][manager]["podTemplate"]), KUBERNETES, strict=True)
        return
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def _pod(template: dict[str, Any]) -> dict[str, Any]:
    """A pod template, whose main container the operator completes, as a whole pod."""
    for container in template["spec"]["containers"]:
        container.setdefault("image", "flink")
    return template


def test_workers_of_manifests_are_pools_where_jobs_look_for_them() -> None:
    pools = [text for text in (file.read_text() for file in DEPLOY.rglob("*.yaml")) if "[beam-datahub, workers]" in text]
    assert len(pools) == 3
    assert all("containerPort: 50000" in text for text in pools)
    assert "--environment_config=localhost:50000" in (DEPLOY / "flink/run.yaml").read_text()


def test_images_are_of_the_versions_that_the_package_is_for() -> None:
    texts = "\n".join(file.read_text() for file in DEPLOY.rglob("*") if file.is_file())
    assert set(re.findall(r"beam_python3\.11_sdk:([\d.]+)", texts)) == {beam_version()}
    assert set(re.findall(r"flink:([\d.]+)-java", texts)) == {FLINK_VERSION}
    assert set(re.findall(r"apache/spark:([\d.]+)-", texts)) == {SPARK_VERSION}
