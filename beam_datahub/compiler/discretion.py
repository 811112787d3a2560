"""Keeps personal data out of what comes beside the destinations: profiles, violations, and samples on a terminal.

A column whose personal data nothing has masked is shown there as the usual mask of its kind would show it, or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import pyarrow as pa

from beam_datahub.compiler.clearance import CLEARANCE, PERSONAL, declared_kinds
from beam_datahub.compiler.personal import Level, Tag, Tags, personal_tags
from beam_datahub.compiler.plan import Node, Plan, Write
from beam_datahub.component.inspection import Inspect
from beam_datahub.kernels import mask_forms as forms
from beam_datahub.kernels.expressions import cast_sql
from beam_datahub.kernels.types import literal, quoted
from beam_datahub.spec import SpecDocument

_HIDDEN = "***"
_FORMS = {
    "phone": forms.phone,
    "name": forms.name,
    "ssn": forms.ssn,
    "credit_card": forms.card,
    "iban": forms.iban,
    "ip": forms.ip,
}


def discreet(plan: Plan) -> Plan:
    """The plan with masks for its violations and profiles, where it has tags in its metadata.

    Violations show as it is what the dead letter may hold, profiles what the spec asks for with `values: true`.
    """
    tags: Tags = plan.metadata.get(PERSONAL) or {}
    if not tags:
        return plan
    cleared = next((found for step, found in plan.metadata[CLEARANCE].items() if _is_letter(plan, step)), ())
    nodes: dict[str, Node] = {}
    for node in plan:
        if isinstance(node.operator, Inspect):
            masks = tuple(masks_of(tags.get(node.id, {}), node.schema, cleared).items())
            node = node.with_(operator=replace(node.operator, masks=masks)) if masks else node
        nodes[node.id] = node
    profiles = []
    for each in plan.profiles:
        private = tuple(name for name, found in tags.get(plan.node(each.reference).id, {}).items() if _shows(found, ()))
        profiles.append(each if each.values is not None else replace(each, private=private))
    return replace(plan.replaced(nodes), profiles=tuple(profiles))


def tags_of(plan: Plan, document: SpecDocument, *, given: frozenset[str] = frozenset()) -> Tags:
    """The tags of a plan's columns, where a source declares personal data; refuses nothing. `given` as in `cleared`."""
    declared = declared_kinds(plan, document, given=given)
    return personal_tags(plan, declared) if declared else {}


def masks_of(columns: Mapping[str, tuple[Tag, ...]], schema: pa.Schema, cleared: Collection[str] = ()) -> dict[str, str]:
    """Column → SQL of what may be shown of it, for each column with personal data that nothing has masked."""
    return {
        name: _masked(name, schema.field(name).type, found)
        for name, tags in columns.items()
        if name in schema.names and (found := _shows(tags, cleared))
    }


def _is_letter(plan: Plan, step: str) -> bool:
    operator = plan.nodes[step].operator if step in plan.nodes else None
    return isinstance(operator, Write) and operator.dead_letter


def _shows(tags: tuple[Tag, ...], cleared: Collection[str]) -> list[Tag]:
    return [tag for tag in tags if tag.level is Level.CLEAR and not {tag.kind, "all"} & set(cleared)]


def _masked(name: str, kind: pa.DataType, tags: list[Tag]) -> str:
    kinds = {tag.kind for tag in tags}
    whole = f"CASE WHEN {quoted(name)} IS NOT NULL THEN {literal(_HIDDEN)} END"
    if len(kinds) != 1 or pa.types.is_nested(kind) or any(tag.fields for tag in tags):
        return whole
    (found,) = kinds
    text = f"TRY({cast_sql(quoted(name), kind, pa.string())})"
    if found == "email":
        return forms.email(text, 1, _HIDDEN)
    return _FORMS[found](text, _HIDDEN) if found in _FORMS else whole
