"""The original of a message as the dead letter keeps it, from which it can be read again."""

from __future__ import annotations

import base64
import json

import pyarrow as pa

from beam_datahub.io.kafka.messages import Messages


def with_metadata(text: str, messages: Messages, index: int, schema: pa.Schema) -> str:
    """A value's text, with the metadata columns of `schema` put into it where it is a JSON object."""
    body = "{}" if messages.values[index] is None else text.strip()
    if not len(schema) or not (body.startswith("{") and body.endswith("}")):
        return text
    one = Messages.of(messages.topic, messages.partition, [messages.raw[index]])
    found, _ = one.columns(schema)
    parts = ", ".join(f"{json.dumps(name)}: {_json(array[0].as_py())}" for name, array in found.items())
    rest = body[1:].lstrip()
    return "{" + parts + ("" if rest.startswith("}") else ", ") + rest


def _json(value: object) -> str:
    if isinstance(value, bytes):
        value = base64.b64encode(value).decode()
    if isinstance(value, list):
        value = dict(value)
    return json.dumps(value, default=lambda moment: moment.isoformat(), ensure_ascii=False)
