"""Imports Beam, without its cloud clients where no cloud is asked for: they are more than half of the time that it takes."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from importlib.util import LazyLoader
from types import ModuleType
from typing import Any

from beam_datahub.spec import SpecDocument

# What `import apache_beam` tries to import and does without; pandas is only Beam's to describe its own row types.
_OPTIONAL = (
    "apache_beam.io.gcp.bigquery",
    "google.cloud",
    "google.api_core",
    "google.auth",
    "apitools",
    "boto3",
    "botocore",
    "azure",
    "hdfs",
    "pymongo",
    "bson",
    "pandas",
)
# What it imports to fetch things by HTTP: a twentieth of the time to start, for what no local run does.
_LATER = "httplib2"
# URLs of databases and of brokers: their clients are none of Beam's.
_OTHER_URLS = re.compile(r"\b(?:postgres|mysql|mariadb|mongodb|redis|nats|amqp|mqtt)[a-z0-9+]*://")


class _Absent(MetaPathFinder):
    """A finder that says of the optional modules that they are not installed."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> Any:
        """Raise for an optional module, let one wait until it is used, know nothing of others."""
        if name.startswith(_OPTIONAL):
            raise ModuleNotFoundError(f"{name} is left out of this process", name=name)
        found = PathFinder.find_spec(name, path, target) if name == _LATER else None
        if found is not None and found.loader is not None:
            found.loader = LazyLoader(found.loader)
        return found


def needs_cloud(document: SpecDocument) -> bool:
    """Whether a spec names a URL, so that one of Beam's filesystems beyond the local one may be wanted."""
    return "://" in _OTHER_URLS.sub("", repr(document.integration))


def import_beam(*, cloud: bool) -> None:
    """Import Beam; without `cloud` its cloud filesystems and runners are not there for the rest of the process."""
    if cloud or "apache_beam" in sys.modules:
        return
    absent, before = _Absent(), logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))  # Beam warns of each filesystem that it does without
    sys.meta_path.insert(0, absent)
    try:
        import apache_beam  # noqa: F401 - for its side effect
    finally:
        sys.meta_path.remove(absent)
        logging.disable(before)
