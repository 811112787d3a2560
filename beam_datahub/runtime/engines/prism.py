"""The Prism engine: Beam's portable local runner."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from beam_datahub.errors import MissingDependency
from beam_datahub.runtime.engines.cache import kept, obtain
from beam_datahub.runtime.engines.declaration import EngineOptions, Readiness, Start
from beam_datahub.runtime.engines.portable import PortableEngine, port_of
from beam_datahub.runtime.engines.server import ServerCommand

VERSION = "v2.77.0"
_PACKAGE = f"github.com/apache/beam/sdks/v2/go/cmd/prism@{VERSION}"
_CACHED = f"prism-{VERSION}"


class Prism(PortableEngine):
    """Beam's portable local runner, with workers beside the launcher."""

    name = "prism"
    summary = "Beam's portable local runner, with workers beside the launcher"
    streams = True
    # Its workers are threads of one process: parts that no core has time for only cost bundles, timers and state.
    stream_shards = min(8, os.cpu_count() or 1)
    # Splitting a slow bundle, it gives the rest to another while the same key's state is still being written, which is then lost.
    stream_options = ("--experiments=prism_disable_sdf_split",)
    cannot = ("data that outgrows the memory", "more than one machine")

    def readiness(self) -> Readiness:
        """Whether the program is here, or Go to build it."""
        found = _here()
        if found is not None:
            return Readiness(True, f"{self.summary}: {found}")
        if _go() is not None:
            hint = "the first run builds it, as does: beam-datahub engines test prism"
            return Readiness(False, "the prism program is not built yet", hint)
        error = _without_go()
        return Readiness(False, error.reason, error.hint)

    def server(self, options: EngineOptions, start: Start) -> ServerCommand:
        """Prism without its web page."""
        program = options.given("prism_location") or str(prism_program(start))

        def command(ports: Sequence[int]) -> list[str]:
            level = options.given("prism_log_level") or "info"
            return [program, f"--job_port={ports[0]}", "--serve_http=false", f"--log_level={level}", "--log_kind=text"]

        return ServerCommand("Prism", command, job_port=port_of(options, "job_port"))


def prism_program(start: Start | None = None) -> Path:
    """The prism program: BEAM_DATAHUB_PRISM, the one on the PATH, or built with Go once and kept. Raises MissingDependency."""
    found = _here()
    if found is not None:
        return found
    go = _go()
    if go is None:
        raise _without_go()
    if start is not None:
        start.tell("building Prism; this takes a minute or two, once")

    def build(folder: Path) -> None:
        environment = {**os.environ, "GOBIN": str(folder), "GOFLAGS": ""}
        done = subprocess.run([go, "install", _PACKAGE], env=environment, capture_output=True, text=True, check=False, cwd=folder)
        if done.returncode != 0 or not (folder / "prism").is_file():
            said = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise MissingDependency(f"Prism could not be built: {said}", hint=f"try it yourself: go install {_PACKAGE}")

    return obtain(_CACHED, build) / "prism"


def _here() -> Path | None:
    named = os.environ.get("BEAM_DATAHUB_PRISM") or shutil.which("prism")
    if named:
        return Path(named)
    folder = kept(_CACHED)
    return folder / "prism" if folder is not None else None


def _go() -> str | None:
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")


def _without_go() -> MissingDependency:
    return MissingDependency(
        "the engine 'prism' needs the prism program, or Go 1.24 or newer to build it",
        hint=f"set BEAM_DATAHUB_PRISM to it, or install it: go install {_PACKAGE}",
    )
