"""Files of a project that set something up beside its specs, such as `.beam-datahub/engines.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beam_datahub.errors import InvalidValue, Place
from beam_datahub.spec.findings import Findings
from beam_datahub.spec.tree import read_text, read_tree


@contextmanager
def section(path: Path, key: str, below: str) -> Iterator[tuple[Findings, dict[str, Any]]]:
    """What stands below the one key of a file, and the findings that the block adds to, which are raised behind it.

    `below` says what has to be there. Raises UnreadableSpec, InvalidValue.
    """
    tree = read_tree(read_text(path), str(path))
    findings = Findings(tree)
    findings.raise_all()
    given = tree.value.get(key) if isinstance(tree.value, dict) and set(tree.value) == {key} else None
    if not isinstance(given, dict):
        raise InvalidValue(f"must be `{key}:` and below it {below}", place=Place(str(path), 1))
    yield findings, given
    findings.raise_all()
