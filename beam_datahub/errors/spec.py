"""The integration is wrong; nothing ran."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from beam_datahub.errors.failure import DataHubError, Place, nearest


class SpecError(DataHubError):
    """The integration is wrong; nothing ran."""

    code = "DH199"
    exit_status = 3


class UnreadableSpec(SpecError):
    """The file is missing or is not YAML or JSON."""

    code = "DH100"


class UnknownName(SpecError):
    """A type, connector, step or option that does not exist."""

    code = "DH101"

    def __init__(self, kind: str, name: str, candidates: Iterable[str] = (), *, place: Place | None = None) -> None:
        known = sorted(candidates)
        guess = nearest(name, known)
        hint = f"did you mean '{guess}'?" if guess else (f"known: {', '.join(known[:30])}" if known else None)
        super().__init__(f"unknown {kind} '{name}'", hint=hint, place=place)
        self.kind, self.name, self.candidates = kind, name, tuple(known)


class InvalidValue(SpecError):
    """An option has a value that it cannot have."""

    code = "DH102"


class MissingValue(SpecError):
    """A required option, parameter, secret or variable is absent."""

    code = "DH103"


class CyclicSteps(SpecError):
    """The steps feed each other in a circle."""

    code = "DH104"

    def __init__(self, cycle: Sequence[str], *, place: Place | None = None) -> None:
        super().__init__(
            f"the steps form a cycle: {' → '.join([*cycle, cycle[0]])}",
            hint="give one of them another `input`",
            place=place,
        )
        self.cycle = tuple(cycle)


class UnusedStep(SpecError):
    """A source or step that reaches no destination."""

    code = "DH105"


class UnknownColumn(SpecError):
    """A column that the input does not have."""

    code = "DH106"

    def __init__(self, name: str, columns: Iterable[str], *, place: Place | None = None) -> None:
        known = list(columns)
        guess = nearest(name, known)
        hint = f"did you mean '{guess}'?" if guess else f"the input has: {', '.join(known[:30])}"
        super().__init__(f"unknown column '{name}'", hint=hint, place=place)
        self.name, self.columns = name, tuple(known)


class InvalidExpression(SpecError):
    """An expression that does not parse, does not type, or is not allowed."""

    code = "DH107"


class LossyWrite(SpecError):
    """A destination that could not keep what is written to it."""

    code = "DH108"


class OrderDependent(SpecError):
    """A result that would depend on the order of the rows."""

    code = "DH109"


class InvalidSchema(SpecError):
    """Text that is no Avro, JSON or Protobuf schema."""

    code = "DH120"


class UnresolvedReference(SpecError):
    """A schema that refers to one that is not there."""

    code = "DH121"


class IncompatibleSchema(SpecError):
    """A new version of a schema that its subject refuses."""

    code = "DH122"


class SchemaInUse(SpecError):
    """A schema that cannot go, because another refers to it."""

    code = "DH123"


class ExposedPersonalData(SpecError):
    """A destination would get personal data unmasked that it is not cleared for."""

    code = "DH130"
