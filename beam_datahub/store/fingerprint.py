"""What tells one spec's text from another; imports no database library."""

from __future__ import annotations

import hashlib


def fingerprint_of(spec: str) -> str:
    """SHA-256 of the text in hex, whatever its line ends."""
    lines = "\n".join(line.rstrip() for line in spec.strip().splitlines())
    return hashlib.sha256(lines.encode()).hexdigest()
