"""Short forms of what a spec says about a source: which of its records are new, and when something happened."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from beam_datahub.spec.model import EventTimeSpec, IncrementalSpec


def _incremental(value: Any) -> Any:
    if isinstance(value, str):
        return {"column": value}
    if isinstance(value, dict):
        found = dict(value)
        if isinstance(found.get("key"), str):
            found["key"] = (found["key"],)
        if isinstance(found.get("lag"), int | float) and not isinstance(found["lag"], bool):
            found["lag"] = str(found["lag"])
        return found
    return value


Incremental = Annotated[
    IncrementalSpec,
    BeforeValidator(_incremental),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "object",
                    "properties": {
                        "column": {"type": "string", "minLength": 1},
                        "initial": {},
                        "lag": {"type": ["string", "number"]},
                        "key": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
                        "nulls": {"enum": ["reject", "skip", "read"]},
                    },
                    "required": ["column"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]

EventTime = Annotated[
    EventTimeSpec,
    BeforeValidator(
        lambda value: {"column": value} if isinstance(value, str) else value, json_schema_input_type=str | EventTimeSpec
    ),
]
