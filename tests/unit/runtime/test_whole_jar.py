"""A job jar that is made whole holds the classes of all jars, once each, and knows the services of all."""

from __future__ import annotations

import zipfile
from pathlib import Path

from beam_datahub.runtime.engines.whole_jar import make_whole


def jar(path: Path, content: dict[str, str]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for name, text in content.items():
            file.writestr(name, text)
    return path


def test_a_job_jar_is_made_whole(tmp_path: Path) -> None:
    service = "META-INF/services/a.Service"
    job = jar(tmp_path / "job.jar", {"META-INF/MANIFEST.MF": "Main-Class: A", "a/A.class": "job's", service: "a.One\n"})
    jar(tmp_path / "more" / "1.jar", {"META-INF/MANIFEST.MF": "of 1", "a/A.class": "of 1", "b/B.class": "B", service: "a.Two"})
    jar(
        tmp_path / "more" / "2.jar",
        {"META-INF/2.SF": "signed", "module-info.class": "2", "c/C.class": "C", service: "a.Three"},
    )
    make_whole(job, tmp_path / "more")
    with zipfile.ZipFile(job) as whole:
        found = {name: whole.read(name).decode() for name in whole.namelist()}
        assert len(found) == len(whole.infolist())
    assert found == {
        "META-INF/MANIFEST.MF": "Main-Class: A",
        "a/A.class": "job's",
        "b/B.class": "B",
        "c/C.class": "C",
        service: "a.One\na.Two\na.Three\n",
    }
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["job.jar"]
