"""Where the store is: a file, the project's own, or a PostgreSQL database. Imports no database library."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from beam_datahub.errors import InvalidValue
from beam_datahub.security import redact

VARIABLE = "BEAM_DATAHUB_STORE"
FOLDER = ".beam-datahub"
FILE = "store.db"

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
_POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")


@dataclass(frozen=True)
class Location:
    """The place of a store. `path` is its file, None for a server; `folder` is where runs keep their files (in `runs/`).

    `explicit` says that the user named it: then it must be usable, while the project's own may be missing.
    """

    path: Path | None
    folder: Path
    url: str | None = field(default=None, repr=False)
    explicit: bool = False

    def __str__(self) -> str:
        return str(self.path) if self.path is not None else redact(self.url or "")

    @property
    def runs(self) -> Path:
        """The folder with one folder a run."""
        return self.folder / "runs"

    @property
    def key_file(self) -> Path:
        """Where the key lies that seals the store's secrets, unless the environment names another."""
        return self.path.with_suffix(".key") if self.path is not None else self.folder / "store.key"

    def exists(self) -> bool:
        """Whether there is a file; a server is taken to be there."""
        return self.path is None or self.path.exists()


def locate(named: str | os.PathLike[str] | None = None, environment: Mapping[str, str] | None = None) -> Location:
    """The store that `named` says, else BEAM_DATAHUB_STORE, else `.beam-datahub/store.db` of the project.

    The project is the nearest folder upwards of here that has a `.beam-datahub`, else this one. Raises InvalidValue.
    """
    variables = os.environ if environment is None else environment
    given = os.fspath(named) if named is not None else variables.get(VARIABLE)
    if not given:
        folder = project_folder() / FOLDER
        return Location(folder / FILE, folder)
    match = _SCHEME.match(given)
    if match is None:
        return _file(given)
    scheme = match["scheme"].lower()
    if scheme in ("sqlite", "sqlite+pysqlite"):
        # Three slashes and a relative path, or four and an absolute one.
        path = given[match.end() :].removeprefix("/")
        if not path or path == ":memory:":
            raise InvalidValue("a store in memory would be lost at the end of the process", hint="name a file")
        return _file(path)
    if scheme in _POSTGRESQL:
        url = "postgresql+psycopg://" + given[match.end() :]
        return Location(None, project_folder() / FOLDER, url, explicit=True)
    raise InvalidValue(f"a store cannot be in '{scheme}'", hint="name a file, or a URL such as postgresql://user@host/database")


def _file(given: str) -> Location:
    path = Path(given).expanduser().absolute()
    if path.is_dir():
        path = path / FILE
    return Location(path, path.parent, explicit=True)


def project_folder(start: Path | None = None) -> Path:
    """The nearest folder from `start` (default: here) upwards whose `.beam-datahub` has a store or runs, else `start`.

    Destinations leave a folder of that name beside what they write, too, which makes no project of it.
    """
    here = (start or Path.cwd()).absolute()
    projects = (folder for folder in (here, *here.parents) if any((folder / FOLDER / name).exists() for name in (FILE, "runs")))
    return next(projects, here)
