"""The package keeps its shape: small files, telling names, a command line that starts at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "beam_datahub").rglob("*.py"))
# Longer than a file should be: each waits for a cut along what its parts are for.
LONGER: dict[str, int] = {}
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_has_a_telling_name_and_a_size_that_can_be_read(file: Path) -> None:
    assert file.stem.strip("_") not in VAGUE
    longest = LONGER.get(str(file.relative_to(ROOT / "beam_datahub")), 420)
    assert len(file.read_text("utf-8").splitlines()) <= longest, "split it by what its parts are for"


def test_help_comes_without_importing_beam_or_arrow() -> None:
    code = (
        "import sys\n"
        "from beam_datahub.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print('heavy:', sorted({'apache_beam', 'pyarrow', 'duckdb', 'sqlglot'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"
