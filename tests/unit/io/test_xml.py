"""XML documents: which elements are records, what they become, attacks and faults, and what is written."""

from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pytest
from pydantic import ValidationError

from beam_datahub.component.registry import component
from beam_datahub.component.source import Contract, Drift
from beam_datahub.errors import LossyWrite, SchemaDrift, TargetUnusable, UnreadableData
from beam_datahub.kernels.types import JSON
from beam_datahub.testing.connectors import read, sink, source, write


def stored(folder: Path, text: str | bytes) -> str:
    (folder / "x.xml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(folder / "x.xml")


def rows(folder: Path, text: str | bytes, schema: pa.Schema | None = None, **options: Any) -> list[dict[str, Any]]:
    return read(source("xml", stored(folder, text), **options), schema).rows


ORDERS = """<?xml version="1.0"?>
<shop><about><name>Shop</name></about>
<orders>
  <order id="1"><total>5</total><item sku="a">2</item><item sku="b">1</item></order>
  <order id="2"><total>7.5</total><item sku="c">9</item><note/></order>
</orders></shop>"""


def test_attributes_repeated_and_nested_elements_and_text_have_their_places(tmp_path: Path) -> None:
    origin = source("xml", stored(tmp_path, ORDERS), records="/shop/orders/order")
    item = pa.struct([("@sku", pa.string()), ("#text", pa.int64())])
    assert origin.discover().schema == pa.schema(
        [("@id", pa.int64()), ("total", pa.float64()), ("item", pa.list_(item)), ("note", pa.string())]
    )
    assert read(origin).rows == [
        {"@id": 1, "total": 5.0, "item": [{"@sku": "a", "#text": 2}, {"@sku": "b", "#text": 1}], "note": None},
        {"@id": 2, "total": 7.5, "item": [{"@sku": "c", "#text": 9}], "note": ""},
    ]


@pytest.mark.parametrize("path", ["//order", "shop/orders/order", "/*/orders/*", "//orders/order"])
def test_records_are_named_by_a_path(path: str, tmp_path: Path) -> None:
    assert [row["@id"] for row in rows(tmp_path, ORDERS, records=path)] == [1, 2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<r><x><a>1</a></x><x><a>2</a></x></r>", [{"a": 1}, {"a": 2}]),
        ("<r><x><a>1</a></x></r>", [{"a": 1}]),
        ("<r><x>1</x><x>2</x></r>", [{"#text": 1}, {"#text": 2}]),
        ("<r><a>1</a><b>2</b></r>", [{"a": 1, "b": 2}]),
        ("<r a='1'/>", [{"@a": 1}]),
        ("<r/>", []),
    ],
)
def test_without_a_path_the_records_are_what_repeats_below_the_root(text: str, expected: list[Any], tmp_path: Path) -> None:
    assert rows(tmp_path, text) == expected


FEED = """<f:feed xmlns:f="urn:feed" xmlns:o="urn:other"><f:entry><f:id>1</f:id><o:id>x</o:id></f:entry>
<o:entry><f:id>2</f:id></o:entry></f:feed>"""


def test_namespaces_choose_records_and_may_stay_in_the_names(tmp_path: Path) -> None:
    for options in ({"records": "//a:entry", "namespaces": {"a": "urn:feed"}}, {"records": "/f:feed/f:entry"}):
        assert rows(tmp_path, FEED, prefixes=True, **options)[0] == {f"{p}:id": v for p, v in _ids(options)}
    assert [row["id"] for row in rows(tmp_path, FEED, records="//o:entry")] == [2]
    assert rows(tmp_path, FEED, records="//f:entry")[0] == {"id": ["1", "x"]}


def _ids(options: dict[str, Any]) -> list[tuple[str, Any]]:
    return [("a" if "namespaces" in options else "f", 1), ("o", "x")]


