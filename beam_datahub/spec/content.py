"""Finds the packaged content: declarative connectors, reusable transformations and templates."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

import beam_datahub
from beam_datahub.errors import Defect

# The folders lie beside the package in a checkout; a wheel carries them as the data of this package.
PACKAGE = "beam_datahub_content"


def content_folder(name: Literal["io", "transforms", "templates"]) -> Path:
    """The folder of packaged content called `name`, in a checkout or an installed wheel."""
    root = Path(beam_datahub.__file__).resolve().parent.parent
    if (root / "setup.py").is_file() and (root / name).is_dir():
        return root / name
    found = importlib.util.find_spec(PACKAGE)
    for location in found.submodule_search_locations or () if found else ():
        if (Path(location) / name).is_dir():
            return Path(location) / name
    raise Defect(f"the packaged folder {name}/ is missing", hint="install beam-datahub again")
