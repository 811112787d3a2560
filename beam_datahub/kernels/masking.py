"""Puts masks in place of columns: which SQL shows what of a column, and what a column must be for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from beam_datahub.kernels import mask_forms as forms
from beam_datahub.kernels.expressions import Expression, cast_sql
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import JSON, literal, quoted, sql_type

# How many characters of an e-mail address are shown before the dots, unless told.
_EMAIL_SHOWN = 2


@dataclass(frozen=True)
class Mask:
    """How a column is shown: a `method` of the transformation `mask` that needs no key, with its options."""

    method: str
    text: str = "***"
    first: int = 0
    last: int = 0
    character: str = "*"
    own_layout: bool = False
    width: float | None = None
    bounds: tuple[float, ...] = ()
    to: str | None = None

    def of_column(self, name: str, kind: pa.DataType) -> Expression:
        """The masked column; a list of texts is masked text by text."""
        if self.method == "null":
            return Expression(f"{name}, removed", f"CAST(NULL AS {sql_type(kind)})", kind, (name,), can_fail=False)
        if self.method == "redact":
            sql = f"CASE WHEN {quoted(name)} IS NOT NULL THEN {literal(self.text)} END"
            return Expression(f"{name}, redacted", sql, pa.string(), (name,), can_fail=False)
        if self.to is not None:
            return Expression(f"{name}, its {self.to}", forms.truncated(name, kind, self.to), kind, (name,), can_fail=False)
        told = f"{name}, masked ({self.method})"
        if is_text_list(kind):
            sql = f"list_transform({quoted(name)}, lambda each: {self._of_text('each')})"
            return Expression(told, sql, pa.list_(pa.string()), (name,), can_fail=False)
        if self.width is not None:
            sql = forms.band(name, kind, self.width)
        elif self.bounds:
            sql = forms.bands(name, kind, self.bounds)
        else:
            sql = self._of_text(cast_sql(quoted(name), kind, pa.string()))
        return Expression(told, sql, pa.string(), (name,), can_fail=kind == JSON)

    def _of_text(self, text: str) -> str:
        if self.method in ("generalise", "partial"):
            return forms.partial(text, self.first, self.last, self.character)
        if self.method == "email":
            return forms.email(text, self.first or _EMAIL_SHOWN, self.text)
        if self.method in ("card", "phone"):
            return str(getattr(forms, self.method)(text, self.text, own=self.own_layout))
        return str(getattr(forms, self.method)(text, self.text))

    def generalising_problem(self, name: str, kind: pa.DataType) -> tuple[str, str] | None:
        """What keeps a column from being generalised, and what to do; None where nothing does."""
        chosen = [option for option in ("width", "bounds", "to", "first") if getattr(self, option)]
        if len(chosen) != 1:
            hint = "numbers take `width` or `bounds`, dates `to`, texts `first`"
            return f"generalising takes one of `width`, `bounds`, `to` and `first`, not {len(chosen)}", hint
        fits = {"to": forms.takes_truncation(kind), "first": kind == pa.string()}.get(chosen[0], forms.takes_bands(kind))
        if not fits:
            wanted = {"to": "dates and times", "first": "texts"}.get(chosen[0], "numbers")
            return f"`{chosen[0]}` is for {wanted}, and '{name}' is {sql_type(kind)}", "convert it with a `cast` before"
        if list(self.bounds) != sorted(set(self.bounds)):
            return "the bounds must ascend", f"write {sorted(set(self.bounds))}"
        return None


def is_text_list(kind: pa.DataType) -> bool:
    """Whether a type is a list of texts."""
    return bool((pa.types.is_list(kind) or pa.types.is_large_list(kind)) and kind.value_type == pa.string())


def masked(table: pa.Table, masks: Mapping[str, str], session: KernelSession) -> pa.Table:
    """`table` with its masked columns as text; the others stay as they are."""
    wanted = {name: sql for name, sql in masks.items() if name in table.schema.names}
    if not wanted:
        return table
    session.put("masking", table.select(list(wanted)))
    made = session.fetch(f"SELECT {', '.join(f'{sql} AS {quoted(name)}' for name, sql in wanted.items())} FROM masking")
    session.drop("masking")
    for name in wanted:
        table = table.set_column(table.schema.get_field_index(name), pa.field(name, pa.string()), made[name].cast(pa.string()))
    return table
