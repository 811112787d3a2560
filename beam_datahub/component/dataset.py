"""What the data that a connector reads or writes is called outside of any integration, by OpenLineage's naming rules.

A namespace names the system that holds it (`file`, `s3://bucket`, `postgres://host:5432`), a name the dataset in it (a path,
`database.schema.table`, a topic), so that two integrations that meet in a dataset call it the same.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

_URL = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*)://([^/]*)(?:/(.*))?$", re.DOTALL)
# Spellings of the same system.
_SCHEMES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}
# What says "the files in here": `*`, `**`, `*.csv`, and hive's `country=de`.
_INSIDE = re.compile(r"^(\*+(\.[\w.]+)?|[^/=]+=[^/]*)$")


@dataclass(frozen=True, order=True)
class DatasetName:
    """A dataset's namespace and its name there."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}:{self.name}"


def file_dataset(path: str) -> DatasetName:
    """The dataset of a file, a folder or a glob; the files of a folder and the folder are one dataset."""
    found = _URL.match(path)
    if found is None or found[1] == "file":
        absolute = os.path.abspath(path if found is None else "/" + (found[3] or ""))
        return DatasetName("file", _trimmed(absolute) or "/")
    scheme = _SCHEMES.get(found[1].lower(), found[1].lower())
    name = _trimmed(found[3] or "") or "/"
    if scheme in ("s3", "gs"):
        return DatasetName(f"{scheme}://{found[2]}", name)
    return DatasetName(f"{scheme}://{found[2]}", name if name.startswith("/") else f"/{name}")


def _trimmed(path: str) -> str:
    parts = path.rstrip("/").split("/")
    while len(parts) > 1 and _INSIDE.match(parts[-1]):
        parts.pop()
    return "/".join(parts)
