"""`build`: packages an integration for engines that run it by themselves."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from beam_datahub.cli.options import set_option, spec_argument

if TYPE_CHECKING:
    from beam_datahub.runtime.engines import EngineOptions
    from beam_datahub.spec import SpecDocument

_OPTION = click.option("--engine-option", "beam_options", multiple=True, help="An option passed on to Beam. Repeatable.")


@click.group(short_help="Package an integration: a job jar, a job for a cloud.")
def command() -> None:
    """Package an integration so that an engine runs it without this command line.

    `templates build` makes a Dataflow Flex Template of it.
    """


@command.command(short_help="A self-contained job for Flink or Spark.")
@spec_argument
@set_option
@click.option("--engine", type=click.Choice(("flink", "spark")), default="flink", show_default=True, help="The engine.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), default="job.jar", show_default=True, help="The jar to write.")
@_OPTION
def jar(spec: str, parameters: tuple[tuple[str, str], ...], engine: str, output: str, beam_options: tuple[str, ...]) -> None:
    """Write SPEC as a jar for `flink run`, the Flink Kubernetes operator, or `spark-submit`.

    The jar is one run: its destinations are made ready now, and however often it is started, its output is published once.
    Workers are found as --engine-option says, such as --environment_type=EXTERNAL --environment_config=localhost:50000.
    """
    from beam_datahub.errors import InvalidValue, MissingValue

    options = _options(engine, beam_options)
    if options.given("environment_type") in (None, "LOOPBACK"):
        raise MissingValue(
            "the workers of a job jar run where the job does",
            hint="--engine-option --environment_type=EXTERNAL --engine-option --environment_config=localhost:50000, or DOCKER",
        )
    if Path(output).suffix != ".jar":
        raise InvalidValue(f"'{output}' is no name of a jar", hint="such as job.jar")
    target = Path(output).resolve()
    target.unlink(missing_ok=True)
    # The cluster is the one that the jar is given to.
    cluster = ("--flink_master=[auto]",) if engine == "flink" else ()
    options = replace(options, options=(*options.options, *cluster, f"--output_executable_path={target}"))
    run_id, report = _submitted(spec, parameters, engine, options, waits=True)
    if not target.is_file():
        from beam_datahub.errors import EngineFailed

        raise EngineFailed(f"the job server of {engine} did not write {output}")
    if engine == "spark":
        from beam_datahub.runtime.engines.spark import spark_jars
        from beam_datahub.runtime.engines.whole_jar import make_whole

        jars = spark_jars()
        if jars.is_dir():
            make_whole(target, jars / "beam")
    click.echo(f"{output}: {target.stat().st_size / 2**20:.0f} MiB, run {run_id}; its report will be {report}")


@command.command(short_help="Send a job to an engine, and do not wait.")
@spec_argument
@set_option
@click.option("--engine", default="dataflow", show_default=True, help="The engine.")
@_OPTION
def submit(spec: str, parameters: tuple[tuple[str, str], ...], engine: str, beam_options: tuple[str, ...]) -> None:
    """Send SPEC as a job that goes on by itself; it fails where the run does. Nothing of it is recorded in the store."""
    run_id, report = _submitted(spec, parameters, engine, _options(engine, beam_options), waits=False)
    click.echo(f"sent as run {run_id}; its report will be {report}")


def _options(engine: str, given: tuple[str, ...]) -> EngineOptions:
    from beam_datahub.runtime.engines import EngineOptions
    from beam_datahub.runtime.engines import engine as find_engine

    return find_engine(engine).completed(EngineOptions(options=given))


def _submitted(
    spec: str, parameters: tuple[tuple[str, str], ...], engine: str, options: EngineOptions, *, waits: bool
) -> tuple[str, str]:
    """Plan and submit; gives the run's id and the place of its report."""
    from beam_datahub.cli.specs import opened, planned
    from beam_datahub.runtime.beam_import import import_beam
    from beam_datahub.runtime.run_id import new_run_id

    import_beam(cloud=True)
    from beam_datahub.runtime.launch import RunRequest
    from beam_datahub.runtime.submitting import check_submittable, submit

    document: SpecDocument = opened(spec, parameters)
    check_submittable(document)
    run_id = new_run_id()
    shared = options.given("temp_location") or "."
    plan = planned(
        document,
        engine=engine,
        run_id=run_id,
        dead_letter_folder=_in(shared, f"dead-letter/{document.integration.name}"),
        violations_folder=_in(shared, f"violations/{run_id}"),
    )
    # `planned` took the options of a profile already.
    return run_id, submit(plan, RunRequest(run_id, engine, options, tell=lambda text: click.echo(text, err=True)), waits=waits)


def _in(shared: str, name: str) -> str:
    return f"{shared.rstrip('/')}/{name}" if "://" in shared else os.path.join(os.path.abspath(shared), name)
