"""Masks that need a key: hashes, tokens, shifted dates, format-preserving and authenticated encryption.

Each is a small picklable value with the keys as `Secret`, so that no job file holds one; `masked` gives the new column of a
batch, computed once for each distinct value.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.errors import MissingDependency
from beam_datahub.kernels.distinct import Mapped, map_distinct, map_distinct_pairs
from beam_datahub.kernels.rejection import rejections
from beam_datahub.security import Secret
from beam_datahub.security.field_cipher import FieldCipher, derived_key

ALPHABETS = {
    "hex": "0123456789abcdef",
    "digits": "0123456789",
    "lower": "abcdefghijklmnopqrstuvwxyz",
    "upper": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    # Without the letters that are taken for digits.
    "base32": "abcdefghijkmnpqrstuvwxyz23456789",
    "alphanumeric": "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
}
# Dates that are no days in time but DuckDB's infinities, and their neighbours.
_LAST_DAY = 2**31 - 1 - 1_000_000
_LAST_MICROSECOND = 2**63 - 1 - 10**18


class Pseudonym(ABC):
    """One column's keyed mask."""

    name: str

    @property
    def type(self) -> pa.DataType:
        """The type of the masked column."""
        return pa.string()

    @property
    def can_reject(self) -> bool:
        """Whether there are values that it refuses."""
        return False

    @property
    def depends(self) -> tuple[str, ...] | None:
        """The columns whose values decide over the masked one; None where chance does as well."""
        return (self.name,)

    @abstractmethod
    def masked(self, batch: pa.RecordBatch) -> Mapped:
        """The column of `batch` masked; nulls stay null."""


@dataclass(frozen=True)
class Hashed(Pseudonym):
    """HMAC-SHA256 as 64 hexadecimal digits."""

    name: str
    key: Secret

    def masked(self, batch: pa.RecordBatch) -> Mapped:
        return map_distinct(batch.column(self.name), partial(_hmac, self.key.reveal().encode()), pa.string())


