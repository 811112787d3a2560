"""Errors of a spec: collected, placed, and raised in one go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from beam_datahub.errors import DataHubError, ErrorGroup, SpecError
from beam_datahub.security import Secrets, redact_error
from beam_datahub.spec.tree import Keys, Tree
from beam_datahub.spec.words import option_names, spec_errors
from beam_datahub.spec.written import WrittenDeadLetter, WrittenDestination, WrittenQualityRule, WrittenSource

if TYPE_CHECKING:
    from beam_datahub.spec.document import SpecDocument
    from beam_datahub.spec.model import Integration

_Model = TypeVar("_Model", bound=BaseModel)


class Findings:
    """Collects the errors of a file, places them, and raises them in one go."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.errors: list[SpecError] = list(tree.errors)
        self._unresolved: set[Keys] = set()

    def report(self, error: SpecError, keys: Keys) -> None:
        """Keep `error`, which is about what stands at `keys`."""
        if keys not in self._unresolved:
            self.errors.append(error.at(self._tree.place(*keys)))

    def unresolved(self, error: SpecError, keys: Keys) -> None:
        """Keep `error`, for which the value at `keys` is not known: nothing else is said about that value."""
        self._unresolved.add(keys)
        self.errors.append(error.at(self._tree.place(*keys)))

    def validate(self, model: type[_Model], raw: Any, at: Keys) -> _Model | None:
        """`raw` as a `model`; None where it is not one, which is kept as errors."""
        try:
            return model.model_validate(raw)
        except ValidationError as failure:
            for keys, error in spec_errors(model, raw, failure):
                self.report(error, (*at, *keys))
        return None

    def raise_all(self, secrets: Secrets | None = None) -> None:
        """Raise what was found, in the order of the lines, each place and reason once."""
        unique = {str(error): error for error in self.errors}
        raise_errors(sorted(unique.values(), key=lambda error: (error.place and error.place.line) or 0), secrets)


def raise_errors(errors: Iterable[DataHubError], secrets: Secrets | None = None) -> None:
    """Raise a single error as it is, several as an ErrorGroup, and nothing when there is none."""
    listed = [error if secrets is None else redact_error(error, secrets) for error in errors]
    if len(listed) == 1:
        raise listed[0]
    if listed:
        raise ErrorGroup(listed)


def validate_config(
    model: type[_Model],
    raw: Mapping[str, Any],
    document: SpecDocument,
    *at: str | int,
    errors: list[SpecError] | None = None,
) -> _Model | None:
    """The raw options at `at` as a component's `model`.

    Placed errors are added to `errors`, and the result is None; without `errors` they are raised in one go.
    """
    found: list[SpecError] = []
    try:
        return model.model_validate(dict(raw))
    except ValidationError as failure:
        for keys, error in spec_errors(model, raw, failure, beside=_beside(document.integration, at)):
            found.append(error.at(document.place(*at, *keys)))
    except SpecError as error:
        found.append(error.at(document.place(*at)))
    for each in found:
        redact_error(each, document.secrets)
    if errors is None:
        raise_errors(found)
    else:
        errors.extend(found)
    return None


def _beside(spec: Integration, at: Keys) -> list[str]:
    """The keys of the spec's own that stand beside a connector's options at `at`."""
    if at in [source.at for source in spec.sources.values()]:
        return option_names(WrittenSource)
    if at in [sink.at for sink in spec.destinations]:
        return option_names(WrittenDestination)
    if at in [rule.at for rule in spec.quality_rules]:
        return option_names(WrittenQualityRule)
    return option_names(WrittenDeadLetter) if at == ("dead_letter",) else []
