"""Finds columns with personal data: by their names, and by the values of a sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.security.personal_values import CHECKS, Check, national_ids
from beam_datahub.security.sensitive_names import KINDS, is_about, says, sensitive_kind

_CREDENTIALS = ("password", "api_key", "secret", "token", "credentials")
# What a name says where the values of the sample say nothing of it, or something else.
_BY_NAME, _CONTRADICTED, _LEAST = 0.7, 0.3, 0.5
_CHECKED = {"email", "credit_card", "iban", "ssn", "ip"}
# So many values must be alike before a check digit alone tells a national number.
_ENOUGH = 10
_MOST_VALUES = 5_000


@dataclass(frozen=True)
class Finding:
    """A column, what it seems to hold, and how sure that is (0 to 1). `how` says by what it was found; of the `sampled`
    different values, `matched` passed.
    """

    column: str
    kind: str
    confidence: float
    how: str
    matched: int = 0
    sampled: int = 0

    @property
    def is_likely(self) -> bool:
        """Whether it counts as found when nobody looks."""
        return self.confidence >= _LEAST


def find_personal_data(sample: pa.Table) -> list[Finding]:
    """What the columns of a sample seem to hold, by column, the surest first; fields of structs as `column.field`."""
    columns = list(_leaves(sample))
    found = [finding for name, values in columns for finding in _of_column(name, values)]
    known = {finding.kind for finding in found if finding.is_likely}
    if known & {"email", "phone", "date_of_birth", "ssn"}:
        # Beside an e-mail address, `name` is a person's.
        named = {finding.column for finding in found if finding.kind == "name"}
        for name, values in columns:
            if name.rpartition(".")[2].casefold() == "name" and name not in named and _is_text(values.type):
                found.append(Finding(name, "name", _BY_NAME, "name of the column, beside others of a person"))
    order = {name: index for index, (name, _) in enumerate(columns)}
    return sorted(found, key=lambda finding: (order[finding.column], -finding.confidence, finding.kind))


def kinds_by_name(name: str, data_type: pa.DataType) -> list[str]:
    """What a column of this name and type holds by its name alone."""
    last = name.rpartition(".")[2]
    if is_about(last) or pa.types.is_boolean(data_type):
        return []
    found = [kind for kind, phrases in KINDS.items() if phrases and says(last, phrases) and _fits(kind, data_type)]
    if "email" in found or "ip" in found:
        # `email_address` is no street.
        found = [kind for kind in found if kind != "address"]
    if sensitive_kind(last) in _CREDENTIALS and _is_text(data_type):
        found.append("credential")
    return found


def _fits(kind: str, data_type: pa.DataType) -> bool:
    if kind == "date_of_birth":
        return _is_text(data_type) or pa.types.is_temporal(data_type) or pa.types.is_integer(data_type)
    if kind == "location":
        return not pa.types.is_temporal(data_type)
    if kind in ("email", "name", "address", "iban", "ip"):
        return _is_text(data_type)
    # Readers may take a phone number for a number with a fraction.
    return (
        _is_text(data_type) or pa.types.is_integer(data_type) or pa.types.is_decimal(data_type) or pa.types.is_floating(data_type)
    )


def _of_column(name: str, values: pa.Array) -> Iterator[Finding]:
    named = kinds_by_name(name, values.type)
    texts = _texts(values)
    if texts is None or not len(texts):
        for kind in named:
            yield Finding(name, kind, _BY_NAME, "name of the column")
        return
    seen: set[str] = set()
    for check in (*CHECKS, *national_ids()):
        finding = _checked(name, texts, check, check.kind in named)
        if finding is not None and check.kind not in seen:
            seen.add(check.kind)
            yield finding
    for kind in named:
        if kind not in seen:
            contradicted = kind in _CHECKED
            how = "name of the column" + ("; its values have another form" if contradicted else "")
            yield Finding(name, kind, _CONTRADICTED if contradicted else _BY_NAME, how, 0, len(texts))


def _checked(name: str, texts: pa.Array, check: Check, named: bool) -> Finding | None:
    """What a check says of a column's different values."""
    shape = check.named if named and check.named is not None else check.shape
    shaped = texts.filter(pc.match_substring_regex(texts, rf"^(?:{shape})$"))
    if not len(shaped):
        return None
    matched = sum(check.holds(text) for text in shaped.to_pylist())
    share, passing = matched / len(texts), matched / len(shaped)
    if not matched or (check.chance and passing < 3 * check.chance):
        return None
    if check.kind == "national_id" and (share < 0.5 if named else share < 0.95 or len(texts) < _ENOUGH):
        return None
    confidence = min(0.99, 0.5 + 0.3 * share + 0.2 * passing * (1 - check.chance) + (0.2 if named else 0.0))
    if check.kind == "phone" and share < 0.5 and not named:
        confidence = _CONTRADICTED
    how = f"{check.words}: {matched} of {len(texts)} values" + (", and the column's name" if named else "")
    return Finding(name, check.kind, round(confidence, 2), how, matched, len(texts))


def _leaves(sample: pa.Table) -> Iterator[tuple[str, pa.Array]]:
    for name in sample.column_names:
        column = sample.column(name)
        yield from _leaf(name, column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)


def _leaf(name: str, values: Any) -> Iterator[tuple[str, pa.Array]]:
    if isinstance(values, pa.ChunkedArray):
        values = values.chunk(0) if values.num_chunks else pa.array([], values.type)
    if pa.types.is_struct(values.type):
        for index, field in enumerate(values.type):
            yield from _leaf(f"{name}.{field.name}", pc.struct_field(values, index))
    elif pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        yield from _leaf(name, pc.list_flatten(values))
    else:
        yield name, values


def _texts(values: pa.Array) -> pa.Array | None:
    """The different values as texts, trimmed, with plain blanks and dashes, without empty ones; None for types that hold none of
    what is checked.
    """
    if isinstance(values, pa.ExtensionArray) or not (_is_text(values.type) or pa.types.is_integer(values.type)):
        return None
    texts = pc.unique(values.drop_null()).slice(0, _MOST_VALUES).cast(pa.string())
    texts = pc.replace_substring_regex(texts, r"[\x{A0}\x{2007}\x{202F}\x{3000}]", " ")
    texts = pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, r"[\x{2010}-\x{2015}\x{2212}\x{FF0D}]", "-"))
    return texts.filter(pc.not_equal(texts, ""))


def _is_text(data_type: pa.DataType) -> bool:
    return bool(pa.types.is_string(data_type) or pa.types.is_large_string(data_type))