def _hmac(key: bytes, value: str) -> str:
    return hmac.new(key, value.encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Tokenised(Pseudonym):
    """`prefix` and `length` characters of `alphabet`, the same for the same value (and the same `tenant`)."""

    name: str
    key: Secret
    prefix: str
    length: int
    alphabet: str
    tenant: str | None = None

    @property
    def depends(self) -> tuple[str, ...]:
        return (self.name,) if self.tenant is None else (self.name, self.tenant)

    def masked(self, batch: pa.RecordBatch) -> Mapped:
        key, alphabet = derived_key(self.key.reveal(), "token"), ALPHABETS[self.alphabet]
        column = batch.column(self.name)

        def token(value: str, tenant: str | None = None) -> str:
            own = key if tenant is None else hmac.digest(key, tenant.encode(), hashlib.sha256)
            number = int.from_bytes(hmac.digest(own, value.encode(), hashlib.sha512), "big")
            signs = []
            for _ in range(self.length):
                number, sign = divmod(number, len(alphabet))
                signs.append(alphabet[sign])
            return self.prefix + "".join(signs)

        if self.tenant is None:
            return map_distinct(column, token, pa.string())
        return map_distinct_pairs(column, _text(batch.column(self.tenant)), token, pa.string())


@dataclass(frozen=True)
class Shifted(Pseudonym):
    """Dates moved by 1 to `days` days, forward or back: as far for all dates of one `subject`."""

    name: str
    key: Secret
    subject: str
    days: int
    kind: pa.DataType

    @property
    def type(self) -> pa.DataType:
        return self.kind

    @property
    def depends(self) -> tuple[str, ...]:
        return (self.name, self.subject)

    def masked(self, batch: pa.RecordBatch) -> Mapped:
        key = derived_key(self.key.reveal(), "date shift")
        subject = pc.fill_null(_text(batch.column(self.subject)), "")
        days = map_distinct(subject, partial(_days, key, self.days), pa.int32()).column
        column = batch.column(self.name)
        if pa.types.is_date(self.kind):
            numbers = column.cast(pa.int32())
            moved = pc.add(numbers, days)
            in_time = pc.less(pc.abs(numbers.cast(pa.int64())), _LAST_DAY)
        else:
            numbers = column.cast(pa.int64())
            moved = pc.add(numbers, pc.multiply(days.cast(pa.int64()), 86_400_000_000))
            in_time = pc.less(pc.abs(pc.max_element_wise(numbers, -_LAST_MICROSECOND)), _LAST_MICROSECOND)
        # An infinity is nobody's date.
        shifted = pc.if_else(in_time, moved, numbers).cast(self.kind)
        return Mapped(shifted, pa.array([], pa.int64()), [])


def _days(key: bytes, most: int, subject: str) -> int:
    number = int.from_bytes(hmac.digest(key, subject.encode(), hashlib.sha256)[:16], "big") % (2 * most)
    # Never 0: every date moves.
    return number - most if number < most else number - most + 1


@dataclass(frozen=True)
class FormatPreserved(Pseudonym):
    """FF1 (NIST SP 800-38G) over the characters of `alphabet`, each in its place; what is between them stays.

    `back` undoes it. `tenant` is a column whose values are the tweak.
    """

    name: str
    key: Secret
    alphabet: str
    back: bool = False
    tenant: str | None = None
    rejects: bool = True

    @property
    def can_reject(self) -> bool:
        return self.rejects

    @property
    def depends(self) -> tuple[str, ...]:
        return (self.name,) if self.tenant is None else (self.name, self.tenant)

    def masked(self, batch: pa.RecordBatch) -> Mapped:
        alphabet = ALPHABETS[self.alphabet]
        cipher = _ff1(derived_key(self.key.reveal(), "format-preserving encryption"), alphabet)
        apply, known = cipher.decrypt if self.back else cipher.encrypt, frozenset(alphabet)
        least = _least_length(len(alphabet))

        def convert(text: str, tenant: str | None = None) -> str:
            signs = [sign for sign in text if sign in known]
            if any(sign.isalnum() and sign not in known for sign in text):
                raise ValueError(f"has letters or digits that are not of the alphabet '{self.alphabet}'")
            if len(signs) < least:
                raise ValueError(f"has fewer than {least} characters to encrypt: too few to keep their format safely")
            fresh = iter(apply("".join(signs), tweak=(tenant or "").encode()))
            return "".join(next(fresh) if sign in known else sign for sign in text)

        column = batch.column(self.name)
        if self.tenant is None:
            return map_distinct(column, convert, pa.string())
        return map_distinct_pairs(column, _text(batch.column(self.tenant)), convert, pa.string())


def _least_length(radix: int) -> int:
    """The shortest text that FF1 takes: a million possible ones at least."""
    length = 1
    while radix**length < 1_000_000:
        length += 1
    return length


def _ff1(key: bytes, alphabet: str) -> Any:
    try:
        library = importlib.import_module("ffx")
    except ImportError as error:
        raise MissingDependency(
            "format-preserving encryption needs the package 'libffx'", hint="pip install 'beam-datahub[protection]'"
        ) from error
    return library.FF1(key, alphabet=alphabet)


@dataclass(frozen=True)
class Encrypted(Pseudonym):
    """AES-256-GCM; see `security.field_cipher`."""

    name: str
    key: Secret
    deterministic: bool = False

    @property
    def depends(self) -> tuple[str, ...] | None:
        return (self.name,) if self.deterministic else None

    def masked(self, batch: pa.RecordBatch) -> Mapped:
        cipher, column = FieldCipher(self.key.reveal(), deterministic=self.deterministic), batch.column(self.name)
        if self.deterministic:
            return map_distinct(column, cipher.encrypt, pa.string())
        # Equal values must not give equal ciphertexts: there are as many of these as there are rows.
        encrypt: Callable[[str], str] = cipher.encrypt
        values = [None if value is None else encrypt(value) for value in column.to_pylist()]
        return Mapped(pa.array(values, pa.string()), pa.array([], pa.int64()), [])


@dataclass(frozen=True)
class Decrypted(Pseudonym):
    """What `Encrypted` made, in clear again."""

    name: str
    key: Secret
    old_keys: tuple[Secret, ...] = ()
    rejects: bool = True

    @property
    def can_reject(self) -> bool:
        return self.rejects

    def masked(self, batch: pa.RecordBatch) -> Mapped:
        cipher = FieldCipher(self.key.reveal(), [key.reveal() for key in self.old_keys])
        return map_distinct(batch.column(self.name), cipher.decrypt, pa.string())


def pseudonymised(batch: pa.RecordBatch, masks: Sequence[Pseudonym]) -> tuple[pa.RecordBatch, pa.Array | None, pa.Table | None]:
    """`batch` with its columns masked; where values are refused, the rows that are left, and a REJECTION table of the others."""
    made, broken = batch, dict[int, list[tuple[str, str]]]()
    for mask in masks:
        mapped = mask.masked(batch)
        made = made.set_column(made.schema.get_field_index(mask.name), pa.field(mask.name, mask.type), mapped.column)
        if mask.can_reject:
            for row, message in zip(mapped.failed.to_pylist(), mapped.messages, strict=True):
                broken.setdefault(row, []).append((mask.name, f"'{mask.name}' {message}"))
    if not broken:
        return made, None, None
    rows = sorted(broken)
    good = pa.array(sorted(set(range(batch.num_rows)) - broken.keys()), pa.int64())
    messages = ["; ".join(message for _, message in broken[row]) for row in rows]
    return made.take(good), good, rejections(rows, "not_masked", messages, [broken[row][0][0] for row in rows])


def has_text_form(kind: pa.DataType) -> bool:
    """Whether a column of this type can say whose a row is: texts, whole numbers and dates."""
    return bool(kind == pa.string() or pa.types.is_integer(kind) or pa.types.is_date(kind))


def _text(column: pa.Array) -> pa.Array:
    return column if column.type == pa.string() else column.cast(pa.string())
