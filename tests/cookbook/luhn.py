"""The check digit of card numbers."""

from __future__ import annotations

from typing import Any


def check(row: dict[str, Any]) -> dict[str, Any]:
    """The row with `valid`: whether the last digit fits the others (Luhn)."""
    digits = [int(digit) for digit in reversed(row["digits"])]
    doubled = [sum(divmod(2 * digit, 10)) if place % 2 else digit for place, digit in enumerate(digits)]
    return {**row, "valid": sum(doubled) % 10 == 0}
