"""OpenLineage events: what they say, and that they are valid against the published JSON Schema where that is at hand.

`OPENLINEAGE_SPEC` names the folder `spec` of a checkout of OpenLineage; without it, events are only what the official
client's typed classes make of them.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from beam_datahub.compiler.build import build
from beam_datahub.lineage.openlineage import JobFacts, RunFacts, run_event
from beam_datahub.lineage.tracing import lineage_of
from beam_datahub.spec import loads
from tests.conftest import needed

Serde = needed("openlineage.client.serde").Serde

SHARED = Path(__file__).resolve().parents[4] / "shared" / "cases" / "openlineage" / "spec"
SPEC = Path(os.environ.get("OPENLINEAGE_SPEC", SHARED))
BEGAN = datetime(2025, 1, 31, 12, 0, tzinfo=UTC)
JOB = JobFacts("what it is for", "name: shop", ("select 1 from input",), "2.77.0")
DONE = RunFacts(
    read={"orders": {"rows": 3}, "customers": {"rows": 2}},
    written={"daily_out": {"rows": 2, "bytes": 100, "files": 1}},
    overwritten=frozenset({"daily_out"}),
    assertions={"orders": [{"assertion": "completeness", "success": False, "column": "id", "severity": "high", "name": "ids"}]},
    metrics={"orders": {"rows": 3, "columns": {"amount": {"nullCount": 0, "distinctCount": 3, "min": 1.0, "max": 2.0}}}},
)


@pytest.fixture
def event(folder: Path) -> Any:
    """The event of a state, as it is sent."""
    lineage = lineage_of(build(loads((folder / "shop.yaml").read_text())))

    def made(state: str, facts: RunFacts | None = None, run_id: str = "20250131T120000-abcd") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(Serde.to_json(run_event(state, lineage, run_id, BEGAN, JOB, facts)))
        return found

    return made


def test_the_events_of_a_run_share_its_id_and_another_run_has_another(event: Any) -> None:
    ids = [
        event("START")["run"]["runId"],
        event("COMPLETE", DONE)["run"]["runId"],
        event("START", run_id="other")["run"]["runId"],
    ]
    assert ids[0] == ids[1] != ids[2]


def test_column_lineage_has_kinds_and_the_dataset_what_decides_over_rows(event: Any) -> None:
    daily = next(each for each in event("COMPLETE", DONE)["outputs"] if each["name"].endswith("out/daily"))
    facet = daily["facets"]["columnLineage"]
    (amount, qty) = facet["fields"]["revenue"]["inputFields"]
    assert (amount["field"], qty["field"]) == ("amount", "qty")
    assert amount["transformations"] == [
        {"type": "DIRECT", "subtype": "AGGREGATION", "description": "sum(gross)", "masking": False}
    ]
    assert "orders" not in facet["fields"]
    deciding = {(each["field"], each["transformations"][0]["subtype"]) for each in facet["dataset"]}
    assert {("status", "FILTER"), ("customer", "JOIN"), ("country", "GROUP_BY")} <= deciding


def test_the_last_event_says_what_was_read_and_written(event: Any) -> None:
    found = event("COMPLETE", DONE)
    orders = found["inputs"][0]
    assert orders["inputFacets"]["inputStatistics"]["rowCount"] == 3
    assert orders["inputFacets"]["dataQualityAssertions"]["assertions"][0]["success"] is False
    daily = next(each for each in found["outputs"] if each["name"].endswith("out/daily"))
    assert daily["outputFacets"]["outputStatistics"]["rowCount"] == 2
    assert daily["facets"]["lifecycleStateChange"]["lifecycleStateChange"] == "OVERWRITE"
    assert daily["facets"]["schema"]["fields"][2] == {
        "name": "revenue", "type": "DECIMAL(38,2)", "ordinal_position": 3, "fields": []
    }  # fmt: skip
    assert daily["facets"]["dataSource"]["uri"].startswith("file:///")


def test_a_job_without_end_is_a_stream(event: Any, folder: Path) -> None:
    assert event("START")["job"]["facets"]["jobType"]["processingType"] == "BATCH"
    lineage = lineage_of(build(loads((folder / "shop.yaml").read_text())))
    stream = json.loads(Serde.to_json(run_event("START", lineage, "r", BEGAN, replace(JOB, streaming=True))))
    assert stream["job"]["facets"]["jobType"]["processingType"] == "STREAMING"


def test_a_failure_says_why(event: Any) -> None:
    facets = event("FAIL", RunFacts(error="no room left"))["run"]["facets"]
    assert facets["errorMessage"]["message"] == "no room left"
    assert facets["processing_engine"]["version"] == "2.77.0"


@pytest.mark.skipif(not SPEC.is_dir(), reason="OPENLINEAGE_SPEC names no folder with OpenLineage's JSON Schema")
@pytest.mark.parametrize(
    ("state", "facts"),
    [
        ("START", None),
        ("RUNNING", RunFacts(DONE.read)),
        ("COMPLETE", DONE),
        ("FAIL", RunFacts(error="broken")),
        ("ABORT", RunFacts(error="x")),
    ],
)
def test_events_are_valid_against_the_published_schema(state: str, facts: RunFacts | None, event: Any) -> None:
    assert list(faults(event(state, facts))) == []


@pytest.mark.skipif(not SPEC.is_dir(), reason="OPENLINEAGE_SPEC names no folder with OpenLineage's JSON Schema")
def test_a_wrong_event_would_be_found(event: Any) -> None:
    found = event("COMPLETE", DONE)
    del found["outputs"][0]["facets"]["columnLineage"]["fields"]
    assert list(faults(found))
    assert list(faults({**event("START"), "eventType": "BEGIN"}))


def faults(event: dict[str, Any]) -> list[str]:
    """What the event and each of its facets break of their schemas."""
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    documents = [json.loads(file.read_text()) for file in (SPEC / "OpenLineage.json", *(SPEC / "facets").glob("*.json"))]
    registry: Registry[Any] = Registry().with_resources([(each["$id"], Resource.from_contents(each)) for each in documents])
    known = {each["$id"] for each in documents}

    def check(value: Any, url: str) -> list[str]:
        assert url.partition("#")[0] in known, f"{url} is not of this version of OpenLineage"
        validator = Draft202012Validator({"$ref": url}, registry=registry, format_checker=Draft202012Validator.FORMAT_CHECKER)
        return [f"{url}: {error.message}" for error in validator.iter_errors(value)]

    found = check(event, "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent")
    holders = [event["run"], event["job"], *event["inputs"], *event["outputs"]]
    for facets in (each.get(key, {}) for each in holders for key in ("facets", "inputFacets", "outputFacets")):
        for facet in facets.values():
            found += check(facet, facet["_schemaURL"])
    return found
