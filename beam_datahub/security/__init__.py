"""Secrets that are never shown, and redaction of text that might show one."""

from __future__ import annotations

from beam_datahub.security.providers import EnvironmentSecrets, FileSecrets, SecretProvider, default_providers
from beam_datahub.security.redaction import RedactingFilter, redact, redact_error
from beam_datahub.security.secret import Reference, Secret, Secrets

__all__ = [
    "EnvironmentSecrets",
    "FileSecrets",
    "RedactingFilter",
    "Reference",
    "Secret",
    "SecretProvider",
    "Secrets",
    "default_providers",
    "redact",
    "redact_error",
]
