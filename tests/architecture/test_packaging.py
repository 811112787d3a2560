"""A wheel carries the content that stands beside the package in a checkout, and finds it when it is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what a wheel of this checkout installs."""
    folder = tmp_path_factory.mktemp("wheel")
    # Everything is built outside the checkout, which other tests read at the same time.
    steps = ["egg_info", "--egg-base", folder, "build", "--build-base", folder / "build"]
    steps += ["bdist_wheel", "--dist-dir", folder, "--bdist-dir", folder / "unpacked"]
    subprocess.run([sys.executable, "-W", "ignore", "setup.py", "--quiet", *steps], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    ZipFile(wheel).extractall(folder / "installed")
    return folder / "installed"


@pytest.mark.parametrize("name", [name for name in ("io", "transforms", "templates") if any(ROOT.glob(f"{name}/*"))])
def test_an_installed_wheel_finds_its_content(installed: Path, name: str) -> None:
    code = f"from beam_datahub.spec import content_folder; print(content_folder({name!r}))"
    # `-c` imports from the working folder before any other.
    done = subprocess.run([sys.executable, "-c", code], cwd=installed, capture_output=True, text=True, check=True)
    found = Path(done.stdout.strip())
    assert found.is_relative_to(installed)
    assert visible_files(found) == visible_files(ROOT / name)


def test_an_installed_wheel_makes_a_store(installed: Path, tmp_path: Path) -> None:
    # The migrations are files that nothing imports.
    code = (
        "import sys, beam_datahub.store.versions as versions\n"
        "from beam_datahub.cli import main\n"
        "print(versions.MIGRATIONS)\n"
        "main(['store', 'init', '--store', sys.argv[1]])\n"
    )
    place = tmp_path / "store.db"
    done = subprocess.run([sys.executable, "-c", code, place], cwd=installed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    migrations, told = done.stdout.splitlines()
    assert Path(migrations).is_relative_to(installed)
    assert told.startswith("made a store of version ")
    assert place.is_file()


def visible_files(folder: Path) -> set[str]:
    files = {file.relative_to(folder) for file in folder.rglob("*") if file.is_file()}
    return {str(file) for file in files if not any(part.startswith((".", "__")) for part in file.parts)}


def test_an_installed_wheel_can_build_job_servers(installed: Path) -> None:
    found = {path.name for path in (installed / "beam_datahub" / "runtime" / "engines").glob("*.pom.xml")}
    assert found == {"flink-job-server.pom.xml", "spark-job-server.pom.xml"}
