"""Java and Maven, for the engines whose job servers are written in Java."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from beam_datahub.errors import MissingDependency

OLDEST, NEWEST = 11, 21
_CENTRAL = "https://repo.maven.apache.org/maven2/org/apache/beam"
_PATIENCE_SECONDS = 30
_CHUNK = 1 << 20

# What Flink and Spark reach into under a Java that has modules.
_OPENED = (
    "java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.time", "java.util",
    "java.util.concurrent", "java.util.concurrent.atomic", "sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar",
)  # fmt: skip

# On one machine Java moves batches that it does not look into: what its second compiler would make of that is not worth its work,
# which is a third of what starting an engine takes.
QUICK_START = "-XX:TieredStopAtLevel=1"


def java() -> str:
    """The Java program of JAVA_HOME, else of the PATH. Raises MissingDependency where there is none, or none that fits."""
    home = os.environ.get("JAVA_HOME")
    named = str(Path(home) / "bin" / "java") if home else "java"
    program = shutil.which(named)
    if program is None:
        where = f"JAVA_HOME is {home}, and has no bin/java" if home else "there is no Java here"
        raise MissingDependency(where, hint="install Java 17 (Debian, Ubuntu: apt install openjdk-17-jre-headless)")
    version = java_version(program)
    if not OLDEST <= version <= NEWEST:
        raise MissingDependency(
            f"{program} is Java {version}; Flink and Spark run on Java {OLDEST} to {NEWEST}",
            hint="install Java 17, or name the folder of one in JAVA_HOME",
        )
    return program


def java_version(program: str) -> int:
    """The major version of a Java program. Raises MissingDependency for what is none."""
    try:
        said = subprocess.run([program, "-version"], capture_output=True, text=True, check=False, timeout=60).stderr
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingDependency(f"{program} does not run: {error}", hint="install Java 17") from error
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    if found is None:
        raise MissingDependency(f"{program} is no Java: it says {said.strip()[:100]!r}", hint="install Java 17")
    return int(found[1])


def opened() -> list[str]:
    """Java's options that open its modules to Flink and Spark."""
    return [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED]


def maven() -> str | None:
    """The Maven program, if there is one."""
    return shutil.which("mvn")


def run_maven(pom: Path, goals: Sequence[str], folder: Path, what: str) -> None:
    """Run Maven's `goals` over a copy of `pom` in `folder`. Raises MissingDependency with Maven's own words."""
    program = maven()
    if program is None:
        raise MissingDependency(
            f"{what} can be had neither from Maven Central nor built, for there is no Maven here",
            hint="install it (Debian, Ubuntu: apt install maven), or name a jar that you have: see `beam-datahub doctor`",
        )
    shutil.copyfile(pom, folder / "pom.xml")
    done = subprocess.run([program, "-q", "-B", *goals], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = [line for line in done.stdout.splitlines() if line.startswith("[ERROR]")] or ["no message"]
        raise MissingDependency(f"{what} could not be built: {said[0].removeprefix('[ERROR]').strip()[:300]}")


def download(artefact: str, version: str, target: Path) -> bool:
    """Fetch a jar of Beam's from Maven Central and check it against the checksum there; False where there is none.

    Raises MissingDependency where what came is damaged.
    """
    import hashlib

    url = f"{_CENTRAL}/{artefact}/{version}/{artefact}-{version}.jar"
    try:
        with urllib.request.urlopen(f"{url}.sha1", timeout=_PATIENCE_SECONDS) as answer:
            expected = answer.read().decode("ascii").split()[0]
        digest = hashlib.sha1(usedforsecurity=False)
        with urllib.request.urlopen(url, timeout=_PATIENCE_SECONDS) as answer, target.open("wb") as file:
            while chunk := answer.read(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
    except (OSError, ValueError, IndexError):
        # No network, a proxy that refuses, or a version that is not there: it can still be built.
        target.unlink(missing_ok=True)
        return False
    if digest.hexdigest() != expected:
        target.unlink(missing_ok=True)
        raise MissingDependency(f"{url} came damaged", hint="try again")
    return True


def beam_version() -> str:
    """The version of Beam that is installed."""
    from importlib.metadata import version

    return version("apache-beam")


def beam_cached(artefact: str) -> Path | None:
    """The jar in Beam's own cache, where another program of the user's left it."""
    name = f"{artefact}-{beam_version()}.jar"
    path = Path("~/.apache_beam/cache/jars").expanduser() / name
    return path if path.is_file() else None
