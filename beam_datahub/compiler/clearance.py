"""Refuses plans that write personal data unmasked to destinations that are not cleared for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from beam_datahub.compiler.personal import Declared, Level, Tag, Tags, personal_tags
from beam_datahub.compiler.plan import Node, Plan, Read, Write
from beam_datahub.compiler.sampling import sampled
from beam_datahub.errors import DataHubError, ErrorGroup, ExposedPersonalData, UnknownColumn
from beam_datahub.security.sensitive_names import KINDS
from beam_datahub.spec import SourceSpec, SpecDocument

# Under this key of a plan's metadata stands what `personal_tags` found: node id → column → tags.
PERSONAL = "personal"
# And under this one, for each destination and the dead letter, the kinds that they may hold.
CLEARANCE = "clearance"
_SAMPLE_ROWS = 1_000
_MASKS = {
    "email": "email",
    "phone": "phone",
    "name": "name",
    "ssn": "ssn",
    "credit_card": "card",
    "iban": "iban",
    "ip": "ip",
    "date_of_birth": "{method: generalise, to: year}",
    "postcode": "{method: generalise, first: 2}",
    "credential": "encrypt",
}
_WORDS = {
    "email": "an e-mail address",
    "phone": "a phone number",
    "name": "a name",
    "date_of_birth": "a date of birth",
    "address": "an address",
    "location": "a location",
    "ssn": "a social security number",
    "national_id": "a national id",
    "credit_card": "a card number",
    "iban": "an IBAN",
    "account_number": "an account number",
    "ip": "an IP address",
}


def cleared(plan: Plan, document: SpecDocument, *, given: frozenset[str] = frozenset()) -> Plan:
    """The plan with the tags of its columns in its metadata, where a source declares personal data.

    `given` are sources that others stand in for, as in tests: nobody samples those. Raises UnknownColumn, or
    ExposedPersonalData (several as an ErrorGroup).
    """
    declared = declared_kinds(plan, document, given=given)
    if not declared:
        return plan
    tags = personal_tags(plan, declared)
    errors = list(_exposed(plan, document, tags, declared))
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ErrorGroup(errors)
    allowed = {spec.id: spec.clearance for spec in document.integration.destinations}
    letter = document.integration.dead_letter
    allowed |= {node.id: letter.clearance for node in plan.writes() if letter is not None and _is_letter(node)}
    return replace(plan, metadata={**plan.metadata, PERSONAL: tags, CLEARANCE: allowed})


def _is_letter(node: Node) -> bool:
    return isinstance(node.operator, Write) and node.operator.dead_letter


def declared_kinds(plan: Plan, document: SpecDocument, *, given: frozenset[str] = frozenset()) -> Declared:
    """Source → column → kinds, as the spec says or a sample shows; empty where no source says anything."""
    found: dict[str, Mapping[str, tuple[str, ...]]] = {}
    for spec in document.integration.sources.values():
        node = plan.nodes.get(spec.name)
        if spec.pii is not None and node is not None and isinstance(node.operator, Read):
            found[spec.name] = _of_source(spec, node, node.operator, document, sample=spec.name not in given)
    return found


def _of_source(
    spec: SourceSpec, node: Node, read: Read, document: SpecDocument, *, sample: bool
) -> Mapping[str, tuple[str, ...]]:
    written = dict(spec.pii or {})
    rest = written.pop("*", "none")
    names = node.schema.names
    for name in written:
        if name not in names and name.partition(".")[0] not in names:
            raise UnknownColumn(name, names).at(document.place(*spec.at, "pii", name))
    found = {name: (kind,) for name, kind in written.items() if kind not in ("auto", "none")}
    wanted = {name for name in names if written.get(name, rest) == "auto"}
    if wanted:
        from beam_datahub.security.personal_data import find_personal_data

        table = sampled(read, _SAMPLE_ROWS) if sample else node.schema.empty_table()
        for finding in find_personal_data(table.select([name for name in names if name in wanted])):
            if finding.is_likely and finding.column not in written:
                found[finding.column] = (*found.get(finding.column, ()), finding.kind)
    return found


def _exposed(plan: Plan, document: SpecDocument, tags: Tags, declared: Declared) -> Iterator[DataHubError]:
    allowed = {spec.id: (spec.clearance, spec.at) for spec in document.integration.destinations}
    for node in plan.writes():
        assert isinstance(node.operator, Write)
        if node.operator.dead_letter:
            yield from _exposed_rejects(document, declared)
        elif node.id in allowed:
            clearance, at = allowed[node.id]
            for name, found in tags[node.id].items():
                for tag in found:
                    if tag.level is Level.CLEAR and not {tag.kind, "all"} & set(clearance):
                        yield _error(node.id, name, tag).at(document.place(*at))


def _error(destination: str, name: str, tag: Tag) -> ExposedPersonalData:
    way = " → ".join(".".join(step) for step in tag.way)
    mask = _MASKS.get(tag.kind, "redact")
    return ExposedPersonalData(
        f"'{destination}' would get {_WORDS.get(tag.kind, tag.kind.replace('_', ' '))} unmasked: {way}",
        hint=f"put a `mask` before it, fields: {{{name}: {mask}}}; or, if it may be there, `clearance: [{tag.kind}]`",
    )


def _exposed_rejects(document: SpecDocument, declared: Declared) -> Iterator[DataHubError]:
    """Rejected records are kept as they came: the dead letter gets what the sources hold, unless they are kept sealed."""
    spec = document.integration.dead_letter
    clearance = set(spec.clearance) if spec is not None else set()
    if "all" in clearance or (spec is not None and spec.sealed):
        return
    kinds = {kind for columns in declared.values() for each in columns.values() for kind in each} - clearance
    if not kinds:
        return
    sources = ", ".join(f"'{name}'" for name, columns in declared.items() if any(set(each) & kinds for each in columns.values()))
    listed = ", ".join(sorted(kinds, key=list(KINDS).index))
    allowed = f"[{listed}]" if len(kinds) < 6 else "all"
    hint = f"keep them sealed with `dead_letter: {{…, sealed: true}}`; or, where they may be read, `clearance: {allowed}`"
    reason = f"the dead letter would get rejected records of {sources} as they came, with personal data ({listed})"
    at = spec.at if spec is not None else next(source.at for source in document.integration.sources.values() if source.pii)
    yield ExposedPersonalData(reason, hint=hint).at(document.place(*at))
