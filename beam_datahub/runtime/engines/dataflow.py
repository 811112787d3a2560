"""The Dataflow engine: Google's managed Beam. Its job can be built and checked here without an account."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from beam_datahub.errors import InvalidValue, MissingValue
from beam_datahub.runtime.engines.declaration import Engine, EngineOptions, Readiness, Start, pipeline

if TYPE_CHECKING:
    from beam_datahub.spec import SpecDocument

_REQUIRED = {
    "project": "the project that pays",
    "region": "where the workers run, such as europe-west1",
    "temp_location": "a place for what workers share, such as gs://bucket/temporary",
}
# One of them brings this package to the workers.
_SHIPPING = ("sdk_container_image", "setup_file", "requirements_file", "extra_package")


class Dataflow(Engine):
    """Google Cloud Dataflow."""

    name = "dataflow"
    summary = "Google Cloud Dataflow; its job is built and checked without an account by run --dry-run"
    streams = False
    shards = 32
    cannot = ("files that only this machine has", "integrations of type real-time or hybrid", "progress by step in the terminal")

    def readiness(self) -> Readiness:
        """Whether Google's client is here; whether the account may run jobs shows when one is sent."""
        try:
            here = find_spec("google.cloud.dataflow_v1beta3") is not None
        except ModuleNotFoundError:
            here = False
        hint = None if here else "pip install 'apache-beam[gcp]'"
        return Readiness(here, self.summary if here else "Google's client for Dataflow is not installed", hint)

    def check(self, document: SpecDocument) -> None:
        """Raise InvalidValue for files that no worker could reach."""
        super().check(document)
        parts = [(source.connection, source.at) for source in document.integration.sources.values()]
        parts += [(sink.connection, sink.at) for sink in document.integration.destinations]
        for connection, at in parts:
            path = connection.get("path") if isinstance(connection, Mapping) else None
            if isinstance(path, str) and "://" not in path:
                raise InvalidValue(
                    f"workers on Dataflow cannot reach '{path}' on this machine",
                    hint="name a place in the cloud, such as gs://bucket/orders/*.csv",
                    place=document.place(*at, "connection", "path"),
                )

    @contextmanager
    def started(self, options: EngineOptions, start: Start) -> Iterator[Any]:
        """A pipeline that becomes a job of the account."""
        require(options)
        yield pipeline("DataflowRunner", [*_usual(options), *options.options])

    def job(self, options: EngineOptions, build: Callable[[Any], object]) -> dict[str, Any]:
        """The job as it would be sent, and its graph, without sending it; `build` puts the steps on a pipeline.

        Raises MissingValue for options that every job needs, InvalidValue for values that Beam refuses.
        """
        from google.protobuf import json_format

        require(options)
        arguments = [*_usual(options), *options.options, "--dry_run=True", "--no_auth"]
        empty = pipeline("DataflowRunner", arguments)
        build(empty)
        try:
            found = empty.run().job
        except ValueError as error:
            raise InvalidValue(f"Dataflow's options: {error}") from error
        described = {**json.loads(str(found)), "environment": _environment(found)}
        graph = json_format.MessageToDict(found.proto_pipeline)
        steps = {name: each.get("uniqueName", name) for name, each in graph["components"]["transforms"].items()}
        return {"job": described, "steps": sorted(steps.values()), "pipeline": graph}


def require(options: EngineOptions) -> None:
    """Raise MissingValue for an option that every job on Dataflow needs, InvalidValue for a place that workers do not share."""
    for name, what in _REQUIRED.items():
        if options.given(name) is None:
            raise MissingValue(f"Dataflow needs --{name}: {what}", hint=f"--engine-option --{name}=…, or a profile of the engine")
    place = options.given("temp_location") or ""
    if not place.startswith("gs://"):
        raise InvalidValue(f"--temp_location must be in Google Cloud Storage, not '{place}'", hint="gs://bucket/temporary")
    if not any(options.given(name) for name in _SHIPPING):
        raise MissingValue(
            "Dataflow's workers need beam-datahub, too",
            hint="name an image that has it: --engine-option --sdk_container_image=…; docs/engines.md shows one",
        )


def _usual(options: EngineOptions) -> list[str]:
    if options.given("staging_location") is None:
        return [f"--staging_location={(options.given('temp_location') or '').rstrip('/')}/staging"]
    return []


def _environment(job: Any) -> Any:
    """The workers that a job asks for, and the options that they get."""
    from apache_beam.runners.dataflow.internal import apiclient
    from google.protobuf import json_format

    made = apiclient.Environment(
        proto_pipeline_staged_url=f"{job.google_cloud_options.staging_location}/pipeline.pb",
        packages=[],
        options=job.options,
        environment_version="8",
        proto_pipeline=job.proto_pipeline,
        pipeline_proto_hash=None,
    )
    return json.loads(json_format.MessageToJson(made.proto._pb))
