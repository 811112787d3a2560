"""Hands a run over to an engine and goes: a cloud that runs it by itself, or a file that somebody runs later."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from beam_datahub.compiler.lower import lower
from beam_datahub.compiler.passes import optimise
from beam_datahub.compiler.plan import Plan, Write
from beam_datahub.errors import EngineFailed, InvalidValue, MissingValue
from beam_datahub.kernels.scratch import scratch_prefix
from beam_datahub.runtime.beam_manners import quiet_beam
from beam_datahub.runtime.engines import Start, engine
from beam_datahub.runtime.engines.declaration import STREAMING_TYPES
from beam_datahub.runtime.increments import is_incremental
from beam_datahub.runtime.launch import RunRequest, _abort, _lowering, _prepare, _report_path

if TYPE_CHECKING:
    from beam_datahub.spec import SpecDocument


def check_submittable(document: SpecDocument) -> None:
    """Raise InvalidValue for an integration that needs this machine while it goes on, or when it is through."""
    if document.integration.type in STREAMING_TYPES:
        raise InvalidValue(
            f"integrations of type '{document.integration.type}' need a launcher, which publishes what they deliver",
            hint="use `beam-datahub run --detach`",
            place=document.place("type"),
        )
    if is_incremental(document):
        raise InvalidValue(
            f"'{document.integration.name}' reads what is new since its last run, which only a run that waits can note",
            hint="use `beam-datahub run`, which does",
        )


def submit(plan: Plan, request: RunRequest, *, waits: bool) -> str:
    """Prepare the destinations and give the job to the engine; gives the place where the run will leave its report.

    The job fails where the run does: over its books, its budget or its rules. `waits`: until the engine says that it has done
    what it was asked for, such as to write a job file. Raises as `run` does, MissingValue without a `temp_location`.
    """
    chosen = engine(request.engine)
    request = replace(request, options=chosen.completed(request.options))
    if request.options.given("temp_location") is None:
        raise MissingValue(
            "the report of a run that goes on by itself needs a place",
            hint="name one that all workers can write: --engine-option --temp_location=gs://bucket/temporary",
        )
    physical = optimise(plan)
    writes = [node.operator for node in physical.writes() if isinstance(node.operator, Write)]
    _prepare(writes)
    with tempfile.TemporaryDirectory(prefix=scratch_prefix("run"), ignore_cleanup_errors=True) as folder:
        report = _report_path(request, folder, 0)
        try:
            start = Start(folder, request.log_folder or folder, request.tell, f"{plan.name}-{request.run_id}")
            with quiet_beam(), chosen.started(request.options, start) as pipeline:
                lower(physical, pipeline, _lowering(physical, request, chosen, report))
                _fail_where_the_run_does(pipeline)
                running = pipeline.run()
                if waits:
                    running.wait_until_finish()
        except BaseException as failure:
            for write in writes:
                _abort(write)
            if isinstance(failure, RuntimeError):
                raise EngineFailed(f"{request.engine} does not take the job: {failure}") from failure
            raise
    return report


def _fail_where_the_run_does(pipeline: Any) -> None:
    """Nobody waits for the report: what it says decides how the job ends."""
    import apache_beam as beam
    from apache_beam.pipeline import PipelineVisitor

    class Commits(PipelineVisitor):
        """Finds what the last step says."""

        found: Any = None

        def visit_transform(self, node: Any) -> None:
            if node.full_label == "run/commit":
                self.found = node.outputs[None]

    commits = Commits()
    pipeline.visit(commits)
    if commits.found is not None:
        commits.found | "run/verdict" >> beam.Map(_judge)


def _judge(report: str) -> str:
    import json

    found = json.loads(report)
    if found["status"] != "completed":
        raise RuntimeError(f"{found['status'].replace('_', ' ')}: {found.get('reason') or '; '.join(found.get('faults', ()))}")
    return report