def test_cdata_comments_entities_and_mixed_content_become_text(tmp_path: Path) -> None:
    text = "<r><x><v><![CDATA[a<b]]> &amp; c<!-- no --><?pi no?> &#x41;</v></x></r>"
    assert rows(tmp_path, text) == [{"v": "a<b & c A"}]
    assert rows(tmp_path, '<!DOCTYPE r [<!ENTITY co "Company">]><r><x><v>The &co;</v></x></r>') == [{"v": "The Company"}]
    mixed = "<r><x><p>Hello <b>big</b> world</p></x><x><p>plain</p></x></r>"
    assert rows(tmp_path, mixed) == [{"p": {"b": "big", "#text": "Hello  world"}}, {"p": {"b": None, "#text": "plain"}}]
    assert rows(tmp_path, mixed, pa.schema([("p", pa.string())])) == [{"p": "Hello big world"}, {"p": "plain"}]
    assert [json.loads(row["p"]) for row in rows(tmp_path, mixed, pa.schema([("p", JSON)]))] == [
        {"b": "big", "#text": "Hello  world"},
        "plain",
    ]


def test_white_space_counts_where_the_document_or_the_options_say_so(tmp_path: Path) -> None:
    text = '<r><x><a> a </a><b xml:space="preserve"> b </b></x></r>'
    assert rows(tmp_path, text) == [{"a": "a", "b": " b "}]
    assert rows(tmp_path, text, trim=False) == [{"a": " a ", "b": " b "}]


def test_nil_is_null_and_names_can_be_chosen(tmp_path: Path) -> None:
    text = """<r xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
      <x k="1"><a xsi:nil="true"/><b u="m">2</b></x><x k="2"><a>3</a><b u="m">4</b></x></r>"""
    assert rows(tmp_path, text, attribute_prefix="", text_name="value") == [
        {"k": 1, "a": None, "b": {"u": "m", "value": 2}},
        {"k": 2, "a": 3, "b": {"u": "m", "value": 4}},
    ]


def test_texts_have_the_types_that_they_would_have_in_csv(tmp_path: Path) -> None:
    values = {
        "i": "-7",
        "f": "1.50",
        "t": "true",
        "d": "2025-01-31",
        "m": "2025-01-31T10:00:00",
        "z": "2025-01-31T10:00:00Z",
        "c": "007",
    }
    text = "<r>" + "<x>" + "".join(f"<{k}> {v} </{k}>" for k, v in values.items()) + "</x></r>"
    assert rows(tmp_path, text) == [
        {
            "i": -7, "f": 1.5, "t": True, "d": dt.date(2025, 1, 31), "m": dt.datetime(2025, 1, 31, 10),
            "z": dt.datetime(2025, 1, 31, 10, tzinfo=dt.UTC), "c": "007",
        }
    ]  # fmt: skip


def test_values_that_do_not_fit_are_handled_as_the_contract_says_with_their_line(tmp_path: Path) -> None:
    text = "<r>\n<x><n>1</n></x>\n<x><n>two</n></x>\n<x><n>3</n><n>4</n></x>\n<x><n> 5 </n></x>\n</r>"
    origin, schema = source("xml", stored(tmp_path, text)), pa.schema([("n", pa.int64())])
    found = read(origin, schema)
    assert found.rows == [{"n": 1}, {"n": 5}]
    assert [(row["reason"], row["line"], row["original"]) for row in found.rejected] == [
        ("type_mismatch", 3, '{"n":"two"}'),
        ("type_mismatch", 4, '{"n":[3,4]}'),
    ]
    assert read(origin, schema, contract=Contract(types=Drift.DISCARD_ROW)).reasons == ["contract"] * 2
    assert [row["n"] for row in read(origin, schema, contract=Contract(types=Drift.DISCARD_VALUE)).rows] == [1, None, None, 5]
    with pytest.raises(SchemaDrift, match="'n'"):
        read(origin, schema, contract=Contract(types=Drift.FREEZE))


