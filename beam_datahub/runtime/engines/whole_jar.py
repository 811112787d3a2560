"""Makes a job jar whole where the job server that wrote it was put together from many jars: theirs go into it as well."""

from __future__ import annotations

import os
import zipfile
from collections import defaultdict
from pathlib import Path

# What signs or lists the content of one jar is wrong for all of them together.
_OF_ONE_JAR = (".SF", ".RSA", ".DSA", "MANIFEST.MF", "INDEX.LIST", "module-info.class")
_SERVICES = "META-INF/services/"


def make_whole(jar: Path, others: Path) -> None:
    """Add the content of all jars in the folder `others` to `jar`; of what several have, the first stays, and services add up."""
    fresh = jar.with_suffix(".jar.new")
    services: dict[str, list[str]] = defaultdict(list)
    there: set[str] = set()
    with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as whole:
        for number, each in enumerate([jar, *sorted(others.glob("*.jar"))]):
            with zipfile.ZipFile(each) as part:
                for entry in part.infolist():
                    name = entry.filename
                    if name.startswith(_SERVICES) and not entry.is_dir():
                        services[name] += part.read(entry).decode("utf-8").splitlines()
                    elif name not in there and not (number and name.endswith(_OF_ONE_JAR)):
                        there.add(name)
                        whole.writestr(entry, part.read(entry), zipfile.ZIP_DEFLATED, 1)
        for name, lines in services.items():
            whole.writestr(name, "\n".join(dict.fromkeys(lines)) + "\n")
    os.replace(fresh, jar)
