"""Specs: YAML or JSON → positioned tree → typed integration."""

from __future__ import annotations

from beam_datahub.spec.document import SpecDocument, load, loads, validate_config
from beam_datahub.spec.model import (
    ContractSpec,
    DeadLetterSpec,
    DestinationSpec,
    Integration,
    RejectedBudget,
    RejectedSpec,
    SourceSpec,
    SpecModel,
    TestSpec,
    TransformationSpec,
)

__all__ = [
    "ContractSpec",
    "DeadLetterSpec",
    "DestinationSpec",
    "Integration",
    "RejectedBudget",
    "RejectedSpec",
    "SourceSpec",
    "SpecDocument",
    "SpecModel",
    "TestSpec",
    "TransformationSpec",
    "load",
    "loads",
    "validate_config",
]