BOMB = "<!DOCTYPE r [<!ENTITY a0 'ha'>" + "".join(f"<!ENTITY a{i} '{f'&a{i - 1};' * 10}'>" for i in range(1, 12)) + "]>"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB + "<r><x><v>&a11;</v></x></r>", "grow beyond all measure"),
        (BOMB + "<r><x v='&a11;'/></r>", "grow beyond all measure"),
        (f"<!DOCTYPE r [<!ENTITY a '{'x' * 100_000}'>]><r><x>{'&a;' * 100_000}</x></r>", "grow beyond all measure"),
        ("<!DOCTYPE r [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><r><x><v>&a;</v></x></r>", "an entity outside of it"),
        ("<!DOCTYPE r SYSTEM 'http://127.0.0.1:9/x.dtd'><r><x>&a;</x></r>", "&a; is not defined"),
        ("<r><x>&a;</x></r>", "undefined entity"),
        ("<r>" + "<a>" * 100_000 + "</a>" * 100_000 + "</r>", "nested deeper than 256"),
        ("<r><x/>" + "<a>" * 300 + "</a>" * 300 + "</r>", "nested deeper than 256"),
        ("<r>\n<x><v>1</v></x>\n<x><v>2", "line 3: the document ends before"),
        ("<r>\n<x><v>1</w></x></r>", "line 2: mismatched tag"),
        ("<r><x><v>1</v></x></r><r/>", "junk after document element"),
        ("<?xml version='1.0' encoding='klingon'?><r/>", "encoding 'klingon' is unknown"),
        ("just text", "line 1: syntax error"),
        (b"<r><x><v>\xff\xfe</v></x></r>", "not well-formed"),
        (b"\x00\x01\x02", "not well-formed"),
        ("", "is empty"),
        ("<r><x><a>1</a><A>2</A></x></r>", "differ only in case"),
    ],
)  # fmt: skip
def test_attacks_and_faults_are_clear_errors(text: str | bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableData, match=words):
        rows(tmp_path, text)


def test_nothing_outside_of_the_document_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("<!ENTITY a 'secret'>")
    for declared in ("<!ENTITY % p SYSTEM 'secret'> %p;", ""):
        found = rows(tmp_path, f"<!DOCTYPE r SYSTEM 'secret' [{declared}]><r><x><v>1</v></x></r>")
        assert found == [{"v": 1}]


def test_a_record_without_bounds_is_a_clear_error(tmp_path: Path) -> None:
    text = "<r><head/>" + "<x>some text</x>" * 50_000 + "</r>"
    with pytest.raises(UnreadableData, match="the record <r> is longer than") as found:
        rows(tmp_path, text, max_record_bytes="100KB")
    assert "records" in (found.value.hint or "")
    assert len(rows(tmp_path, text, max_record_bytes="100KB", records="/r/x")) == 50_000


@pytest.mark.parametrize("encoding", ["utf-16", "iso-8859-1", "windows-1252", "utf-8-sig", "utf-32"])
def test_the_encoding_that_a_document_declares_is_used(encoding: str, tmp_path: Path) -> None:
    name = "utf-8" if encoding == "utf-8-sig" else encoding
    text = f'<?xml version="1.0" encoding="{name}"?><r><x><v>Zoë</v></x><x><v>b</v></x></r>'
    assert rows(tmp_path, text.encode(encoding)) == [{"v": "Zoë"}, {"v": "b"}]


def test_an_encoding_that_a_document_does_not_tell_can_be_given(tmp_path: Path) -> None:
    data = "<r><x><v>日本</v></x></r>".encode("shift_jis")
    assert rows(tmp_path, data, encoding="shift_jis") == [{"v": "日本"}]
    assert rows(tmp_path, b'<?xml version="1.0" encoding="shift_jis"?>' + data) == [{"v": "日本"}]


def test_names_that_differ_only_in_case_inside_become_json(tmp_path: Path) -> None:
    assert rows(tmp_path, "<r><x><q><a>1</a><A>2</A></q></x></r>") == [{"q": '{"a":"1","A":"2"}'}]


