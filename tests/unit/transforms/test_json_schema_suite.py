"""The public JSON Schema suite (draft 7), each case as a record that a validation lets through or rejects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.kernels.json_schema import load_schema
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import JSON
from beam_datahub.transforms.validation import JsonSchemaKernel

SUITE = Path(__file__).resolve().parents[4] / "shared" / "cases" / "json-schema-suite"

pytestmark = pytest.mark.skipif(not SUITE.is_dir(), reason="the public JSON Schema suite is not on this machine")

# Groups of optional cases that the jsonschema library and its format checkers judge otherwise: file → (reason, groups).
KNOWN: dict[str, tuple[str, tuple[int, ...]]] = {
    "content.json": ("what a text encodes is not looked into", (0, 1, 2)),
    "ecmascript-regex.json": ("patterns are Python's", (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 18, 19)),
    "format/date-time.json": ("leap seconds", (0,)),
    "format/ecmascript-regex.json": ("patterns are Python's", (0, 1, 2, 3, 4, 5)),
    "format/email.json": ("an address is a text with @", (0,)),
    "format/hostname.json": ("punycode is not decoded", (0, 1)),
    "format/idn-hostname.json": ("trailing dots", (0, 1)),
    "format/iri.json": ("rules for authorities", (0,)),
    "format/relative-json-pointer.json": ("the digits of its prefix", (0,)),
    "format/time.json": ("leap seconds", (0,)),
    "format/uri-reference.json": ("rules for authorities", (0,)),
    "format/uri-template.json": ("rules for expressions", (0,)),
    "format/uri.json": ("rules for authorities", (0,)),
}


def groups() -> Iterator[Any]:
    for path in sorted((SUITE / "tests/draft7").rglob("*.json")):
        name = str(path.relative_to(SUITE / "tests/draft7"))
        for number, group in enumerate(json.loads(path.read_text(encoding="utf-8"))):
            reason, known = KNOWN.get(name.removeprefix("optional/"), ("", ())) if name.startswith("optional/") else ("", ())
            marks = [pytest.mark.xfail(reason=reason, strict=True)] if number in known else []
            yield pytest.param(group, id=f"{name}-{number}", marks=marks)


@pytest.mark.parametrize("group", list(groups()) if SUITE.is_dir() else [])
def test_a_record_passes_where_the_suite_says_that_it_is_valid(group: dict[str, Any]) -> None:
    references = {"http://localhost:1234/": str(SUITE / "remotes")}
    schema = group["schema"]
    if isinstance(schema, dict) and "$schema" not in schema:
        schema = {"$schema": "http://json-schema.org/draft-07/schema#", **schema}
    kernel = JsonSchemaKernel(load_schema(schema, references), ("doc",), "doc", omit_nulls=False)
    texts = pa.array([json.dumps(test["data"]) for test in group["tests"]])
    batch = pa.record_batch([pa.ExtensionArray.from_storage(JSON, texts)], names=["doc"])
    with KernelSession(threads=1) as session:
        kernel.open(session)
        applied = kernel.apply(batch, session)
    rejected = set() if applied.rejected is None else set(applied.rejected["row"].to_pylist())
    wrong = [
        (test["description"], test["data"], test["valid"])
        for row, test in enumerate(group["tests"])
        if (row not in rejected) is not test["valid"]
    ]
    assert not wrong
