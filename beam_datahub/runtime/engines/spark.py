"""The Spark engine: a local master, or a cluster by its URL."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from beam_datahub.errors import MissingDependency
from beam_datahub.runtime.engines.cache import kept, obtain
from beam_datahub.runtime.engines.declaration import EngineOptions, Readiness, Start
from beam_datahub.runtime.engines.jars import clean, java_readiness, named_path, note_origin
from beam_datahub.runtime.engines.java import QUICK_START, beam_cached, beam_version, download, java, opened, run_maven
from beam_datahub.runtime.engines.portable import PortableEngine, cores, jvm_properties, port_of
from beam_datahub.runtime.engines.server import ServerCommand

SPARK_VERSION = "3.5.8"
VARIABLE = "BEAM_DATAHUB_SPARK_JAR"
_ARTEFACT = "beam-runners-spark-3-job-server"
_MAIN = "org.apache.beam.runners.spark.SparkJobServerDriver"
_JARS = "jars"
_POM = Path(__file__).with_name("spark-job-server.pom.xml")
# Spark's other parts are built against its own Jackson, and refuse a newer one.
_SPARKS_OWN = ("jackson-annotations-", "jackson-core-", "jackson-databind-")


class Spark(PortableEngine):
    """Apache Spark, with a local master or a cluster."""

    name = "spark"
    summary = "Apache Spark: a local master, or a cluster by --engine-option --spark_master_url=spark://HOST:PORT"
    master_option = "--spark_master_url"
    cannot = ("integrations of type real-time or hybrid: Beam's runner cannot checkpoint a source without end",)

    def readiness(self) -> Readiness:
        """Whether Java and the job server are here."""
        return java_readiness("spark", "the Spark job server", self.summary, spark_jars_here)

    def server(self, options: EngineOptions, start: Start) -> ServerCommand:
        """Beam's job server for Spark, which is Spark's driver as well."""
        program, jars = options.given("job_server_java_launcher") or java(), spark_jars(start)
        master = options.given("spark_master_url") or f"local[{cores()}]"
        classes = str(jars) if jars.is_file() else f"{jars}/beam/*:{jars}/spark/*"

        def command(ports: Sequence[int]) -> list[str]:
            return [
                program,
                *opened(),
                f"-Djava.io.tmpdir={start.folder}",
                f"-Dspark.local.dir={start.folder}",
                "-Dspark.ui.enabled=false",
                *([QUICK_START] if master.startswith("local") else []),
                *jvm_properties(options),
                *("-cp", classes, _MAIN),
                *("--spark-master-url", master),
                *("--artifacts-dir", f"{start.folder}/artifacts"),
                *("--job-port", str(ports[0]), "--artifact-port", str(ports[1]), "--expansion-port", str(ports[2])),
            ]

        local = {"SPARK_LOCAL_IP": "127.0.0.1"} if master.startswith("local") else {}
        return ServerCommand("the Spark job server", command, 3, local, port_of(options, "job_port"))


def spark_jars(start: Start | None = None) -> Path:
    """The job server: BEAM_DATAHUB_SPARK_JAR, Beam's own jar from its cache or Maven Central, else the folder of what Maven and
    PyPI have of Beam and Spark, fetched once and kept. Raises MissingDependency.
    """
    found = spark_jars_here()
    if found is not None:
        return found
    if start is not None:
        start.tell("fetching the Spark job server; this takes a minute or two, once")

    def make(folder: Path) -> None:
        jars = folder / _JARS
        jars.mkdir()
        if download(_ARTEFACT, beam_version(), jars / f"{_ARTEFACT}.jar"):
            note_origin(folder, f"Beam {beam_version()}'s own")
            return
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={jars / 'beam'}"]
        run_maven(_POM, goal, folder, "the Spark job server")
        _unpack_spark(folder, jars / "spark")
        _keep_one_of_each(jars / "beam", jars / "spark")
        clean(folder, keep=_JARS)
        note_origin(folder, f"Beam 2.70.0 by Maven, Spark {SPARK_VERSION} of PyPI")

    return _entry(obtain(_kept_as(), make))


def spark_jars_here() -> Path | None:
    """The job server, where nothing need be fetched for it. Raises MissingDependency where the variable names none."""
    named = os.environ.get(VARIABLE)
    if named:
        return named_path(VARIABLE, named)
    folder = kept(_kept_as())
    return _entry(folder) if folder is not None else beam_cached(_ARTEFACT)


def _entry(folder: Path) -> Path:
    jar = folder / _JARS / f"{_ARTEFACT}.jar"
    return jar if jar.is_file() else folder / _JARS


def _kept_as() -> str:
    return f"spark-{SPARK_VERSION}-beam-{beam_version()}"


def _unpack_spark(folder: Path, target: Path) -> None:
    """Take Spark's jars from the source distribution of pyspark: the one package that has them all."""
    wanted = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--dest", str(folder), f"pyspark=={SPARK_VERSION}"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archive = folder / f"pyspark-{SPARK_VERSION}.tar.gz"
    if done.returncode != 0 or not archive.is_file():
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MissingDependency(f"Spark's jars could not be fetched: {said}", hint=f"or name Beam's own jar in {VARIABLE}")
    target.mkdir()
    with tarfile.open(archive) as packed:
        for member in packed:
            path = Path(member.name)
            if member.isfile() and path.suffix == ".jar" and path.parts[1:3] == ("deps", "jars"):
                content = packed.extractfile(member)
                assert content is not None
                with (target / path.name).open("wb") as out:
                    shutil.copyfileobj(content, out)


def _keep_one_of_each(beam: Path, spark: Path) -> None:
    """Leave out of Beam's jars what Spark has as well: Spark refuses to register a name twice."""
    for jar in beam.iterdir():
        if (spark / jar.name).exists() or jar.name.startswith(_SPARKS_OWN):
            jar.unlink()
