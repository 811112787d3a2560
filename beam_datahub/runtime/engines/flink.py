"""The Flink engine: embedded for a laptop, or a cluster by its address."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beam_datahub.runtime.engines.cache import kept, obtain
from beam_datahub.runtime.engines.declaration import EngineOptions, Readiness, Start
from beam_datahub.runtime.engines.flink_jobs import end_jobs
from beam_datahub.runtime.engines.jars import clean, java_readiness, named_path, note_origin
from beam_datahub.runtime.engines.java import QUICK_START, beam_cached, beam_version, download, java, opened, run_maven
from beam_datahub.runtime.engines.portable import PortableEngine, cores, jvm_properties, port_of
from beam_datahub.runtime.engines.server import ServerCommand

FLINK_VERSION = "1.19"
VARIABLE = "BEAM_DATAHUB_FLINK_JAR"
_ARTEFACT = f"beam-runners-flink-{FLINK_VERSION}-job-server"
_JAR = "flink-job-server.jar"
_POM = Path(__file__).with_name("flink-job-server.pom.xml")

# For the embedded cluster: it is for this machine alone, and a plan of many steps needs more than the usual buffers. What they
# take grows with the parallel parts of a shuffle.
_EMBEDDED = """\
jobmanager.bind-host: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.address: 127.0.0.1
taskmanager.memory.network.min: {buffers}mb
taskmanager.memory.network.max: {buffers}mb
taskmanager.memory.managed.size: 256mb
taskmanager.network.sort-shuffle.min-buffers: 64
"""


class Flink(PortableEngine):
    """Apache Flink, embedded or a cluster."""

    name = "flink"
    summary = "Apache Flink: embedded, or a cluster by --engine-option --flink_master=HOST:PORT"
    streams = True
    # Jobs without an end start reliably with short bundles only.
    stream_options = ("--max_bundle_time_mills=100",)
    master_option = "--flink_master"
    faults = (
        (
            r"Insufficient number of network buffers",
            "the task managers have too few network buffers for so many steps",
            "in Flink's configuration: taskmanager.network.sort-shuffle.min-buffers: 64, or more taskmanager.memory.network.max",
        ),
        (
            r"NoResourceAvailableException|Could not acquire the minimum required resources",
            "the cluster has too few free slots",
            "ask for less: --engine-option --parallelism=2",
        ),
    )

    def readiness(self) -> Readiness:
        """Whether Java and the job server are here."""
        return java_readiness("flink", "the Flink job server", self.summary, flink_jar_here)

    def arguments(self, options: EngineOptions) -> list[str]:
        """As many parallel parts as the machine has cores, unless a cluster decides."""
        usual = [f"--flink_version={FLINK_VERSION}"]
        if options.given("flink_master") is None and options.given("job_endpoint") is None:
            usual.append(f"--parallelism={cores()}")
        return usual

    @contextmanager
    def started(self, options: EngineOptions, start: Start) -> Iterator[Any]:
        """A pipeline for the job server; on a cluster nothing of the run stays when the block is left."""
        master = options.given("flink_master")
        with super().started(options, start) as pipeline:
            try:
                yield pipeline
            finally:
                if master is not None and not master.startswith("[") and start.job_name:
                    end_jobs(master, start.job_name)

    def server(self, options: EngineOptions, start: Start) -> ServerCommand:
        """Beam's job server for Flink, with an embedded cluster unless a master is named."""
        program, jar = options.given("job_server_java_launcher") or java(), flink_jar(start)
        master = options.given("flink_master") or "[local]"
        (Path(start.folder) / "flink-conf.yaml").write_text(_configuration() if master == "[local]" else "", "utf-8")

        def command(ports: Sequence[int]) -> list[str]:
            return [
                program,
                *opened(),
                f"-Djava.io.tmpdir={start.folder}",
                "-Dorg.slf4j.simpleLogger.showDateTime=true",
                "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
                *([QUICK_START] if master == "[local]" else []),
                *jvm_properties(options),
                *("-jar", str(jar)),
                *("--flink-master", master if master.startswith(("[", "http")) else f"http://{master}"),
                *("--flink-conf-dir", start.folder),
                *("--artifacts-dir", f"{start.folder}/artifacts"),
                *("--job-port", str(ports[0]), "--artifact-port", str(ports[1]), "--expansion-port", str(ports[2])),
            ]

        return ServerCommand("the Flink job server", command, ports=3, job_port=port_of(options, "job_port"))


def _configuration() -> str:
    return _EMBEDDED.format(buffers=min(1024, max(256, 128 * cores())))


def flink_jar(start: Start | None = None) -> Path:
    """The job server's jar: BEAM_DATAHUB_FLINK_JAR, Beam's own from its cache or Maven Central, else built by Maven and kept.

    Raises MissingDependency.
    """
    found = flink_jar_here()
    if found is not None:
        return found
    if start is not None:
        start.tell("fetching the Flink job server; this takes a minute or two, once")

    def make(folder: Path) -> None:
        if download(_ARTEFACT, beam_version(), folder / _JAR):
            note_origin(folder, f"Beam {beam_version()}'s own")
            return
        run_maven(_POM, ["package"], folder, "the Flink job server")
        built = next(file for file in (folder / "target").glob("*.jar") if not file.name.startswith("original-"))
        built.rename(folder / _JAR)
        clean(folder, keep=_JAR)
        note_origin(folder, "built by Maven from Beam 2.70.0")

    return obtain(_kept_as(), make) / _JAR


def flink_jar_here() -> Path | None:
    """The jar, where nothing need be fetched for it. Raises MissingDependency where the variable names none."""
    named = os.environ.get(VARIABLE)
    if named:
        return named_path(VARIABLE, named)
    folder = kept(_kept_as())
    return folder / _JAR if folder is not None else beam_cached(_ARTEFACT)


def _kept_as() -> str:
    return f"flink-{FLINK_VERSION}-beam-{beam_version()}"
