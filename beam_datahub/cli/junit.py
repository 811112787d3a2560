"""The outcome of tests as JUnit XML, which continuous integration reads."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from beam_datahub.testing.expectations import TestOutcome

# What XML 1.0 cannot hold.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(path: str, suites: Iterable[tuple[str, list[TestOutcome], str | None]]) -> None:
    """Write (file, outcomes, error) of each file with tests as a test suite."""
    from beam_datahub.security import redact

    root = ElementTree.Element("testsuites", name="beam-datahub test")
    for name, outcomes, error in suites:
        failed = sum(not each.holds for each in outcomes)
        seconds = f"{sum(each.seconds for each in outcomes):.3f}"
        total = str(len(outcomes) + (error is not None))
        suite = ElementTree.SubElement(
            root, "testsuite", name=name, tests=total, failures=str(failed), errors=str(int(error is not None)), time=seconds
        )
        for each in outcomes:
            line = f"{each.place.line}" if each.place.line is not None else ""
            case = ElementTree.SubElement(
                suite, "testcase", name=_clean(each.name), classname=name, file=name, line=line, time=f"{each.seconds:.3f}"
            )
            if not each.holds:
                failure = ElementTree.SubElement(case, "failure", message=_clean(redact(each.problems[0])))
                failure.text = _clean(redact("\n".join(each.problems)))
        if error is not None:
            case = ElementTree.SubElement(suite, "testcase", name="the tests can run", classname=name, file=name, time="0")
            ElementTree.SubElement(case, "error", message=_clean(redact(error))).text = _clean(redact(error))
    ElementTree.indent(root)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