@pytest.mark.parametrize("path", ["", "/a//b", "a[1]", "/a/@b", "1a"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="not a path"):
        component("source", "xml").Options(records=path)  # type: ignore[attr-defined]


def held(answer: Any, found: Any) -> bool:
    """Whether all that an answer says stands in what was found; the answers' own model leaves out what it does not know."""
    if answer is None:
        return True
    if isinstance(answer, dict):
        if list(answer) == ["value"] and not isinstance(found, dict):
            return held(answer["value"], found)
        return isinstance(found, dict) and all(part is None or held(part, found.get(key)) for key, part in answer.items())
    if isinstance(answer, list):
        several = found if isinstance(found, list) else [found]
        return len(answer) == len(several) and all(map(held, answer, several))
    try:
        return math.isclose(float(answer), float(found))
    except (TypeError, ValueError):
        return str(answer) == str(found)


def test_real_documents_hold_what_their_json_says(cases: Path) -> None:
    wrong, compared = [], 0
    for path in sorted((cases / "xml-json-pairs").glob("*/*.xml")):
        found = read(source("xml", str(path), attribute_prefix="", text_name="value"))
        assert found.rejected == []
        answer = path.with_suffix(".json")
        if not answer.exists():
            continue
        expected = json.loads(answer.read_text())
        if len(expected) == 1 and isinstance(next(iter(expected.values())), list):
            expected = next(iter(expected.values()))
        compared += 1
        if not held(expected if isinstance(expected, list) else [expected], found.rows):
            wrong.append((path.name, expected, found.rows))
    assert wrong == []
    assert compared >= 2


def test_other_readers_read_what_is_written(tmp_path: Path) -> None:
    table = pa.table(
        {
            "@id": [1, 2],
            "name": ['Zoë <&> "q"', None],
            "tags": [["a", "b"], []],
            "at": pa.array([{"city": "Rome", "zip": 5}, None]),
        }
    )
    path = str(tmp_path / "x.xml")
    write(sink("xml", path, root="people", record="person", namespace="urn:p"), table)
    root = ElementTree.parse(path).getroot()
    assert root.tag == "{urn:p}people"
    first, second = root
    assert (first.get("id"), first.findtext("{urn:p}name"), [e.text for e in first.findall("{urn:p}tags")]) == (
        "1",
        'Zoë <&> "q"',
        ["a", "b"],
    )
    assert first.findtext("{urn:p}at/{urn:p}city") == "Rome"
    assert (second.attrib, list(second)) == ({"id": "2"}, [])
    back = read(source("xml", path), table.schema).rows
    assert back == [table.to_pylist()[0], {**table.to_pylist()[1], "tags": None}]


def test_a_document_is_added_to_inside_its_root(tmp_path: Path) -> None:
    path = str(tmp_path / "x.xml")
    for run in ("one", "two"):
        write(sink("xml", path), pa.table({"run": [run]}), run=run)
    assert [row["run"] for row in read(source("xml", path)).rows] == ["one", "two"]
    with pytest.raises(TargetUnusable, match="does not begin as"):
        write(sink("xml", path, root="others"), pa.table({"run": ["three"]}), run="three")


def test_what_xml_cannot_hold_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "x.xml")
    refused: list[tuple[str, pa.DataType]] = [
        ("first name", pa.string()),
        ("1st", pa.string()),
        ("m", pa.map_(pa.string(), pa.int64())),
        ("ll", pa.list_(pa.list_(pa.int64()))),
        ("@a", pa.struct([("x", pa.int64())])),
        ("s", pa.struct([("a b", pa.int64())])),
    ]
    for name, kind in refused:
        with pytest.raises(LossyWrite, match=f"column '{name}'"):
            write(sink("xml", path), schema=pa.schema([(name, kind)]))
    with pytest.raises(TargetUnusable, match="control characters"):
        write(sink("xml", path), pa.table({"o": [{"t": "a\x00b"}]}))
    assert not Path(path).exists()


def test_text_elements_and_entities_mix_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(
        "<!DOCTYPE r [<!ENTITY e 'two'>]><r>"
        "<o><a>one &e; <b>three</b> four</a><n>12345678901234567890123</n><t>x<![CDATA[<y>]]>&#233;</t></o>"
        "<o>just text</o><o/><o><a><b/></a><t k='1'>z</t><t> </t></o></r>",
        "utf-8",
    )
    schema = pa.schema([("a", pa.string()), ("n", pa.decimal128(38, 0)), ("t", pa.list_(pa.string())), ("#text", pa.string())])
    found = read(source("xml", str(tmp_path / "a.xml"), records="/r/o"), schema)
    assert found.rejected == []
    assert found.rows == [
        {"a": "one two three four", "n": 12345678901234567890123, "t": ["x<y>é"], "#text": None},
        {"a": None, "n": None, "t": None, "#text": "just text"},
        {"a": None, "n": None, "t": None, "#text": None},
        {"a": "", "n": None, "t": ["z", ""], "#text": None},
    ]


def test_an_integer_beyond_all_types_is_rejected_and_the_others_stay(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(f"<r><o><n>{10**30}</n></o><o><n>2</n></o></r>")
    found = read(source("xml", str(tmp_path / "a.xml"), records="/r/o"), pa.schema([("n", pa.int64())]))
    assert found.rows == [{"n": 2}]
    assert found.reasons == ["type_mismatch"]
